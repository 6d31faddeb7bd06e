//! The exclusive right to a data directory: whoever has it is the owner (kernel.md, section 1).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use model::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often a guest tries to become the owner. Ten times a second keeps "within a second" with room to spare.
const RETRY: Duration = Duration::from_millis(100);

/// The lock of a data directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `directory`, which is made if it is not there; `None` when another process has it.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn try_take(directory: &Path) -> Result<Option<Self>> {
        let cannot = |error: io::Error| {
            let name = directory.display();
            Error::io(format!("cannot lock the data directory {name}: it must be a directory that we may write"), error)
        };
        fs::create_dir_all(directory).map_err(cannot)?;
        let path = directory.join("lock");
        // Never truncated on opening: the owner's process id is in it for people who look.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = file.map_err(cannot)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                told.map_err(cannot)?;
                Ok(Some(Self { _file: file }))
            }
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(cannot(errno.into())),
        }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// As [`Lock::try_take`].
    pub async fn take(directory: &Path) -> Result<Self> {
        loop {
            if let Some(lock) = Self::try_take(directory)? {
                return Ok(lock);
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data");
        let first = Lock::try_take(&path).expect("it can be locked").expect("it is free");
        assert!(Lock::try_take(&path).expect("it can be asked for").is_none());
        let mut second = std::pin::pin!(Lock::take(&path));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        second.await.expect("it is free now");
    }
}

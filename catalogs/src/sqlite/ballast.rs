//! Deleting needs space too: a file that exists only to be given up when the disk is full.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Room for the log of some ten thousand deletions.
const SIZE: u64 = 16 << 20;
/// How often a ballast that was given up is tried again.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Ballast {
    file: PathBuf,
    kept: bool,
    tried: Option<Instant>,
}

impl Ballast {
    pub(super) fn beside(catalog: &Path) -> Self {
        let mut ballast = Self { file: catalog.with_file_name("ballast"), kept: false, tried: None };
        ballast.restore();
        ballast
    }

    /// Gives the space to whoever needs it now. False when it was given before.
    pub(super) fn release(&mut self) -> bool {
        let released = self.kept && fs::remove_file(&self.file).is_ok();
        self.kept = false;
        self.tried = Some(Instant::now());
        released
    }

    /// Takes the space back once there is plenty.
    pub(super) fn restore(&mut self) {
        if self.kept || self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return;
        }
        self.tried = Some(Instant::now());
        self.kept = self.allocate().is_ok();
    }

    fn allocate(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.file)?;
        if file.metadata()?.len() == SIZE {
            return Ok(());
        }
        let room = statvfs(self.file.parent().unwrap_or(Path::new(".")))?;
        let done = if room.f_bavail * room.f_frsize < 4 * SIZE {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            fallocate(&file, FallocateFlags::empty(), 0, SIZE).map_err(io::Error::from)
        };
        if done.is_err() {
            fs::remove_file(&self.file)?;
        }
        done
    }
}

//! Bytes in a directory, a file for each blob.
//!
//! ```text
//! blobs/e3/e3b0c442….EPOCH.COUNTER    a blob; the catalog's row decides whether it counts
//! staging/EPOCH.COUNTER               a blob that arrives, or rests
//! ```
//!
//! Invariants: a name is never used twice; a file in `blobs` never changes once its name was returned; what is
//! returned is durable, name and bytes. Nothing that a client says becomes part of a path.

mod stage;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use model::{Body, Digest, Epoch, Error, Location, Result, Room, Span, Stage, Store};
use rustix::fs::statvfs;
use tokio::task::spawn_blocking;

/// A store in a directory.
#[derive(Clone, Debug)]
pub struct Disk {
    root: Arc<Path>,
}

impl Disk {
    /// Opens or makes the store in this directory.
    ///
    /// # Errors
    /// `Broken` when the directory cannot be made or written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root: PathBuf = root.into();
        prepare(&root).map_err(|cause| Error::io(format!("make the store in {}", root.display()), cause))?;
        Ok(Self { root: root.into() })
    }

    fn shard(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(format!("{:02x}", digest.as_bytes()[0]))
    }

    fn path(&self, at: &Location) -> PathBuf {
        self.shard(&at.digest).join(format!("{}.{}.{}", at.digest, at.epoch.0, at.counter))
    }

    fn staging(&self, at: (Epoch, u64)) -> PathBuf {
        self.root.join("staging").join(format!("{}.{}", at.0.0, at.1))
    }
}

/// Makes all directories and their names durable, so that a write never has to sync a parent's parent. Each start
/// does so: an earlier one may have ended anywhere in here, and a crash leaves any of the names that were not synced.
fn prepare(root: &Path) -> io::Result<()> {
    let blobs = root.join("blobs");
    fs::create_dir_all(&blobs)?;
    for shard in 0..=u8::MAX {
        match fs::create_dir(blobs.join(format!("{shard:02x}"))) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            _ => {}
        }
    }
    fs::create_dir_all(root.join("staging"))?;
    sync_dir(&blobs)?;
    sync_dir(root)?;
    // The directory itself may be new. Who may not read its parent did not make it.
    match root.canonicalize()?.parent().map_or(Ok(()), sync_dir) {
        Err(cause) if cause.kind() != io::ErrorKind::PermissionDenied => Err(cause),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Runs file work on a blocking thread.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await.map_err(|cause| Error::broken(doing).because(cause))?;
    done.map_err(|cause| Error::io(doing, cause))
}

/// `EPOCH.COUNTER`.
fn parse_stage(name: &str) -> Option<(Epoch, u64)> {
    let (epoch, counter) = name.split_once('.')?;
    Some((Epoch(epoch.parse().ok()?), counter.parse().ok()?))
}

/// `DIGEST.EPOCH.COUNTER`.
fn parse_location(name: &str) -> Option<Location> {
    let (digest, rest) = name.split_once('.')?;
    let (epoch, counter) = parse_stage(rest)?;
    Some(Location { digest: digest.parse().ok()?, epoch, counter })
}

/// What in a directory has a name of ours; other files are left alone.
fn entries<T>(path: &Path, parse: fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        found.extend(entry?.file_name().to_str().and_then(parse));
    }
    Ok(found)
}

#[async_trait]
impl Store for Disk {
    async fn put(&self, blobs: Vec<(Location, Bytes)>) -> Result<()> {
        let disk = self.clone();
        blocking("write blobs", move || {
            let mut files = Vec::with_capacity(blobs.len());
            for (at, bytes) in &blobs {
                let mut file = File::create_new(disk.path(at))?;
                file.write_all(bytes)?;
                files.push(file);
            }
            // Written first and synced after: the first sync takes most of the others' bytes along.
            for file in files {
                file.sync_all()?;
            }
            let mut shards: Vec<_> = blobs.iter().map(|(at, _)| disk.shard(&at.digest)).collect();
            shards.sort_unstable();
            shards.dedup();
            shards.iter().try_for_each(|shard| sync_dir(shard))
        })
        .await
    }

    async fn stage(&self, at: (Epoch, u64), offset: u64, size: Option<u64>) -> Result<Box<dyn Stage>> {
        Ok(Box::new(stage::open(self.clone(), at, offset, size).await?))
    }

    async fn discard(&self, at: (Epoch, u64)) -> Result<()> {
        let path = self.staging(at);
        blocking("remove an upload", move || absent_is_fine(fs::remove_file(path))).await
    }

    async fn get(&self, at: &Location, size: u64, span: Span) -> Result<Body> {
        let path = self.path(at);
        let file = spawn_blocking(move || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((file, length))
        });
        let (file, length) = match file.await.map_err(|cause| Error::broken("open a blob").because(cause))? {
            Ok(opened) => opened,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(Error::absent("no bytes are there"));
            }
            Err(cause) => return Err(Error::io("open a blob", cause)),
        };
        if length != size {
            return Err(Error::lost(format!("blob {} has {length} of {size} bytes on disk", at.digest)));
        }
        Ok(Body::File { file: Arc::new(file), span })
    }

    async fn remove(&self, at: &[Location]) -> Result<()> {
        let paths: Vec<_> = at.iter().map(|at| self.path(at)).collect();
        blocking("remove blobs", move || paths.iter().try_for_each(|path| absent_is_fine(fs::remove_file(path)))).await
    }

    fn scan(&self) -> BoxStream<'_, Result<Location>> {
        stream::iter(0..=u8::MAX)
            .then(move |shard| {
                let path = self.root.join("blobs").join(format!("{shard:02x}"));
                blocking("list blobs", move || entries(&path, parse_location))
            })
            .flat_map(|shard| match shard {
                Ok(found) => stream::iter(found).map(Ok).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            })
            .boxed()
    }

    async fn staged(&self) -> Result<Vec<(Epoch, u64)>> {
        let path = self.root.join("staging");
        blocking("list uploads", move || entries(&path, parse_stage)).await
    }

    fn room(&self) -> Option<Room> {
        let room = statvfs(&*self.root).ok()?;
        Some(Room { free: room.f_bavail * room.f_frsize, total: room.f_blocks * room.f_frsize })
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let at = Location { digest: Digest::EMPTY, epoch: Epoch(3), counter: 7 };
        assert_eq!(parse_location(&format!("{}.3.7", Digest::EMPTY)), Some(at));
        for name in ["", "x.1.2", "lost+found", &format!("{}.3", Digest::EMPTY), &format!("{}.3.x", Digest::EMPTY)] {
            assert_eq!(parse_location(name), None, "{name}");
        }
    }
}

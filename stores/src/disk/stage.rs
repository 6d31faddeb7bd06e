//! A file that grows: one piece is being written while the next arrives, and the disk is kept busy on the way,
//! so that the sync at the end has little left to do.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{Body, Epoch, Error, Location, Result, Span, Stage, View};
use rustix::fs::{FallocateFlags, fallocate};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Disk, blocking, sync_dir};

/// Bytes that may wait in the page cache before the disk is asked to take them.
const SYNC_EVERY: u64 = 32 << 20;
/// Smaller files are not worth reserving space for.
const RESERVE_FROM: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Growth {
    disk: Disk,
    at: (Epoch, u64),
    file: Arc<File>,
    offset: u64,
    synced: u64,
    /// Reserved space beyond the bytes has to be cut off when they end early.
    reserved: bool,
    writing: Option<JoinHandle<io::Result<()>>>,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

pub(super) async fn open(disk: Disk, at: (Epoch, u64), offset: u64, size: Option<u64>) -> Result<Growth> {
    let path = disk.staging(at);
    let reserve = size.filter(|size| *size >= RESERVE_FROM);
    let file = blocking("begin an upload", move || {
        let file = match OpenOptions::new().create(offset == 0).truncate(false).read(true).write(true).open(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if file.metadata()?.len() < offset {
            return Ok(None);
        }
        file.set_len(offset)?;
        if let Some(size) = reserve {
            // A full disk is found out now rather than after a gigabyte; file systems that cannot are fine.
            if let Err(rustix::io::Errno::NOSPC) = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(Some(file))
    })
    .await?
    .ok_or_else(|| Error::lost("the parked bytes are shorter than they were: start over"))?;
    let (writing, syncing) = (None, None);
    Ok(Growth { disk, at, file: Arc::new(file), offset, synced: offset, reserved: reserve.is_some(), writing, syncing })
}

async fn finish(task: &mut Option<JoinHandle<io::Result<()>>>) -> Result<()> {
    const DOING: &str = "write an upload";
    let Some(running) = task else { return Ok(()) };
    // Taken away only after its end: who is broken off while waiting must not lose sight of it.
    let done = running.await;
    *task = None;
    done.map_err(|cause| Error::broken(DOING).because(cause))?.map_err(|cause| Error::io(DOING, cause))
}

#[async_trait]
impl Stage for Growth {
    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        finish(&mut self.writing).await?;
        if self.offset - self.synced >= SYNC_EVERY {
            finish(&mut self.syncing).await?;
            let file = Arc::clone(&self.file);
            self.syncing = Some(spawn_blocking(move || file.sync_data()));
            self.synced = self.offset;
        }
        let (file, at) = (Arc::clone(&self.file), self.offset);
        self.offset += bytes.len() as u64;
        self.writing = Some(spawn_blocking(move || file.write_all_at(&bytes, at)));
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        finish(&mut self.writing).await
    }

    async fn sync(&mut self) -> Result<()> {
        finish(&mut self.writing).await?;
        finish(&mut self.syncing).await?;
        let (file, staging) = (Arc::clone(&self.file), self.disk.root.join("staging"));
        blocking("sync an upload", move || {
            file.sync_data()?;
            sync_dir(&staging)
        })
        .await?;
        self.synced = self.offset;
        Ok(())
    }

    async fn settle(mut self: Box<Self>, at: Location, size: u64) -> Result<()> {
        finish(&mut self.writing).await?;
        finish(&mut self.syncing).await?;
        let (from, to) = (self.disk.staging(self.at), self.disk.path(&at));
        let (shard, file, reserved) = (self.disk.shard(&at.digest), Arc::clone(&self.file), self.reserved);
        blocking("store an upload", move || {
            if reserved {
                file.set_len(size)?;
            }
            // Renamed before it is synced: without a row the name means nothing yet, and on journalling file
            // systems the file's sync then takes the new name along.
            fs::rename(from, to)?;
            file.sync_all()?;
            sync_dir(&shard)
        })
        .await
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(Window(Arc::clone(&self.file)))
    }
}

struct Window(Arc<File>);

impl View for Window {
    fn body(&self, span: Span) -> Result<Body> {
        Ok(Body::File { file: Arc::clone(&self.0), span })
    }
}

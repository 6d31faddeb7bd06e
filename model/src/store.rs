//! Where bytes lie.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{Body, Digest, Result, Span};

/// A life of a writing process: a row that it writes at its start. Locations carry it, so that bytes without
/// a row can be told to be garbage as soon as their writer is known to be dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// Where a store keeps one writing of one blob. Never reused (law 5), so a remover can never delete what a
/// later writer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The blob.
    pub digest: Digest,
    /// Who wrote it.
    pub epoch: Epoch,
    /// Which of that writer's writings.
    pub counter: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.digest, self.epoch.0, self.counter)
    }
}

/// Free space of what the bytes lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Bytes and nothing else. Knows no namespaces, no names and no rights.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Writes whole blobs, each at its own fresh location; durable on return. A batch shares its syncs.
    /// The caller has checked that the bytes are the digest's.
    async fn put(&self, blobs: Vec<(Location, Bytes)>) -> Result<()>;
    /// Begins (`offset` 0) or goes on with a blob that arrives in pieces and whose digest is not known yet.
    /// What lies there beyond `offset` is cut off; `Lost` when there is less. `size` is how large it will be, where
    /// that is known.
    async fn stage(&self, at: (Epoch, u64), offset: u64, size: Option<u64>) -> Result<Box<dyn Stage>>;
    /// Removes what was staged and not settled; absent is fine.
    async fn discard(&self, at: (Epoch, u64)) -> Result<()>;
    /// Reads. `Absent` when nothing is at this location; `Lost` when what is there cannot be the blob.
    async fn get(&self, at: &Location, size: u64, span: Span) -> Result<Body>;
    /// Removes; absent is fine.
    async fn remove(&self, at: &[Location]) -> Result<()>;
    /// All locations, in no order, without holding them in memory.
    fn scan(&self) -> BoxStream<'_, Result<Location>>;
    /// All that is staged and not settled.
    async fn staged(&self) -> Result<Vec<(Epoch, u64)>>;
    /// How much room there is; `None` where nobody can say.
    fn room(&self) -> Option<Room>;
}

/// A blob that arrives in pieces. Dropping it leaves the pieces where they are: the kernel parks or discards.
#[async_trait]
pub trait Stage: Send + fmt::Debug {
    /// Takes the next bytes. May return before they are written; a failure is then told by the next call.
    async fn append(&mut self, bytes: Bytes) -> Result<()>;
    /// Makes all that was appended readable through the view.
    async fn flush(&mut self) -> Result<()>;
    /// Makes all that was appended durable.
    async fn sync(&mut self) -> Result<()>;
    /// Durably moves the bytes to this fresh location. They must be the whole blob, of this size.
    async fn settle(self: Box<Self>, at: Location, size: u64) -> Result<()>;
    /// A window on what was appended, for followers and to hash again.
    fn view(&self) -> std::sync::Arc<dyn View>;
}

/// A window on the bytes of a stage; outlives it.
pub trait View: Send + Sync {
    /// Bytes that were flushed.
    ///
    /// # Errors
    /// `OutOfRange` beyond what was flushed, where the stage can tell.
    fn body(&self, span: Span) -> Result<Body>;
}

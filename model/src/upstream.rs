//! Where blobs come from that we do not have.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Blob, Body, Name, Pointer, Result};

/// What a name is at an upstream.
#[derive(Clone, Debug)]
pub enum Found {
    /// Still what it was known to be.
    Same,
    /// It points at this.
    Points(Resolved),
}

/// A name as an upstream knows it. The kernel stores the bytes, promises what they link to, and binds all names at
/// once.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the name points at, and how long we keep it.
    pub pointer: Pointer,
    /// The bytes of that blob, where they came along; without them the blob is promised.
    pub bytes: Option<Bytes>,
    /// Names under which the blobs that it links to are known there. Those blobs are promised.
    pub beside: Vec<(Name, Pointer)>,
}

/// Something that can resolve a Name and fetch a Blob that we do not have. It does not know who asks, and it is asked
/// once however many wait for the answer.
///
/// Errors tell the kernel what to do: `Absent` (also as `Ok(None)`) is remembered for a while; `Busy` with its time,
/// `Upstream` and others make it go on with what it has and ask again later; `Denied` is told to whoever asked.
#[async_trait]
pub trait Upstream: Send + Sync + fmt::Debug {
    /// True for the names that it is to be asked for. Nobody else binds them.
    fn knows(&self, name: &Name) -> bool;
    /// How long an answer about this name counts; `None` for ever, because the name never moves.
    fn lasts(&self, name: &Name) -> Option<Duration>;
    /// What the name points at there; `None` when it is not there. `known` is what it pointed at when it was last
    /// asked, so that the upstream may find out cheaply that nothing has changed.
    async fn resolve(&self, name: &Name, known: Option<&Pointer>) -> Result<Option<Found>>;
    /// Names that begin with `prefix`, in byte order, after `after`, at most `limit`; `None` where it has no such names.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<Name>>>;
    /// The bytes of a blob, from its first to its last; `None` when it is not there. `name` is one under which the
    /// blob, or something that links to it, is known there. The stream goes on by itself after a broken connection
    /// where it can; it need not check the digest, which whoever stores the bytes does.
    async fn fetch(&self, name: &Name, blob: Blob) -> Result<Option<Body>>;
}

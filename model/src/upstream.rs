//! Where blobs come from that we do not have.

use async_trait::async_trait;

use crate::{Body, Digest, Name, Pointer, Result};

/// Something that can resolve a Name and fetch a Blob that we do not have.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// What the name points at there, with the bytes of the blob.
    async fn resolve(&self, name: &Name) -> Result<Option<(Pointer, Body)>>;
    /// The bytes of a blob; `hint` is a name under which it is known there.
    async fn fetch(&self, hint: &Name, digest: Digest) -> Result<Option<Body>>;
}

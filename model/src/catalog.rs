//! What is known.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Blob, Change, Digest, Epoch, KindId, Location, Name, Outcome, Pointer, Result, Time};

/// A namespace's number in its catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub i64);

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRow {
    /// Its number.
    pub id: NamespaceId,
    /// Its name.
    pub name: String,
    /// Bytes of all Held leases.
    pub used: u64,
    /// Number of leases.
    pub leases: u64,
    /// Number of its leases whose bytes are lost.
    pub lost: u64,
}

/// "Namespace N holds blob B (or is promised it), last used at T".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The blob.
    pub blob: Blob,
    /// The bytes are Here. A lease on a blob that is not Here counts as absence, unless it is promised.
    pub here: bool,
    /// Where in the store; `None` when they are in the catalog's row, or not Here.
    pub at: Option<Location>,
    /// The bytes, when they are in the catalog's row and were asked for.
    pub bytes: Option<Bytes>,
    /// Promised by this source.
    pub source: Option<String>,
    /// Held (and paid for), not only promised.
    pub held: bool,
    /// How many live names and counted nodes hold it.
    pub holders: u64,
    /// Last use.
    pub used: Time,
}

/// A lease that nothing holds: a candidate for the reaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Idle {
    /// Last use.
    pub used: Time,
    /// The blob.
    pub blob: Blob,
}

/// A name as it is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRow {
    /// What it points at.
    pub pointer: Pointer,
    /// When it was bound.
    pub bound: Time,
    /// Last use.
    pub used: Time,
}

/// An upload that rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    /// Whose.
    pub space: NamespaceId,
    /// Its id; scoped by the protocol and the caller that made it.
    pub id: String,
    /// Where its bytes are staged.
    pub stage: (Epoch, u64),
    /// How many of them are durable.
    pub offset: u64,
    /// When it is dropped.
    pub until: Time,
}

/// A bearer token. The secret itself is never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Public id.
    pub id: String,
    /// SHA-256 of the secret.
    pub hash: Digest,
    /// What it is for.
    pub label: String,
    /// The grants as the rights module writes them.
    pub grants: String,
    /// When it was made.
    pub made: Time,
    /// When it ends.
    pub until: Option<Time>,
}

/// Names, leases, nodes, uploads, tokens, journal. Look-ups are bulk and short; there is one way to change.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// Applies changes in their order, each alone, all durable on return (law 2). Concurrent calls share a sync.
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Outcome>>;
    /// Bytes of its files that rows have left and new ones will take: room, although the disk does not show it.
    fn spare(&self) -> u64;
    /// Finds or makes a namespace.
    async fn namespace(&self, name: &str) -> Result<NamespaceRow>;
    /// All namespaces.
    async fn namespaces(&self) -> Result<Vec<NamespaceRow>>;
    /// The leases of these blobs, in order; with `bytes`, also bytes that are in rows.
    async fn leases(&self, space: NamespaceId, digests: Vec<Digest>, bytes: bool) -> Result<Vec<Option<LeaseRow>>>;
    /// Leases by the catalog's own order, for the sweeper: `held` and used or not. Returns the place to go on from.
    async fn page_leases(&self, space: NamespaceId, after: i64, limit: usize) -> Result<(Vec<LeaseRow>, Option<i64>)>;
    /// The names, in order.
    async fn names(&self, space: NamespaceId, names: Vec<Name>) -> Result<Vec<Option<NameRow>>>;
    /// Names that begin with `prefix`, in byte order, after `after`.
    async fn list(
        &self,
        space: NamespaceId,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(Name, NameRow)>>;
    /// Blobs that nobody leases.
    async fn bare(&self, limit: usize) -> Result<Vec<Digest>>;
    /// Whether a row says that the blob is at this location, for each.
    async fn placed(&self, at: Vec<Location>) -> Result<Vec<bool>>;
    /// The digest that another algorithm's digest stands for.
    async fn alias(&self, algorithm: &str, bytes: &[u8]) -> Result<Option<Digest>>;
    /// Parked uploads of all namespaces that end before this time, or one by its id.
    async fn uploads(&self, one: Option<(NamespaceId, String)>, before: Option<Time>) -> Result<Vec<UploadRow>>;
    /// The token of this secret's hash, or all (`None`).
    async fn tokens(&self, hash: Option<Digest>) -> Result<Vec<TokenRow>>;
    /// Which of these blobs, and of those below their counted nodes, are leased and lost (at most a thousand).
    async fn lost_below(&self, space: NamespaceId, roots: Vec<Digest>) -> Result<Vec<Digest>>;
    /// Which of these nodes are open, in order.
    async fn open_nodes(&self, space: NamespaceId, nodes: Vec<(Digest, KindId)>) -> Result<Vec<bool>>;
    /// Makes the log of changes small and copies a consistent catalog to this new file.
    async fn backup(&self, to: PathBuf) -> Result<()>;
    /// What holds a blob in a namespace: names (their text) and nodes (their digests). A scan, for `why`.
    async fn holders(&self, space: NamespaceId, digest: Digest) -> Result<(Vec<Name>, Vec<Digest>)>;
}

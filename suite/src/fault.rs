//! Catalogs and stores that wait or fail on demand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::{
    Body, Catalog, Change, Digest, Epoch, Error, KindId, LeaseRow, Location, Name, NameRow, NamespaceId, NamespaceRow,
    Outcome, Result, Room, Span, Stage, Store, Time, TokenRow, UploadRow,
};
use tokio::sync::Semaphore;

/// A catalog whose binds wait at a gate.
#[derive(Clone, Debug)]
pub struct Gated {
    inner: Arc<dyn Catalog>,
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gated {
    /// A gate before this catalog, closed.
    #[must_use]
    pub fn new(inner: Arc<dyn Catalog>) -> Self {
        Self { inner, arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a bind stands at the gate.
    ///
    /// # Panics
    /// Never: the gate is not taken down.
    pub async fn arrival(&self) {
        self.arrived.acquire().await.expect("the gate stays").forget();
    }

    /// Lets one bind through.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

#[async_trait]
impl Catalog for Gated {
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Outcome>> {
        if changes.iter().any(|change| matches!(change, Change::Bind { .. })) {
            self.arrived.add_permits(1);
            self.open.acquire().await.expect("the gate stays").forget();
        }
        self.inner.apply(changes).await
    }

    fn spare(&self) -> u64 {
        self.inner.spare()
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceRow> {
        self.inner.namespace(name).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>> {
        self.inner.namespaces().await
    }

    async fn leases(&self, space: NamespaceId, digests: Vec<Digest>, bytes: bool) -> Result<Vec<Option<LeaseRow>>> {
        self.inner.leases(space, digests, bytes).await
    }

    async fn page_leases(&self, space: NamespaceId, after: i64, limit: usize) -> Result<(Vec<LeaseRow>, Option<i64>)> {
        self.inner.page_leases(space, after, limit).await
    }

    async fn names(&self, space: NamespaceId, names: Vec<Name>) -> Result<Vec<Option<NameRow>>> {
        self.inner.names(space, names).await
    }

    async fn list(
        &self,
        space: NamespaceId,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(Name, NameRow)>> {
        self.inner.list(space, prefix, after, limit).await
    }

    async fn bare(&self, limit: usize) -> Result<Vec<Digest>> {
        self.inner.bare(limit).await
    }

    async fn placed(&self, at: Vec<Location>) -> Result<Vec<bool>> {
        self.inner.placed(at).await
    }

    async fn alias(&self, algorithm: &str, bytes: &[u8]) -> Result<Option<Digest>> {
        self.inner.alias(algorithm, bytes).await
    }

    async fn uploads(&self, one: Option<(NamespaceId, String)>, before: Option<Time>) -> Result<Vec<UploadRow>> {
        self.inner.uploads(one, before).await
    }

    async fn tokens(&self, hash: Option<Digest>) -> Result<Vec<TokenRow>> {
        self.inner.tokens(hash).await
    }

    async fn lost_below(&self, space: NamespaceId, roots: Vec<Digest>) -> Result<Vec<Digest>> {
        self.inner.lost_below(space, roots).await
    }

    async fn open_nodes(&self, space: NamespaceId, nodes: Vec<(Digest, KindId)>) -> Result<Vec<bool>> {
        self.inner.open_nodes(space, nodes).await
    }

    async fn backup(&self, to: PathBuf) -> Result<()> {
        self.inner.backup(to).await
    }

    async fn holders(&self, space: NamespaceId, digest: Digest) -> Result<(Vec<Name>, Vec<Digest>)> {
        self.inner.holders(space, digest).await
    }
}

/// A store that fails its next stage.
#[derive(Clone, Debug)]
pub struct Tripped {
    inner: Arc<dyn Store>,
    next: Arc<AtomicBool>,
}

impl Tripped {
    /// This store, working so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, next: Arc::default() }
    }

    /// The next stage fails.
    pub fn trip(&self) {
        self.next.store(true, SeqCst);
    }
}

#[async_trait]
impl Store for Tripped {
    async fn put(&self, blobs: Vec<(Location, Bytes)>) -> Result<()> {
        self.inner.put(blobs).await
    }

    async fn stage(&self, at: (Epoch, u64), offset: u64, size: Option<u64>) -> Result<Box<dyn Stage>> {
        if self.next.swap(false, SeqCst) {
            return Err(Error::broken("too many open files, for example"));
        }
        self.inner.stage(at, offset, size).await
    }

    async fn discard(&self, at: (Epoch, u64)) -> Result<()> {
        self.inner.discard(at).await
    }

    async fn get(&self, at: &Location, size: u64, span: Span) -> Result<Body> {
        self.inner.get(at, size, span).await
    }

    async fn remove(&self, at: &[Location]) -> Result<()> {
        self.inner.remove(at).await
    }

    fn scan(&self) -> BoxStream<'_, Result<Location>> {
        self.inner.scan()
    }

    async fn staged(&self) -> Result<Vec<(Epoch, u64)>> {
        self.inner.staged().await
    }

    fn room(&self) -> Option<Room> {
        self.inner.room()
    }
}

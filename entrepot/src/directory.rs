//! A data directory, opened by the process that owns it.
//!
//! ```text
//! lock            held while somebody owns the directory
//! control.sock    where guests come in
//! catalog.db      what is known, with small blobs
//! ballast         given up when the disk is full, so that deleting still works
//! blobs/ staging/ the disk store
//! ```

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kernel::{Hub, Settings};
use server::{Lock, Protocol};

/// An owned data directory.
pub(crate) struct Directory {
    pub(crate) hub: Hub,
    /// Dropped last: from then on somebody else may own the directory.
    _lock: Lock,
}

/// The protocols of a listener.
pub(crate) fn protocols(reapi: reapi::Settings, repositories: Vec<ostree::Repository>) -> Vec<Arc<dyn Protocol>> {
    vec![Arc::new(reapi::Reapi::new(reapi)), Arc::new(ostree::Ostree::new(repositories))]
}

/// What the blobs of all protocols mean.
fn kinds() -> Vec<Box<dyn model::Kind>> {
    [reapi::kinds(), ostree::kinds()].into_iter().flatten().collect()
}

impl Directory {
    /// Opens what the lock guards. Nothing is scanned: it serves at once at any size.
    pub(crate) async fn open(path: &Path, lock: Lock, settings: Settings) -> anyhow::Result<Self> {
        let doing = || format!("cannot open the data directory {}", path.display());
        let catalog = catalogs::Plan::new(path.join("catalog.db")).open().with_context(doing)?;
        let store = stores::Disk::open(path).with_context(doing)?;
        let hub = Hub::open(Arc::new(catalog), Arc::new(store), kinds(), settings).await.with_context(doing)?;
        Ok(Self { hub, _lock: lock })
    }

    /// Ends background work and writes down what is only in memory.
    pub(crate) async fn close(self) {
        self.hub.close().await;
    }
}

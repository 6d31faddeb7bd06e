//! A data directory, opened by the process that owns it.
//!
//! ```text
//! lock            held while somebody owns the directory
//! control.sock    where guests come in
//! catalog.db      what is known, with small blobs
//! secret          what passes are signed with
//! ballast         given up when the disk is full, so that deleting still works
//! blobs/ staging/ the disk store
//! ```

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kernel::{Hub, Settings};
use model::Kind;
use server::Lock;

/// An owned data directory.
pub(crate) struct Directory {
    pub(crate) hub: Hub,
    /// Dropped last: from then on somebody else may own the directory.
    _lock: Lock,
}

/// What the blobs of all protocols mean.
fn kinds() -> Vec<Box<dyn Kind>> {
    [reapi::kinds(), image::kinds(), ostree::kinds()].into_iter().flatten().collect()
}

/// The secret that passes are signed with: made once, so that they count across restarts.
fn secret(path: &Path) -> anyhow::Result<[u8; 32]> {
    let doing = || format!("cannot keep the secret of passes in {}", path.display());
    if let Ok(bytes) = std::fs::read(path)
        && let Ok(secret) = bytes.try_into()
    {
        return Ok(secret);
    }
    let secret: [u8; 32] = rand::random();
    let fresh = path.with_extension("new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh).with_context(doing)?;
    file.write_all(&secret).and_then(|()| file.sync_all()).with_context(doing)?;
    std::fs::rename(&fresh, path).with_context(doing)?;
    Ok(secret)
}

impl Directory {
    /// Opens what the lock guards. Nothing is scanned: it serves at once at any size.
    pub(crate) async fn open(path: &Path, lock: Lock, settings: Settings) -> anyhow::Result<Self> {
        let doing = || format!("cannot open the data directory {}", path.display());
        let catalog = catalogs::Plan::new(path.join("catalog.db")).open().with_context(doing)?;
        let store = stores::Disk::open(path).with_context(doing)?;
        let settings = Settings { secret: secret(&path.join("secret"))?, ..settings };
        let hub = Hub::open(Arc::new(catalog), Arc::new(store), kinds(), settings).await.with_context(doing)?;
        Ok(Self { hub, _lock: lock })
    }

    /// Ends background work and writes down what is only in memory.
    pub(crate) async fn close(self) {
        self.hub.close().await;
    }
}

//! Bytes, blobs, names and hubs to test with.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use kernel::{Caller, Grant, Hub, Namespace, Rights, Settings};
use model::{Blob, Body, Catalog, Digest, Name, Result, Store, Time};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::toy::Toy;

/// Chance that comes again with its seed.
#[must_use]
pub fn chance(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// So many bytes that come again with their seed.
#[must_use]
pub fn bytes(seed: u64, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    chance(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// The blob of these bytes.
#[must_use]
pub fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::new(Sha256::digest(bytes).into()), size: bytes.len() as u64 }
}

/// A name.
///
/// # Panics
/// When this is none.
#[must_use]
pub fn name(text: &str) -> Name {
    Name::new(text).expect("a test knows what a name is")
}

/// One who may do everything.
#[must_use]
pub fn anybody() -> Caller {
    Caller::known("suite", vec![Grant::everywhere(Rights::ALL)])
}

/// Enters `main`.
///
/// # Panics
/// When the hub has no such namespace.
#[must_use]
pub fn main_of(hub: &Hub) -> Namespace {
    hub.enter(&anybody(), "main").expect("the namespace is in the settings")
}

/// Settings with one namespace, `main`, of this limit.
#[must_use]
pub fn settings(limit: u64) -> Settings {
    Settings { namespaces: vec![("main".into(), limit)], disk_reserve: 0, ..Settings::default() }
}

/// A hub on this catalog and store.
///
/// # Errors
/// As [`Hub::open`].
pub async fn hub(catalog: impl Catalog + 'static, store: impl Store + 'static, settings: Settings) -> Result<Hub> {
    Hub::open(Arc::new(catalog), Arc::new(store), vec![Box::new(Toy)], settings).await
}

/// A hub on a data directory; `exclusive` for file systems without shared memory.
///
/// # Errors
/// When catalog, store or hub do not open.
pub async fn hub_in(directory: &Path, exclusive: bool, settings: Settings) -> Result<Hub> {
    let catalog = catalogs::Plan { exclusive, ..catalogs::Plan::new(directory.join("catalog.db")) }.open()?;
    hub(catalog, stores::Disk::open(directory)?, settings).await
}

/// All bytes of a body.
///
/// # Errors
/// Of the file or stream.
pub async fn collect(body: Body) -> Result<Bytes> {
    let doing = |cause: io::Error| model::Error::io("read a body", cause);
    match body {
        Body::Bytes(bytes) => Ok(bytes),
        Body::File { file, span } => {
            let mut bytes = vec![0; usize::try_from(span.len).unwrap_or(0)];
            file.read_exact_at(&mut bytes, span.offset).map_err(doing)?;
            Ok(bytes.into())
        }
        Body::Stream { chunks, .. } => Ok(chunks.try_collect::<Vec<_>>().await?.concat().into()),
    }
}

/// The bytes of a blob, read by the hub.
///
/// # Errors
/// As [`Namespace::read`].
pub async fn read(space: &Namespace, digest: Digest) -> Result<Bytes> {
    let (_, body) = space.read(digest, 0, None).await?;
    collect(body).await
}

/// Waits until the clock shows another moment, so that what follows is later.
pub fn tick() {
    let now = Time::now();
    while Time::now() <= now {
        std::hint::spin_loop();
    }
}

/// Open file descriptors of this process that lie below a directory, or that are names of removed files there.
///
/// # Panics
/// Without /proc.
#[must_use]
pub fn descriptors(below: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc/self/fd").expect("Linux tells its open files");
    let links = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(below)).map(|link| link.display().to_string()).collect()
}

/// A directory in memory where there is one, because syncs are counted elsewhere; removed with its value.
///
/// # Panics
/// When no directory can be made.
#[must_use]
pub fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary directory")
}

/// Waits until nothing below a directory is open any more: a catalog that was dropped ends its thread.
///
/// # Panics
/// When that takes half a minute, because something leaks.
pub async fn released(directory: &Path) {
    let began = std::time::Instant::now();
    while !descriptors(directory).is_empty() {
        assert!(began.elapsed().as_secs() < 30, "files stayed open: {:?}", descriptors(directory));
        tokio::task::yield_now().await;
    }
}

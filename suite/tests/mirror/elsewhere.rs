//! An upstream made of maps, whose bytes come when a test lets them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use kernel::{Hub, Namespace, Settings};
use model::{Blob, Body, Digest, Error, Found, KindId, Name, Pointer, Resolved, Result, Retention, Upstream};
use suite::sample::{blob, hub_in, main_of, name, quick_dir, settings};
use suite::toy::Toy;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Bytes that come at once.
pub(crate) const PIECE: usize = 100_000;

/// The upstream of all names that begin with `up/`.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    names: Mutex<HashMap<Name, Bytes>>,
    blobs: Mutex<HashMap<Digest, Bytes>>,
    fetched: Mutex<Vec<Digest>>,
    /// Pieces that may come.
    pub(crate) gate: Semaphore,
    fails: Mutex<Option<Error>>,
}

impl Elsewhere {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            names: Mutex::default(),
            blobs: Mutex::default(),
            fetched: Mutex::default(),
            gate: Semaphore::new(1_000_000),
            fails: Mutex::default(),
        })
    }

    /// Has an image of these layers: its manifest is a list of them.
    pub(crate) fn image(&self, text: &str, layers: &[&Bytes]) -> Bytes {
        let links: Vec<_> = layers.iter().map(|layer| (blob(layer), KindId::BYTES)).collect();
        let manifest = Bytes::from(Toy::list(&links));
        self.names.lock().expect("a lock").insert(name(text), manifest.clone());
        for bytes in layers.iter().copied().chain([&manifest]) {
            self.send(blob(bytes).digest, bytes);
        }
        manifest
    }

    /// Sends these bytes for a blob, whether they are its own or not.
    pub(crate) fn send(&self, digest: Digest, bytes: &Bytes) {
        self.blobs.lock().expect("a lock").insert(digest, bytes.clone());
    }

    /// Fails from now on.
    pub(crate) fn fail(&self, error: Option<Error>) {
        *self.fails.lock().expect("a lock") = error;
    }

    /// How often the bytes of a blob were asked for.
    pub(crate) fn count(&self, bytes: &[u8]) -> usize {
        self.fetched.lock().expect("a lock").iter().filter(|digest| **digest == blob(bytes).digest).count()
    }

    fn up(&self) -> Result<()> {
        self.fails.lock().expect("a lock").clone().map_or(Ok(()), Err)
    }
}

/// The name of a layer.
pub(crate) fn layer_name(layer: &[u8]) -> Name {
    name(&format!("up/!{}", blob(layer).digest))
}

#[async_trait]
impl Upstream for Elsewhere {
    fn knows(&self, name: &Name) -> bool {
        name.as_str().starts_with("up/")
    }

    fn lasts(&self, name: &Name) -> Option<Duration> {
        (!name.as_str().contains('!')).then_some(Duration::from_secs(3600))
    }

    async fn resolve(&self, wanted: &Name, _: Option<&Pointer>) -> Result<Option<Found>> {
        self.up()?;
        let Some(manifest) = self.names.lock().expect("a lock").get(wanted).cloned() else { return Ok(None) };
        let text = std::str::from_utf8(&manifest).expect("a toy");
        let layers = text.lines().skip(1).map(|line| {
            let mut words = line.split(' ');
            let (digest, size) = (words.next().expect("a digest"), words.next().expect("a size"));
            Blob { digest: digest.parse().expect("a digest"), size: size.parse().expect("a size") }
        });
        let beside = layers.map(|blob| {
            let pointer = Pointer { keep: Retention::Weak, ..Pointer::new(blob, KindId::BYTES) };
            (name(&format!("up/!{}", blob.digest)), pointer)
        });
        let pointer = Pointer { keep: Retention::Loose, ..Pointer::new(blob(&manifest), Toy::ID) };
        let beside = beside.collect();
        Ok(Some(Found::Points(Resolved { pointer, bytes: Some(manifest), beside })))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<Name>>> {
        self.up()?;
        let mut names: Vec<Name> = self.names.lock().expect("a lock").keys().cloned().collect();
        names.sort();
        names.retain(|name| name.as_str().starts_with(prefix) && after.is_none_or(|after| name.as_str() > after));
        names.truncate(limit);
        Ok(prefix.starts_with("up/").then_some(names))
    }

    async fn fetch(&self, _: &Name, blob: Blob) -> Result<Option<Body>> {
        self.up()?;
        self.fetched.lock().expect("a lock").push(blob.digest);
        let Some(bytes) = self.blobs.lock().expect("a lock").get(&blob.digest).cloned() else { return Ok(None) };
        Ok(Some(Body::Stream { size: Some(blob.size), chunks: stream::iter(pieces(&bytes)).boxed() }))
    }
}

fn pieces(bytes: &Bytes) -> Vec<Result<Bytes>> {
    bytes.chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

/// The same, whose pieces wait for their permits.
#[derive(Debug)]
pub(crate) struct Gated(pub(crate) Arc<Elsewhere>);

#[async_trait]
impl Upstream for Gated {
    fn knows(&self, name: &Name) -> bool {
        self.0.knows(name)
    }

    fn lasts(&self, name: &Name) -> Option<Duration> {
        self.0.lasts(name)
    }

    async fn resolve(&self, name: &Name, known: Option<&Pointer>) -> Result<Option<Found>> {
        self.0.resolve(name, known).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<Name>>> {
        self.0.list(prefix, after, limit).await
    }

    async fn fetch(&self, name: &Name, blob: Blob) -> Result<Option<Body>> {
        let Some(Body::Stream { size, chunks }) = self.0.fetch(name, blob).await? else { return Ok(None) };
        let upstream = Arc::clone(&self.0);
        let chunks = chunks.then(move |piece| {
            let upstream = Arc::clone(&upstream);
            async move {
                upstream.gate.acquire().await.map_err(|_| Error::upstream("the upstream is gone"))?.forget();
                piece
            }
        });
        Ok(Some(Body::Stream { size, chunks: chunks.boxed() }))
    }
}

/// A hub with a limit before this upstream.
pub(crate) async fn before(upstream: &Arc<Elsewhere>, limit: u64) -> (Hub, Namespace, TempDir) {
    let directory = quick_dir();
    let upstreams: Vec<Arc<dyn Upstream>> = vec![Arc::new(Gated(Arc::clone(upstream)))];
    let short = Duration::from_millis(1);
    let settings = Settings { upstreams, absent: short, failed: short, ..settings(limit) };
    let hub = hub_in(directory.path(), false, settings).await.expect("a hub");
    let space = main_of(&hub);
    (hub, space, directory)
}

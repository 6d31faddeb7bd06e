//! Makes `.filez` out of canonical content. Small files are made when they are asked for. Large ones are deflated
//! piece by piece on all cores, sent to the client while that goes on, and remembered, so that the next one gets
//! stored bytes.

use std::sync::Arc;
use std::thread::available_parallelism;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Caller, Claim, Grant, Hub, Namespace, Rights};
use model::{Blob, Body, Chunks, Digest, Error, Meaning, Result, When};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::filez::{END, deflate};
use crate::walk::{self, Beginning};
use crate::{memo, payload};

/// Who writes down what was rendered: the asker need not have the right to write.
const RENDERER: &str = "ostree-renderer";
/// A rendering may end, and its memo go again, between two looks; that happens once, not always.
const TRIES: usize = 3;

/// What is read of a file to see what it is: all of those whose bytes lie in the catalog.
const FIRST: u64 = 64 << 10;
/// Deflated on the spot: that takes less time than to have it done elsewhere.
const TINY: usize = 16 << 10;

/// A `.filez`, made or on its way.
pub(crate) enum Filez {
    /// In memory; the digest is that of these bytes.
    Made(Bytes, Digest),
    /// Stored.
    Stored(Blob),
    /// Being made: of unknown length.
    Arriving(Chunks),
}

fn made(bytes: Bytes) -> Filez {
    let digest = Digest::new(Sha256::digest(&bytes).into());
    Filez::Made(bytes, digest)
}

/// What makes them.
#[derive(Clone, Debug)]
pub(crate) struct Renderer {
    hub: Hub,
    cores: Arc<Semaphore>,
}

impl Renderer {
    pub(crate) fn new(hub: Hub) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { hub, cores: Arc::new(Semaphore::new(cores)) }
    }

    /// The `.filez` of a file object of this namespace.
    ///
    /// # Errors
    /// `Absent`, `Lost`, `Malformed` when the blob is no file object.
    pub(crate) async fn render(&self, namespace: &Namespace, space: &str, digest: Digest) -> Result<Filez> {
        let Beginning { blob, header, head, mut bytes } = walk::begin(namespace, digest, FIRST).await?;
        let first = Bytes::from(header.filez(blob.size - head));
        if header.is_link() {
            return Ok(made(first));
        }
        if blob.size <= memo::SMALL {
            if (bytes.len() as u64) < blob.size {
                bytes.extend(walk::collect(namespace.read(digest, bytes.len() as u64, None).await?.1).await?);
            }
            let head = usize::try_from(head).unwrap_or(usize::MAX);
            let tiny = bytes.len() <= TINY;
            let work = move || {
                let content = bytes.get(head..).unwrap_or_default();
                let deflated = if content.is_empty() { Bytes::new() } else { deflate(content)? };
                Ok(Bytes::from([&first[..], &deflated, END].concat()))
            };
            return Ok(made(if tiny { work()? } else { self.on_a_core(work).await? }));
        }
        for _ in 0..TRIES {
            if let Some(stored) = remembered(namespace, digest).await? {
                return Ok(Filez::Stored(stored));
            }
            let writer = self.writer(space)?;
            let id = format!("filez-{digest}");
            let claim = Claim { resume: Some(id.clone()), live: true, ..Claim::default() };
            match writer.upload(claim).await {
                Ok(upload) => {
                    let pieces = self.pieces(namespace, blob, head, first.clone()).await?;
                    let writer = writer.clone();
                    self.hub.spawn("render a file", async move {
                        if let Err(error) = remember(&writer, upload, pieces, digest).await {
                            tracing::warn!(%error, %digest, "a file object was not rendered to its end");
                        }
                    });
                }
                // Somebody makes it just now.
                Err(error) if matches!(error.meaning(), Meaning::Busy(_)) => {}
                // No room to remember it: it is made for this client alone.
                Err(_) => break,
            }
            // An upload is known by its writer and its id.
            match writer.follow(&format!("{RENDERER}\n{id}"), 0).await {
                Ok(body) => return Ok(Filez::Arriving(payload::pieces(body))),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Filez::Arriving(self.pieces(namespace, blob, head, first).await?))
    }

    /// The namespace, entered as the one who writes memos and nothing else.
    fn writer(&self, space: &str) -> Result<Namespace> {
        let rights = Rights::READ | Rights::WRITE;
        let grant = Grant { namespace: space.to_owned(), prefix: "memo/".into(), rights };
        self.hub.enter(&Caller::known(RENDERER, vec![grant]), space)
    }

    /// The bytes of a `.filez`: its header, pieces deflated side by side, and the end.
    async fn pieces(&self, namespace: &Namespace, blob: Blob, head: u64, first: Bytes) -> Result<Chunks> {
        let (_, content) = namespace.read(blob.digest, head, None).await?;
        let at_once = available_parallelism().map_or(1, usize::from) + 1;
        let renderer = self.clone();
        let deflated = payload::pieces(content)
            .map(move |piece| {
                let renderer = renderer.clone();
                async move {
                    let piece = piece?;
                    renderer.on_a_core(move || deflate(&piece)).await
                }
            })
            .buffered(at_once);
        let (first, last) = (stream::iter([Ok(first)]), stream::iter([Ok(Bytes::from_static(END))]));
        Ok(first.chain(deflated).chain(last).boxed())
    }

    /// As many at once as there are cores.
    async fn on_a_core(&self, work: impl FnOnce() -> Result<Bytes> + Send + 'static) -> Result<Bytes> {
        const DOING: &str = "render a file";
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.map_err(|cause| Error::broken(DOING).because(cause))?;
        let made = spawn_blocking(move || (work(), core)).await;
        made.map_err(|cause| Error::broken(DOING).because(cause))?.0
    }
}

/// The `.filez` that is remembered of a file object.
pub(crate) async fn remembered(namespace: &Namespace, digest: Digest) -> Result<Option<Blob>> {
    match namespace.find(&memo::name(&digest)?).await {
        Ok(row) => Ok(Some(row.pointer.blob)),
        // One who may not look at memos gets a rendering.
        Err(error) if error.is_absent() || *error.meaning() == Meaning::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a rendering down.
async fn remember(writer: &Namespace, mut upload: kernel::Upload, mut pieces: Chunks, digest: Digest) -> Result<()> {
    while let Some(piece) = pieces.try_next().await? {
        upload.append(piece).await?;
    }
    let blob = upload.commit().await?;
    writer.bind(vec![(memo::name(&digest)?, memo::pointer(blob), When::Always)]).await
}

/// As a body, for those who need not know more.
pub(crate) async fn body(namespace: &Namespace, filez: Filez) -> Result<Body> {
    Ok(match filez {
        Filez::Made(bytes, _) => Body::Bytes(bytes),
        Filez::Stored(blob) => namespace.read(blob.digest, 0, None).await?.1,
        Filez::Arriving(chunks) => Body::Stream { size: None, chunks },
    })
}

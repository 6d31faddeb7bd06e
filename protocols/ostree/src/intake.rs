//! Takes objects in: checks each against its checksum while it arrives and stores its canonical content. Small ones
//! are gathered and stored together, several batches at a time; large ones go through an upload each.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use kernel::{Claim, Namespace, Upload};
use model::{Blob, Digest, Error, Name, Pointer, Result, When};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::filez::{Inflate, PIECE};
use crate::memo;
use crate::object::{self, Header, LARGEST, ObjectName, PREFIX, Sort};

/// Bytes and objects of a batch: enough for one sync to serve thousands of small objects.
const BATCH: (usize, usize) = (4 << 20, 2000);
/// Batches that are being stored while the next one is gathered. With the one being gathered a session holds 12 MiB.
const AT_ONCE: usize = 2;
/// Objects of one session; each costs some 40 bytes of memory. The kernel binds trees of up to eight million links.
const OBJECTS: usize = 8 << 20;

type Storing = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Objects on their way in.
pub(crate) struct Intake {
    namespace: Namespace,
    /// What has come so far.
    taken: HashMap<Digest, Sort>,
    batch: Vec<(Blob, Bytes)>,
    bytes: usize,
    storing: FuturesUnordered<Storing>,
    /// `.filez` bytes to remember.
    memos: Vec<(Name, Pointer, When)>,
}

impl Intake {
    pub(crate) fn new(namespace: Namespace) -> Self {
        let (taken, storing) = (HashMap::new(), FuturesUnordered::new());
        Self { namespace, taken, batch: Vec::new(), bytes: 0, storing, memos: Vec::new() }
    }

    /// What came in as this digest.
    pub(crate) fn has(&self, digest: &Digest) -> Option<Sort> {
        self.taken.get(digest).copied()
    }

    /// All that came in.
    pub(crate) fn taken(&self) -> &HashMap<Digest, Sort> {
        &self.taken
    }

    /// Remembers that an object is here and is what it should be.
    pub(crate) fn note(&mut self, name: ObjectName) {
        self.taken.insert(name.digest, name.sort);
    }

    /// Forgets what came, once that is more than this many.
    pub(crate) fn forget(&mut self, beyond: usize) {
        if self.taken.len() > beyond {
            self.taken.clear();
        }
    }

    /// Takes an object of `size` bytes, as they stand in an `archive-z2` repository. On an error some of the bytes
    /// were read.
    ///
    /// # Errors
    /// `Mismatch` or `Malformed` when the bytes are not the object, `TooBig`, `Full`.
    pub(crate) async fn take(
        &mut self,
        name: ObjectName,
        size: u64,
        input: &mut (impl AsyncRead + Unpin + Send),
    ) -> Result<()> {
        // What is being stored goes on meanwhile; a failure is told here.
        while let Some(Some(stored)) = self.storing.next().now_or_never() {
            stored?;
        }
        if self.taken.len() >= OBJECTS {
            return Err(Error::too_big(format!("more than {OBJECTS} objects in one push")));
        }
        if self.taken.contains_key(&name.digest) {
            // Twice in one session is no harm.
            return skip(input, size).await;
        }
        match name.sort {
            Sort::File => self.file(name, size, input).await?,
            sort => {
                let bytes = whole(input, size, LARGEST).await?;
                object::check(sort, &bytes).map_err(|error| about(&name, error))?;
                self.small(Blob { digest: name.digest, size }, bytes.into()).await?;
            }
        }
        self.taken.insert(name.digest, name.sort);
        Ok(())
    }

    async fn small(&mut self, blob: Blob, bytes: Bytes) -> Result<()> {
        let found = Digest::new(Sha256::digest(&bytes).into());
        if found != blob.digest {
            return Err(altered(&blob.digest, &found));
        }
        self.bytes += bytes.len();
        self.batch.push((blob, bytes));
        if self.bytes >= BATCH.0 || self.batch.len() >= BATCH.1 {
            self.store().await?;
        }
        Ok(())
    }

    /// Begins to store the batch.
    async fn store(&mut self) -> Result<()> {
        while self.storing.len() >= AT_ONCE {
            self.storing.next().await.unwrap_or(Ok(()))?;
        }
        let (namespace, batch) = (self.namespace.clone(), std::mem::take(&mut self.batch));
        self.bytes = 0;
        self.storing.push(Box::pin(async move { namespace.put(batch).await?.into_iter().collect() }));
        // The first look makes it begin.
        if let Some(Some(stored)) = self.storing.next().now_or_never() {
            stored?;
        }
        Ok(())
    }

    /// Stores what is gathered. All that was taken is durable on return.
    ///
    /// # Errors
    /// As [`Intake::take`].
    pub(crate) async fn finish(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.store().await?;
        }
        while let Some(stored) = self.storing.next().await {
            stored?;
        }
        if !self.memos.is_empty() {
            // They are a favour: who may not write them, or finds no room, has lost nothing.
            if let Err(error) = self.namespace.bind(std::mem::take(&mut self.memos)).await {
                tracing::debug!(%error, "rendered files are not remembered");
            }
        }
        Ok(())
    }

    async fn file(&mut self, name: ObjectName, size: u64, input: &mut (impl AsyncRead + Unpin + Send)) -> Result<()> {
        let mut prefix = [0; PREFIX];
        let short = || Error::mismatch(format!("the object {name} is too short for its header"));
        let body = size.checked_sub(PREFIX as u64).ok_or_else(short)?;
        exactly(input, &mut prefix).await?;
        let length = Header::length(prefix).map_err(|error| about(&name, error))?;
        let deflated = body.checked_sub(length as u64).ok_or_else(short)?;
        let raw = whole(input, length as u64, length as u64).await?;
        let (content, header) = Header::read_filez(&raw).map_err(|error| about(&name, error))?;
        if header.is_link() && deflated > 0 {
            return Err(Error::mismatch(format!("the symbolic link {name} has content")));
        }
        let canonical = header.canonical();
        let total = content.checked_add(canonical.len() as u64).ok_or_else(short)?;
        let blob = Blob { digest: name.digest, size: total };
        if header.is_link() {
            return self.small(blob, canonical.into()).await;
        }
        if total <= memo::SMALL && deflated <= 2 * memo::SMALL {
            let deflated = whole(input, deflated, 2 * memo::SMALL).await?;
            let bytes = inflated(canonical, &deflated, content).map_err(|error| about(&name, error))?;
            return self.small(blob, bytes.into()).await;
        }
        let mut sink = Sink::new(&self.namespace, blob, size, Bytes::from([&prefix[..], &raw].concat())).await?;
        sink.canonical(canonical.into()).await?;
        let mut inflate = Inflate::new(content);
        let mut left = deflated;
        while left > 0 {
            let piece = some(input, left).await?;
            left -= piece.len() as u64;
            let mut rest = &piece[..];
            loop {
                let output = inflate.step(&mut rest).map_err(|error| about(&name, error))?;
                if output.is_empty() && rest.is_empty() {
                    break;
                }
                sink.canonical(output.into()).await?;
            }
            sink.filez(piece).await;
        }
        inflate.finish().map_err(|error| about(&name, error))?;
        if let Some(filez) = sink.commit(blob).await? {
            self.memos.push((memo::name(&name.digest)?, memo::pointer(filez), When::Always));
        }
        Ok(())
    }
}

/// Where a large file goes: its canonical bytes, and the `.filez` as it came.
struct Sink {
    hash: Sha256,
    /// `None` where the blob is here already: then it is only checked.
    canonical: Option<Upload>,
    /// `None` where that is so, or has failed, which is no harm.
    filez: Option<Upload>,
}

impl Sink {
    async fn new(namespace: &Namespace, blob: Blob, size: u64, head: Bytes) -> Result<Self> {
        if namespace.has(&[blob.digest]).await?.first().copied().flatten().is_some() {
            return Ok(Self { hash: Sha256::new(), canonical: None, filez: None });
        }
        let claim = Claim { size: Some(blob.size), digest: Some(blob.digest), ..Claim::default() };
        let canonical = Some(namespace.upload(claim).await?);
        let claim = Claim { size: Some(size), ..Claim::default() };
        let mut sink = Self { hash: Sha256::new(), canonical, filez: namespace.upload(claim).await.ok() };
        sink.filez(head).await;
        Ok(sink)
    }

    async fn canonical(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.canonical {
            Some(upload) => upload.append(bytes).await.map(drop),
            None => {
                self.hash.update(&bytes);
                Ok(())
            }
        }
    }

    async fn filez(&mut self, bytes: Bytes) {
        if let Some(upload) = &mut self.filez
            && upload.append(bytes).await.is_err()
        {
            self.filez = None;
        }
    }

    /// The blob of the `.filez`, where it is kept.
    async fn commit(self, blob: Blob) -> Result<Option<Blob>> {
        match self.canonical {
            Some(upload) => {
                upload.commit().await?;
            }
            None => {
                let found = Digest::new(self.hash.finalize().into());
                if found != blob.digest {
                    return Err(altered(&blob.digest, &found));
                }
            }
        }
        Ok(match self.filez {
            Some(upload) => upload.commit().await.ok(),
            None => None,
        })
    }
}

fn inflated(mut bytes: Vec<u8>, mut deflated: &[u8], size: u64) -> Result<Vec<u8>> {
    let mut inflate = Inflate::new(size);
    loop {
        let output = inflate.step(&mut deflated)?;
        if output.is_empty() && deflated.is_empty() {
            break;
        }
        bytes.extend_from_slice(&output);
    }
    inflate.finish().map(|()| bytes)
}

fn about(name: &ObjectName, error: Error) -> Error {
    Error::new(error.meaning().clone(), format!("the object {name}: {error}"))
}

fn altered(announced: &Digest, found: &Digest) -> Error {
    Error::mismatch(format!("an object came as {announced} and its bytes are {found}"))
}

fn cut_off(cause: std::io::Error) -> Error {
    Error::upstream("the stream of objects was cut off").because(cause)
}

async fn exactly(input: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<()> {
    input.read_exact(bytes).await.map(drop).map_err(cut_off)
}

/// All of `size` bytes, where that is not more than `limit`.
async fn whole(input: &mut (impl AsyncRead + Unpin), size: u64, limit: u64) -> Result<Vec<u8>> {
    if size > limit {
        return Err(Error::too_big(format!("an object of {size} bytes is larger than the {limit} that it may have")));
    }
    // Room is taken as the bytes come, not because somebody says so.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(PIECE).min(PIECE));
    input.take(size).read_to_end(&mut bytes).await.map_err(cut_off)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(cut_off(std::io::ErrorKind::UnexpectedEof.into())) }
}

/// The next bytes of those that are left.
async fn some(input: &mut (impl AsyncRead + Unpin), left: u64) -> Result<Bytes> {
    let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
    let mut bytes = vec![0; size];
    exactly(input, &mut bytes).await?;
    Ok(bytes.into())
}

/// Reads past bytes.
pub(crate) async fn skip(input: &mut (impl AsyncRead + Unpin), size: u64) -> Result<()> {
    let skipped = tokio::io::copy(&mut input.take(size), &mut tokio::io::sink()).await.map_err(cut_off)?;
    if skipped == size { Ok(()) } else { Err(cut_off(std::io::ErrorKind::UnexpectedEof.into())) }
}

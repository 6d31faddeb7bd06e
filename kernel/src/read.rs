//! Reading. No byte of a blob leaves before the whole blob was found right, once since the process started and once
//! more when its file was touched since; bytes that are not right are `Lost`, and from then on the blob is absent.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use futures::TryStreamExt;
use model::{Blob, Body, Digest, Error, LeaseRow, Location, Name, Result, Span, Time};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use crate::hub::Hub;
use crate::namespace::SMALL;
use crate::presence::Seen;
use crate::space::Space;

/// Bytes of one read while a file is checked: large enough to cost few calls, small enough for the cache.
const PIECE: usize = 256 << 10;
/// Rows that are read together.
const TOGETHER: usize = 512;

impl Hub {
    pub(crate) async fn read(
        &self,
        space: &Arc<Space>,
        digest: Digest,
        offset: u64,
        limit: Option<u64>,
        hint: Option<&Name>,
    ) -> Result<(Blob, Body)> {
        if digest == Digest::EMPTY {
            Span::within(0, offset, limit)?;
            return Ok((Blob::EMPTY, Body::Bytes(Bytes::new())));
        }
        if let Seen::Here(_) = space.presence.look(&digest, Time::now())
            && let Some(bytes) = self.small().get(&digest)
        {
            let blob = Blob { digest, size: bytes.len() as u64 };
            return Ok((blob, Body::Bytes(part(&bytes, Span::within(blob.size, offset, limit)?))));
        }
        let mut before = None;
        loop {
            let ended = space.fetches.ended();
            let row = self.lease(space, digest).await?;
            let blob = row.blob;
            let span = Span::within(blob.size, offset, limit)?;
            if !row.held || !row.here {
                let source = row.source.map(Name::new).transpose()?;
                let from: Vec<Name> =
                    hint.cloned().into_iter().chain(source.filter(|from| hint != Some(from))).collect();
                match self.bring(space, (blob, span), from, ended).await? {
                    Some(body) => return Ok((blob, body)),
                    None => continue,
                }
            }
            let at = row.at;
            let found = match (row.bytes, at) {
                (Some(bytes), _) => right(&digest, &bytes).map(|()| {
                    self.small().keep(digest, &bytes);
                    Body::Bytes(part(&bytes, span))
                }),
                (None, Some(at)) => self.open_bytes(space, &at, blob.size, span).await,
                (None, None) => Err(Error::lost("the row has no bytes")),
            };
            match found {
                Ok(body) => return Ok((blob, body)),
                // It may have been reaped and written elsewhere since its row was read: look once more.
                Err(error) if error.is_absent() && before != Some(at) => before = Some(at),
                Err(error) if error.is_absent() || *error.meaning() == model::Meaning::Lost => {
                    self.lose(digest, at).await?;
                    return Err(Error::lost(format!("the bytes of {digest} are damaged: bring them again")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The lease of a blob that is Here, or promised, touched.
    async fn lease(&self, space: &Space, digest: Digest) -> Result<LeaseRow> {
        let now = Time::now();
        let seen = space.presence.look(&digest, now);
        let row = self.catalog().leases(space.id, vec![digest], true).await?.pop().flatten();
        let row = row.filter(|row| row.held && row.here || row.source.is_some());
        let row = row.ok_or_else(|| Error::absent(format!("blob {digest} is not here")))?;
        if let (Seen::Ask(generation), true) = (seen, row.held && row.here) {
            space.presence.learn(&digest, row.blob.size, generation, now);
        }
        Ok(row)
    }

    /// Opens bytes in the store; checks them the first time, and again whenever the file was touched since.
    async fn open_bytes(&self, space: &Space, at: &Location, size: u64, span: Span) -> Result<Body> {
        let body = self.store().get(at, size, span).await?;
        let stamp = stamp(&body);
        if !space.presence.is_verified(&at.digest, stamp) {
            check_body(&at.digest, self.store().get(at, size, Span::whole(size)).await?).await?;
            space.presence.set_verified(&at.digest, stamp);
        }
        Ok(body)
    }

    /// Remembers that bytes which were hashed on their way in are right, as they lie there now.
    pub(crate) async fn vouch(&self, space: &Space, at: &Location, size: u64) {
        if let Ok(body) = self.store().get(at, size, Span::whole(size)).await {
            space.presence.set_verified(&at.digest, stamp(&body));
        }
    }

    pub(crate) async fn read_small(&self, space: &Arc<Space>, blobs: &[Blob]) -> Result<Vec<Result<Bytes>>> {
        let now = Time::now();
        let mut found = Vec::with_capacity(blobs.len());
        // Some at a time: a row may be larger than what was announced, and is only then known to be.
        for part in blobs.chunks(TOGETHER) {
            let seen: Vec<_> = part.iter().map(|blob| space.presence.look(&blob.digest, now)).collect();
            let digests = part.iter().map(|blob| blob.digest).collect();
            let rows = self.catalog().leases(space.id, digests, true).await?;
            for ((blob, seen), row) in part.iter().zip(seen).zip(rows) {
                let row = row.filter(|row| row.here && row.held);
                if let (Seen::Ask(generation), Some(row)) = (seen, &row) {
                    space.presence.learn(&blob.digest, row.blob.size, generation, now);
                }
                found.push(self.whole(space, *blob, row).await);
            }
        }
        Ok(found)
    }

    /// A whole small blob, as its row says.
    async fn whole(&self, space: &Arc<Space>, blob: Blob, row: Option<LeaseRow>) -> Result<Bytes> {
        match row {
            None if blob == Blob::EMPTY => Ok(Bytes::new()),
            Some(LeaseRow { blob: held, bytes, .. }) if held == blob => match bytes {
                Some(bytes) if right(&blob.digest, &bytes).is_ok() => Ok(bytes),
                _ if blob.size > SMALL => {
                    Err(Error::too_big(format!("{} bytes are too many for one message: stream them", blob.size)))
                }
                _ => {
                    let (_, body) = self.read(space, blob.digest, 0, None, None).await?;
                    collect(body, blob.size).await
                }
            },
            _ => Err(Error::absent(format!("blob {blob} is not here"))),
        }
    }

    /// Reads again how many lost blobs each namespace has.
    pub(crate) async fn refresh_lost(&self) -> Result<()> {
        for row in self.catalog().namespaces().await? {
            if let Some(space) = self.spaces().find(|space| space.id == row.id) {
                space.lost.store(i64::try_from(row.lost).unwrap_or(i64::MAX), Relaxed);
            }
        }
        Ok(())
    }
}

/// When a file was last touched in any way (its ctime, in nanoseconds); nobody can set that back. Bytes in memory
/// do not change.
fn stamp(body: &Body) -> i64 {
    match body {
        Body::File { file, .. } => {
            file.metadata().map_or(-1, |data| data.ctime().wrapping_mul(1_000_000_000).wrapping_add(data.ctime_nsec()))
        }
        Body::Bytes(_) | Body::Stream { .. } => 0,
    }
}

fn part(bytes: &Bytes, span: Span) -> Bytes {
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    bytes.slice(index(span.offset)..index(span.end()))
}

/// Reads a whole blob and compares.
pub(crate) async fn check_body(digest: &Digest, body: Body) -> Result<()> {
    match body {
        Body::File { file, span } => {
            let digest = *digest;
            spawn_blocking(move || check_file(&file, span, digest))
                .await
                .map_err(|cause| Error::broken("check a blob").because(cause))?
        }
        Body::Bytes(bytes) => right(digest, &bytes),
        Body::Stream { mut chunks, .. } => {
            let mut hash = Sha256::new();
            while let Some(chunk) = chunks.try_next().await? {
                hash.update(&chunk);
            }
            matches(digest, hash)
        }
    }
}

pub(crate) fn right(digest: &Digest, bytes: &[u8]) -> Result<()> {
    matches(digest, Sha256::new_with_prefix(bytes))
}

fn matches(digest: &Digest, hash: Sha256) -> Result<()> {
    if hash.finalize().as_slice() == digest.as_bytes() {
        return Ok(());
    }
    Err(Error::lost(format!("the bytes of {digest} have another digest")))
}

/// Hashes a file's span.
pub(crate) fn hash_file<H: sha2::Digest>(file: &std::fs::File, span: Span) -> io::Result<H> {
    let mut hash = H::new();
    let mut piece = vec![0; PIECE];
    let mut at = span.offset;
    while at < span.end() {
        let wanted = usize::try_from(span.end() - at).unwrap_or(PIECE).min(PIECE);
        match file.read_at(&mut piece[..wanted], at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                hash.update(&piece[..read]);
                at += read as u64;
            }
        }
    }
    Ok(hash)
}

fn check_file(file: &std::fs::File, span: Span, digest: Digest) -> Result<()> {
    match hash_file(file, span) {
        Ok(hash) => matches(&digest, hash),
        // A disk that cannot read its bytes has lost them.
        Err(cause) => Err(Error::lost(format!("the bytes of {digest} cannot be read")).because(cause)),
    }
}

/// A whole body in memory; the caller has bounded its size.
pub(crate) async fn collect(body: Body, size: u64) -> Result<Bytes> {
    let doing = "read a blob";
    let bytes = match body {
        Body::Bytes(bytes) => bytes,
        Body::File { file, span } => spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(span.len).unwrap_or(0)];
            file.read_exact_at(&mut bytes, span.offset).map(|()| Bytes::from(bytes))
        })
        .await
        .map_err(|cause| Error::broken(doing).because(cause))?
        .map_err(|cause| Error::io(doing, cause))?,
        Body::Stream { mut chunks, .. } => {
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.try_next().await? {
                bytes.extend_from_slice(&chunk);
            }
            bytes.into()
        }
    };
    if bytes.len() as u64 != size {
        return Err(Error::lost("the bytes have another length"));
    }
    Ok(bytes)
}

//! The verbs of a namespace: all that a protocol can reach. Each asserts one right before it looks at its
//! arguments, and each is counted and timed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use model::{Blob, Body, Change, Digest, Error, Name, Outcome, Place, Result, Time};
use sha2::{Digest as _, Sha256};

use crate::hub::Hub;
use crate::presence::Seen;
use crate::rights::{Granted, Rights};
use crate::space::Space;

/// Blobs up to this size lie in the catalog's own rows: a file, a sync and a rename for each would cost far
/// more than the second writing by the catalog's log. Measured in `docs/decisions/0002-small-blobs.md`.
pub(crate) const ROW: usize = 64 << 10;
/// The largest blob of [`Namespace::put`] and [`Namespace::read_small`].
pub(crate) const SMALL: u64 = 16 << 20;

/// How claimed bytes came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brought {
    /// From the upstream that promised them.
    pub(crate) source: Option<String>,
    /// To be known by this weak name from the same moment on.
    pub(crate) name: Option<Name>,
}

/// A namespace, entered by a caller.
#[derive(Clone)]
pub struct Namespace {
    pub(crate) hub: Hub,
    pub(crate) space: Arc<Space>,
    pub(crate) granted: Granted,
    pub(crate) foreign: bool,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Namespace({:?} as {})", self.space.name, self.granted.who())
    }
}

impl Namespace {
    pub(crate) fn new(hub: Hub, space: Arc<Space>, granted: Granted) -> Self {
        Self { hub, space, granted, foreign: false }
    }

    /// The same namespace for an index whose bytes are elsewhere: binds check nothing and hold nothing.
    #[must_use]
    pub fn foreign(self) -> Self {
        Self { foreign: true, ..self }
    }

    /// Asserts a right on a name, for a protocol that must answer about rights before it looks at a request.
    ///
    /// # Errors
    /// As [`Namespace::may`].
    pub fn may_on(&self, right: Rights, name: &Name) -> Result<()> {
        self.granted.assert_on(right, name)
    }

    /// Asserts a right, for a protocol that must answer about rights before it looks at a request.
    ///
    /// # Errors
    /// `Unauthenticated`, `Denied` or `Absent`, as the caller may know.
    pub fn may(&self, right: Rights) -> Result<()> {
        self.granted.assert(right)
    }

    pub(crate) async fn measured<T>(&self, verb: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let done = work.await;
        self.hub.metrics().verb(&self.space.name, verb, done.as_ref().err(), began.elapsed());
        done
    }

    /// Applies a bind or an unbind; what it let go of can be evicted from now on.
    pub(crate) async fn apply_names(&self, change: Change) -> Result<Option<Outcome>> {
        let (hub, space) = (self.hub.clone(), Arc::clone(&self.space));
        let work = async move {
            let mut outcome = hub.catalog().apply(vec![change]).await?.pop();
            if let Some(Outcome::Fell(fallen)) = &mut outcome {
                space.changes.fetch_add(1, Relaxed);
                space.candidates.lock().await.fell(std::mem::take(fallen));
            }
            Ok(outcome)
        };
        self.hub.to_the_end("change names", work).await
    }

    /// The sizes of those blobs that are here, in order. Counts as a use. The empty blob always is.
    ///
    /// # Errors
    /// When the caller may not ask by digest, or the catalog fails.
    pub async fn has(&self, digests: &[Digest]) -> Result<Vec<Option<u64>>> {
        self.granted.assert(Rights::DIGEST)?;
        self.measured("has", self.look(digests)).await
    }

    pub(crate) async fn look(&self, digests: &[Digest]) -> Result<Vec<Option<u64>>> {
        let mut sizes = vec![None; digests.len()];
        let mut open: Vec<usize> = (0..digests.len()).collect();
        while !open.is_empty() {
            let reaped = self.space.presence.reaped.notified();
            tokio::pin!(reaped);
            reaped.as_mut().enable();
            let now = Time::now();
            let (mut asked, mut waiting) = (Vec::new(), Vec::new());
            for index in open {
                let digest = &digests[index];
                match self.space.presence.look(digest, now) {
                    _ if *digest == Digest::EMPTY => sizes[index] = Some(0),
                    Seen::Ask(_) if self.space.absence.surely(digest) => {}
                    Seen::Here(size) => sizes[index] = Some(size),
                    Seen::Ask(generation) => asked.push((index, generation)),
                    Seen::Wait => waiting.push(index),
                }
            }
            let mut again = Vec::new();
            if !asked.is_empty() {
                let wanted = asked.iter().map(|(index, _)| digests[*index]).collect();
                let rows = self.hub.catalog().leases(self.space.id, wanted, false).await?;
                for ((index, generation), row) in asked.into_iter().zip(rows) {
                    let Some(row) = row.filter(|row| row.held && row.here) else { continue };
                    if self.space.presence.learn(&digests[index], row.blob.size, generation, now) {
                        sizes[index] = Some(row.blob.size);
                    } else {
                        again.push(index);
                    }
                }
            }
            if again.is_empty() && !waiting.is_empty() {
                reaped.await;
            }
            again.append(&mut waiting);
            open = again;
        }
        Ok(sizes)
    }

    /// Stores whole small blobs (at most 16 MiB each), durably on return, each with its own result.
    ///
    /// # Errors
    /// For one: `Mismatch` when the bytes are not the blob's, `Full`. For all: the catalog or the store fails.
    pub async fn put(&self, blobs: Vec<(Blob, Bytes)>) -> Result<Vec<Result<()>>> {
        self.granted.assert(Rights::WRITE)?;
        self.measured("put", async {
            let digests: Vec<_> = blobs.iter().map(|(blob, _)| blob.digest).collect();
            let here = self.look(&digests).await?;
            let mut results: Vec<Result<()>> = Vec::with_capacity(blobs.len());
            self.keep_brought(&blobs, &here).await?;
            let mut fresh = Vec::new();
            for ((blob, bytes), here) in blobs.into_iter().zip(here) {
                let checked = check(blob, &bytes);
                if checked.is_ok() && here.is_none() {
                    fresh.push((results.len(), blob, bytes));
                }
                results.push(checked);
            }
            let mut kept = Vec::with_capacity(fresh.len());
            let mut reserved = Vec::with_capacity(fresh.len());
            for (index, blob, bytes) in fresh {
                match self.hub.reserve(&self.space, blob.size).await {
                    Ok(room) => {
                        reserved.push(room);
                        kept.push((index, blob, bytes));
                    }
                    Err(error) => results[index] = Err(error),
                }
            }
            for (index, result) in self.claim_small(kept).await? {
                results[index] = result;
            }
            Ok(results)
        })
        .await
    }

    /// What somebody brings is theirs, also where an upstream had brought it before.
    async fn keep_brought(&self, blobs: &[(Blob, Bytes)], here: &[Option<u64>]) -> Result<()> {
        if self.hub.settings().upstreams.is_empty() {
            return Ok(());
        }
        let known = blobs.iter().zip(here).filter(|(_, here)| here.is_some()).map(|((blob, _), _)| blob.digest);
        let rows = self.hub.catalog().leases(self.space.id, known.collect(), false).await?;
        for row in rows.into_iter().flatten().filter(|row| row.held && row.here && row.source.is_some()) {
            match self.hold(row.blob, true).await {
                // It went in between, and its uploader finds it missing.
                Err(error) if matches!(error.meaning(), model::Meaning::Incomplete(_)) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Writes leases for small blobs whose bytes were checked and whose room is reserved.
    async fn claim_small(&self, blobs: Vec<(usize, Blob, Bytes)>) -> Result<Vec<(usize, Result<()>)>> {
        let mut files = Vec::new();
        let mut wanted = Vec::with_capacity(blobs.len());
        for (index, blob, bytes) in blobs {
            let place = if bytes.len() <= ROW {
                Place::Row(bytes)
            } else {
                let at = self.hub.fresh_location(blob.digest);
                files.push((at, bytes));
                Place::At(at)
            };
            wanted.push((index, blob, place));
        }
        if !files.is_empty() {
            self.hub.store().put(files).await?;
        }
        let indices: Vec<usize> = wanted.iter().map(|(index, ..)| *index).collect();
        let claims = wanted.into_iter().map(|(_, blob, place)| (blob, place)).collect();
        Ok(indices.into_iter().zip(self.claim(claims, Brought::default()).await?).collect())
    }

    /// Laws 1 and 2: leases for bytes that are durable, or that become so in the same transaction.
    pub(crate) async fn claim(&self, claims: Vec<(Blob, Place)>, brought: Brought) -> Result<Vec<Result<()>>> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let namespace = self.clone();
        self.hub.to_the_end("claim blobs", async move { namespace.write_leases(claims, brought).await }).await
    }

    async fn write_leases(&self, claims: Vec<(Blob, Place)>, brought: Brought) -> Result<Vec<Result<()>>> {
        let (used, limit) = (Time::now(), self.space.limit.load(Relaxed));
        let placed: Vec<_> = claims
            .iter()
            .map(|(blob, place)| {
                let at = if let Place::At(at) = place { Some(*at) } else { None };
                (*blob, at, self.space.presence.generation(&blob.digest))
            })
            .collect();
        let space = self.space.id;
        let Brought { source, name } = brought;
        let names = name.filter(|_| claims.len() == 1).map(|name| self.weak(&name, claims[0].0));
        let changes = claims.into_iter().map(|(blob, place)| {
            let source = source.clone();
            Change::Claim { space, blob, place, used, limit, aliases: Vec::new(), source }
        });
        let mut outcomes = self.hub.catalog().apply(changes.chain(names).collect()).await?;
        // The name's own: it is refused only where the claim before it was.
        outcomes.truncate(placed.len());
        let mut spare = Vec::new();
        let mut results = Vec::with_capacity(outcomes.len());
        for ((blob, at, generation), outcome) in placed.into_iter().zip(outcomes) {
            self.space.settle(blob.size, &outcome);
            let (taken, result) = match outcome {
                Outcome::Held { spare, .. } => (!spare, Ok(())),
                Outcome::Full => (false, Err(Error::full("the namespace's quota is used up"))),
                Outcome::Dead => (false, Err(Error::broken("another process has taken this data directory over"))),
                other => (false, Err(Error::broken(format!("a claim ended as {other:?}")))),
            };
            if result.is_ok() {
                self.space.absence.add(&blob.digest);
                self.space.presence.wrote(&blob.digest, blob.size, used, generation);
                if let Some(at) = at.filter(|_| taken) {
                    // Hashed on their way in. Spare bytes say nothing about those that were here before.
                    self.hub.vouch(&self.space, &at, blob.size).await;
                }
            }
            spare.extend(at.filter(|_| !taken));
            results.push(result);
        }
        if self.space.lost.load(Relaxed) > 0 {
            self.hub.refresh_lost().await?;
        }
        if !spare.is_empty() {
            self.hub.store().remove(&spare).await?;
        }
        Ok(results)
    }

    /// Gives this namespace blobs that another one has and that the caller may read there. No bytes move.
    ///
    /// # Errors
    /// `Incomplete` with those that the other namespace lacks, `Full`.
    pub async fn share(&self, from: &Self, digests: &[Digest]) -> Result<()> {
        from.granted.assert(Rights::DIGEST)?;
        self.granted.assert(Rights::WRITE)?;
        self.measured("share", async {
            let sizes = from.look(digests).await?;
            let missing: Vec<_> =
                digests.iter().zip(&sizes).filter(|(_, size)| size.is_none()).map(|(digest, _)| *digest).collect();
            if !missing.is_empty() {
                return Err(Error::incomplete(missing));
            }
            for (digest, size) in digests.iter().zip(sizes) {
                self.hold(Blob { digest: *digest, size: size.unwrap_or(0) }, false).await?;
            }
            Ok(())
        })
        .await
    }

    /// Makes a blob of this namespace stay as if its bytes had been brought here: an upstream that has it too is not
    /// relied on any more.
    ///
    /// # Errors
    /// `Incomplete` when the bytes are not here, `Full`.
    pub async fn keep(&self, blob: Blob) -> Result<()> {
        self.granted.assert(Rights::WRITE)?;
        self.measured("keep", async {
            let row = self.hub.catalog().leases(self.space.id, vec![blob.digest], false).await?.pop().flatten();
            match row {
                _ if blob == Blob::EMPTY => Ok(()),
                Some(row) if row.held && row.here && row.blob == blob => match row.source {
                    Some(_) => self.hold(blob, true).await,
                    None => Ok(()),
                },
                _ => Err(Error::incomplete(vec![blob.digest])),
            }
        })
        .await
    }

    /// A lease on a blob that another namespace has, or our own lease without whoever promised it: that takes no room.
    async fn hold(&self, blob: Blob, held: bool) -> Result<()> {
        if blob == Blob::EMPTY {
            return Ok(());
        }
        let (hub, shared) = (self.hub.clone(), Arc::clone(&self.space));
        let work = async move {
            let _room = hub.reserve(&shared, if held { 0 } else { blob.size }).await?;
            let (space, used, limit) = (shared.id, Time::now(), shared.limit.load(Relaxed));
            let outcome = hub.catalog().apply(vec![Change::Hold { space, blob, used, limit }]).await?.pop();
            match outcome {
                Some(outcome @ Outcome::Held { .. }) => {
                    shared.absence.add(&blob.digest);
                    shared.settle(blob.size, &outcome);
                    Ok(())
                }
                Some(Outcome::Full) => Err(Error::full("the namespace's quota is used up")),
                _ => Err(Error::incomplete(vec![blob.digest])),
            }
        };
        self.hub.to_the_end("share a blob", work).await
    }

    /// The bytes of a blob from `offset` on, at most `limit` of them. Counts as a use.
    ///
    /// # Errors
    /// `Absent`, `OutOfRange`, `Lost`.
    pub async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<(Blob, Body)> {
        self.granted.assert(Rights::DIGEST)?;
        self.measured("read", self.hub.read(&self.space, digest, offset, limit, None)).await
    }

    /// Whole small blobs (at most 16 MiB each), each with its own result. Counts as a use. One of another size
    /// than is asked for is not read, so that the sizes bound the answer.
    ///
    /// # Errors
    /// For one: `Absent`, `Lost`, `TooBig`. For all: the catalog fails.
    pub async fn read_small(&self, blobs: &[Blob]) -> Result<Vec<Result<Bytes>>> {
        self.granted.assert(Rights::DIGEST)?;
        self.measured("read_small", self.hub.read_small(&self.space, blobs)).await
    }
}

/// Bytes from a caller are what they are called, or the caller is wrong.
fn check(blob: Blob, bytes: &Bytes) -> Result<()> {
    if blob.size != bytes.len() as u64 {
        return Err(Error::mismatch(format!("{} bytes arrived and {} were announced", bytes.len(), blob.size)));
    }
    if blob.size > SMALL {
        return Err(Error::too_big(format!("{} bytes are too many for one message: stream them", blob.size)));
    }
    let found = Digest::new(Sha256::digest(bytes).into());
    if found != blob.digest {
        return Err(Error::mismatch(format!("the bytes are {found} and {} was announced", blob.digest)));
    }
    Ok(())
}

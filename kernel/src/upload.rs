//! A blob that is being written: it has an offset, can be parked, resumed, followed, committed.
//!
//! Bytes are hashed as they arrive, while the piece before them is being written. Small blobs never touch a file.

mod rest;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use model::{
    Blob, Body, Change, Digest, Epoch, Error, Meaning, Name, Outcome, Place, Result, Span, Stage, Time, UploadRow,
};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::task::spawn_blocking;

use crate::follow::Progress;
use crate::namespace::{Brought, Namespace, ROW};
use crate::quota::Reserved;
use crate::read::hash_file;
use crate::rights::Rights;

/// Small pieces are gathered to this before they are written.
const PIECE: usize = 256 << 10;
/// An upload of unknown size takes room in these steps.
const STEP: u64 = 1 << 20;

/// What somebody wants to upload.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// How large it will be, where that is known: more is refused as `Mismatch` at once.
    pub size: Option<u64>,
    /// What it will be, where that is known: `commit` checks it.
    pub digest: Option<Digest>,
    /// An id under which it may rest and go on. Ids are the caller's own.
    pub resume: Option<String>,
    /// Somebody will watch it: each piece is readable at once.
    pub live: bool,
    /// Its SHA-512, where somebody announced that: `commit` checks it too.
    pub sha512: Option<[u8; 64]>,
    /// A weak name that is to point at it from the moment on when it is held.
    pub name: Option<Name>,
}

/// A blob that is being written. Dropped, it rests if its claim has an id, else it is gone.
pub struct Upload {
    namespace: Namespace,
    claim: Claim,
    id: Option<String>,
    at: (Epoch, u64),
    hash: Sha256,
    offset: u64,
    /// Bytes that are not in the stage yet.
    gathered: BytesMut,
    stage: Option<Box<dyn Stage>>,
    reserved: Option<Reserved>,
    progress: Arc<Progress>,
    /// Who promised it.
    source: Option<String>,
    /// The catalog has a row of it.
    rests: bool,
    stand: Stand,
    done: bool,
}

/// What is known of the bytes of an upload. Any future may be dropped, and any write may fail, in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// All up to `offset` are gathered or in the stage: it may rest.
    Whole,
    /// Something was begun and not ended: only what rested before can be gone on with.
    Unsure,
    /// They are being moved, or were: nothing rests any more.
    Over,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload({:?} at {})", self.id, self.offset)
    }
}

impl Namespace {
    /// Ids are scoped to their caller, so that nobody goes on with somebody else's upload.
    fn scoped(&self, id: &str) -> String {
        format!("{}\n{id}", self.granted.who())
    }

    /// Begins an upload. One that rests under the same id is dropped.
    ///
    /// # Errors
    /// `Full` when there is no room for it, `Busy` when somebody writes under that id now.
    pub async fn upload(&self, claim: Claim) -> Result<Upload> {
        self.granted.assert(Rights::WRITE)?;
        self.may_name(&claim)?;
        self.measured("upload", self.begin(claim, Progress::new(0), None)).await
    }

    fn may_name(&self, claim: &Claim) -> Result<()> {
        claim.name.iter().try_for_each(|name| self.granted.assert_on(Rights::WRITE, name))
    }

    /// Begins an upload that others may be watching already. With a source, an upstream brings the bytes.
    pub(crate) async fn begin(&self, claim: Claim, progress: Arc<Progress>, source: Option<String>) -> Result<Upload> {
        let reserved = self.hub.reserve(&self.space, claim.size.unwrap_or(0)).await?;
        let id = claim.resume.as_deref().map(|id| self.scoped(id));
        self.register(id.as_deref(), &progress)?;
        let at = self.hub.fresh();
        let upload = Upload {
            namespace: self.clone(),
            claim,
            id,
            at,
            hash: Sha256::new(),
            offset: 0,
            gathered: BytesMut::new(),
            stage: None,
            reserved: Some(reserved),
            progress,
            source,
            rests: false,
            stand: Stand::Whole,
            done: false,
        };
        if let Some(id) = &upload.id {
            self.drop_parked(id).await?;
        }
        Ok(upload)
    }

    /// Goes on with an upload that rests.
    ///
    /// # Errors
    /// `Absent`, or `Busy` when somebody writes it now.
    pub async fn resume(&self, id: &str) -> Result<Upload> {
        self.granted.assert(Rights::WRITE)?;
        self.measured("resume", async {
            let id = self.scoped(id);
            let waits = self.space.waiting().remove(&id);
            if let Some((_, mut upload)) = waits {
                upload.namespace = self.clone();
                return Ok(upload);
            }
            let Some(row) = self.parked(&id).await? else {
                return Err(Error::absent("no upload rests under this id: begin again"));
            };
            let progress = Progress::new(row.offset);
            self.register(Some(&id), &progress)?;
            let reserved = self.space.parked().remove(&id);
            let mut upload = Upload {
                namespace: self.clone(),
                claim: Claim { resume: Some(id.clone()), ..Claim::default() },
                id: Some(id.clone()),
                at: row.stage,
                hash: Sha256::new(),
                offset: row.offset,
                gathered: BytesMut::new(),
                stage: None,
                reserved,
                progress,
                source: None,
                rests: true,
                stand: Stand::Unsure,
                done: false,
            };
            // The row stays until the upload ends: a crash from here on loses only what is appended from now.
            if upload.reserved.is_none() {
                upload.reserved = Some(self.hub.reserve(&self.space, row.offset).await?);
            }
            let stage = match self.hub.store().stage(row.stage, row.offset, None).await {
                Err(error) if *error.meaning() == Meaning::Lost => {
                    // A crash came between the move of its bytes and the end of its row.
                    upload.stand = Stand::Over;
                    return Err(Error::absent("what rested under this id is gone: begin again").because(error));
                }
                stage => stage?,
            };
            upload.hash = hash_parked(stage.view().body(Span::whole(row.offset))?, row.offset).await?;
            upload.progress.set_view(stage.view());
            upload.stage = Some(stage);
            upload.stand = Stand::Whole;
            Ok(upload)
        })
        .await
    }

    /// The offset of an upload that somebody writes now, or that rests.
    ///
    /// # Errors
    /// When the caller may not write.
    pub async fn progress(&self, id: &str) -> Result<Option<u64>> {
        self.granted.assert(Rights::WRITE)?;
        let id = self.scoped(id);
        if let Some(progress) = self.space.uploads().get(&id) {
            return Ok(Some(progress.state.borrow().offset));
        }
        Ok(self.parked(&id).await?.map(|row| row.offset))
    }

    async fn parked(&self, id: &str) -> Result<Option<UploadRow>> {
        let one = Some((self.space.id, id.to_owned()));
        let row = self.hub.catalog().uploads(one, None).await?.pop();
        Ok(row.filter(|row| row.until > Time::now()))
    }

    /// One writer at a time.
    fn register(&self, id: Option<&str>, progress: &Arc<Progress>) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        let mut uploads = self.space.uploads();
        if uploads.contains_key(id) {
            return Err(Error::busy("somebody writes this upload now"));
        }
        uploads.insert(id.to_owned(), Arc::clone(progress));
        Ok(())
    }

    /// Drops what rests under an id, row first.
    async fn drop_parked(&self, id: &str) -> Result<()> {
        let Some(row) = self.parked(id).await? else { return Ok(()) };
        let take = Change::Take { space: self.space.id, id: id.to_owned() };
        if self.hub.catalog().apply(vec![take]).await?.pop() == Some(Outcome::Done) {
            self.space.parked().remove(id);
            self.hub.store().discard(row.stage).await?;
        }
        Ok(())
    }
}

/// Hashes again what rests.
async fn hash_parked(body: Body, offset: u64) -> Result<Sha256> {
    const DOING: &str = "read a parked upload";
    match body {
        Body::File { file, span } => spawn_blocking(move || hash_file(&file, span))
            .await
            .map_err(|cause| Error::broken(DOING).because(cause))?
            .map_err(|cause| Error::io(DOING, cause)),
        body => Ok(Sha256::new_with_prefix(crate::read::collect(body, offset).await?)),
    }
}

impl Upload {
    /// How many bytes were taken.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Says now, if it was not known before, what it will be and how it is to be known.
    ///
    /// # Errors
    /// When the caller may not write the name.
    pub fn expect(mut self, known: Claim) -> Result<Self> {
        self.namespace.may_name(&known)?;
        if known.digest.is_some() || known.sha512.is_some() {
            (self.claim.digest, self.claim.sha512) = (known.digest, known.sha512);
        }
        self.claim.size = known.size.or(self.claim.size);
        self.claim.name = known.name.or(self.claim.name.take());
        Ok(self)
    }

    /// Takes more bytes; returns the new offset.
    ///
    /// # Errors
    /// `Mismatch` beyond the announced size, `Full`.
    pub async fn append(&mut self, bytes: Bytes) -> Result<u64> {
        let end = self.offset + bytes.len() as u64;
        if let Some(size) = self.claim.size.filter(|size| end > *size) {
            return Err(Error::mismatch(format!("{end} bytes arrived and {size} were announced")));
        }
        self.take_room(end).await?;
        self.stand = Stand::Unsure;
        self.hash.update(&bytes);
        self.offset = end;
        if self.gathered.is_empty() && bytes.len() >= PIECE {
            self.write(bytes).await?;
        } else {
            self.gathered.extend_from_slice(&bytes);
            if self.gathered.len() >= PIECE || self.claim.live {
                let piece = self.gathered.split().freeze();
                self.write(piece).await?;
            }
        }
        let readable = match &mut self.stage {
            Some(stage) if self.claim.live => {
                stage.flush().await?;
                end
            }
            _ => 0,
        };
        self.progress.state.send_modify(|state| {
            state.offset = end;
            state.readable = state.readable.max(readable);
        });
        self.stand = Stand::Whole;
        Ok(end)
    }

    /// An upload of unknown size takes room as it grows.
    async fn take_room(&mut self, end: u64) -> Result<()> {
        if let Some(reserved) = &mut self.reserved
            && reserved.bytes() < end
        {
            let more = (end - reserved.bytes()).max(if self.claim.size.is_none() { STEP } else { 0 });
            let hub = self.namespace.hub.clone();
            let room = hub.reserve_more(reserved, more).await;
            if room.is_err() {
                // A step too large for what is left may still fit by the byte.
                hub.reserve_more(reserved, end - reserved.bytes()).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.stage.is_none() {
            let stage = self.namespace.hub.store().stage(self.at, 0, self.claim.size).await?;
            self.progress.set_view(stage.view());
            self.stage = Some(stage);
        }
        match &mut self.stage {
            Some(stage) => stage.append(bytes).await,
            None => Ok(()),
        }
    }

    /// The end: durable on return. It goes on when the caller goes in between.
    ///
    /// # Errors
    /// `Mismatch` when the bytes are not what was announced, `Full`.
    pub async fn commit(mut self) -> Result<Blob> {
        let namespace = self.namespace.clone();
        let work = async move { self.settle().await };
        namespace.measured("commit", namespace.hub.to_the_end("commit an upload", work)).await
    }

    async fn settle(&mut self) -> Result<Blob> {
        if self.stand != Stand::Whole {
            return Err(Error::broken("the upload failed before and cannot be committed"));
        }
        self.stand = Stand::Over;
        let digest = Digest::new(std::mem::take(&mut self.hash).finalize().into());
        let blob = Blob { digest, size: self.offset };
        if let Some(size) = self.claim.size.filter(|size| *size != blob.size) {
            self.forget_id().await?;
            return Err(Error::mismatch(format!("{} bytes arrived and {size} were announced", blob.size)));
        }
        if let Some(announced) = self.claim.digest.filter(|announced| *announced != digest) {
            self.forget_id().await?;
            return Err(Error::mismatch(format!("the bytes are {digest} and {announced} was announced")));
        }
        if let Some(announced) = self.claim.sha512
            && announced != self.sha512().await?
        {
            self.forget_id().await?;
            return Err(Error::mismatch("the bytes have another SHA-512 than was announced"));
        }
        let hub = self.namespace.hub.clone();
        let place = if self.stage.is_none() && self.gathered.len() <= ROW {
            Place::Row(self.gathered.split().freeze())
        } else {
            let piece = self.gathered.split().freeze();
            self.write(piece).await?;
            let at = hub.fresh_location(digest);
            if let Some(stage) = self.stage.take() {
                stage.settle(at, blob.size).await?;
            }
            Place::At(at)
        };
        let brought = Brought { source: self.source.take(), name: self.claim.name.take() };
        let claimed = self.namespace.claim(vec![(blob, place)], brought).await?.pop();
        claimed.unwrap_or_else(|| Err(Error::broken("a claim had no outcome")))?;
        self.forget_id().await?;
        self.end(Ok(()));
        Ok(blob)
    }

    /// Read once more: who asks for it names it only at the end.
    async fn sha512(&mut self) -> Result<[u8; 64]> {
        const DOING: &str = "hash an upload";
        let Some(stage) = &mut self.stage else { return Ok(Sha512::digest(&self.gathered).into()) };
        if !self.gathered.is_empty() {
            stage.append(self.gathered.split().freeze()).await?;
        }
        stage.flush().await?;
        let hash = match stage.view().body(Span::whole(self.offset))? {
            Body::File { file, span } => spawn_blocking(move || hash_file::<Sha512>(&file, span))
                .await
                .map_err(|cause| Error::broken(DOING).because(cause))?
                .map_err(|cause| Error::io(DOING, cause))?,
            body => Sha512::new_with_prefix(crate::read::collect(body, self.offset).await?),
        };
        Ok(hash.finalize().into())
    }

    /// It rests nowhere any more.
    async fn forget_id(&mut self) -> Result<()> {
        if let Some(id) = self.id.as_ref().filter(|_| self.rests) {
            let take = Change::Take { space: self.namespace.space.id, id: id.clone() };
            self.namespace.hub.catalog().apply(vec![take]).await?;
        }
        self.unregister();
        Ok(())
    }

    fn unregister(&mut self) {
        if let Some(id) = self.id.take() {
            self.namespace.space.uploads().remove(&id);
        }
    }

    fn end(&mut self, end: Result<()>) {
        let offset = self.offset;
        self.progress.state.send_modify(|state| {
            state.readable = if end.is_ok() { offset } else { state.readable };
            state.end.get_or_insert(end);
        });
        self.unregister();
        self.done = true;
    }
}

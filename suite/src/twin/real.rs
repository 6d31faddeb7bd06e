//! The same verbs on a real hub.

use std::path::PathBuf;

use bytes::Bytes;
use futures::TryStreamExt;
use kernel::{Claim, Hub, Namespace, Settings, Upload};
use model::{Blob, Digest, Error, KindId, Link, Location, Pointer, Result, Store};

use super::hub::slot_space;
use super::verb::{Bound, NAMED, SLOTS, Verb};
use super::{Answer, Fault};
use crate::sample::{anybody, blob, collect, hub, tick};

/// What bytes lie on; the catalog is always a file.
#[derive(Clone, Debug)]
pub enum Shelf {
    /// In memory.
    Memory(stores::Memory),
    /// In the directory.
    Disk,
}

/// A real hub that can be closed and opened again.
#[derive(Debug)]
pub struct Real {
    directory: PathBuf,
    on: Shelf,
    settings: Settings,
    hub: Hub,
    slots: [Option<(Bytes, Upload)>; SLOTS],
}

async fn open(directory: &PathBuf, on: &Shelf, settings: &Settings) -> Result<Hub> {
    let catalog = catalogs::Plan::new(directory.join("catalog.db")).open()?;
    match on {
        Shelf::Memory(memory) => hub(catalog, memory.clone(), settings.clone()).await,
        Shelf::Disk => hub(catalog, stores::Disk::open(directory)?, settings.clone()).await,
    }
}

fn each<T>(results: Vec<Result<T>>, show: impl Fn(T) -> Digest) -> Vec<std::result::Result<Digest, Fault>> {
    results.into_iter().map(|one| one.map(&show).map_err(fault)).collect()
}

fn fault(error: Error) -> Fault {
    error.meaning().clone().into()
}

impl Real {
    /// An empty hub with two namespaces of this limit.
    ///
    /// # Errors
    /// When it does not open.
    pub async fn new(directory: PathBuf, on: Shelf, limit: u64) -> Result<Self> {
        let namespaces = vec![("main".into(), limit), ("other".into(), limit)];
        let settings = Settings { namespaces, disk_reserve: 0, ..Settings::default() };
        let hub = open(&directory, &on, &settings).await?;
        Ok(Self { directory, on, settings, hub, slots: Default::default() })
    }

    fn space(&self, index: usize) -> Namespace {
        self.hub.enter(&anybody(), ["main", "other"][index]).expect("both are in the settings")
    }

    async fn store(&self) -> Result<Box<dyn Store>> {
        Ok(match &self.on {
            Shelf::Memory(memory) => Box::new(memory.clone()),
            Shelf::Disk => Box::new(stores::Disk::open(&self.directory)?),
        })
    }

    /// Ends an upload that nobody ended, and waits until that is done.
    async fn leave(&mut self, slot: usize) {
        if self.slots[slot].take().is_some() {
            self.hub.close().await;
        }
    }

    /// Does a verb, in a moment of its own.
    pub async fn run(&mut self, verb: &Verb) -> Answer {
        tick();
        self.verb(verb).await.unwrap_or_else(|error| Answer::Failed(fault(error)))
    }

    async fn verb(&mut self, verb: &Verb) -> Result<Answer> {
        Ok(match verb {
            Verb::Has(space, digests) => Answer::Sizes(self.space(*space).has(digests).await?),
            Verb::Put(space, contents) => {
                let blobs = contents.iter().map(|bytes| (blob(bytes), bytes.clone())).collect();
                let results = self.space(*space).put(blobs).await?;
                Answer::Each(results.into_iter().map(|one| one.map_err(fault)).collect())
            }
            Verb::PutWrong(space, blob, bytes) => {
                let results = self.space(*space).put(vec![(*blob, bytes.clone())]).await?;
                Answer::Each(results.into_iter().map(|one| one.map_err(fault)).collect())
            }
            Verb::Read(space, digest, offset) => {
                let (_, body) = self.space(*space).read(*digest, *offset, None).await?;
                Answer::Bytes(blob(&collect(body).await?).digest)
            }
            Verb::ReadSmall(space, blobs) => {
                let results = self.space(*space).read_small(blobs).await?;
                Answer::EachBytes(each(results, |bytes| blob(&bytes).digest))
            }
            Verb::Share(digests) => {
                self.space(1).share(&self.space(0), digests).await?;
                Answer::Done
            }
            Verb::Begin { slot, content, announced } => self.begin(*slot, content, *announced).await?,
            Verb::Append { slot, most } => {
                let Some((content, upload)) = &mut self.slots[*slot] else { return Ok(Answer::Done) };
                let from = upload.offset() as usize;
                let piece = content.slice(from..content.len().min(from + most));
                Answer::Offset(Some(upload.append(piece).await?))
            }
            Verb::Park { slot } => {
                if let Some((_, upload)) = self.slots[*slot].take() {
                    upload.park().await?;
                }
                Answer::Done
            }
            Verb::Resume { slot } => {
                let upload = self.space(slot_space(*slot)).resume(&slot.to_string()).await?;
                let offset = upload.offset();
                // The twin knows the content; here only its rest matters, and it is found by its beginning.
                self.slots[*slot] = Some((Bytes::new(), upload));
                Answer::Offset(Some(offset))
            }
            Verb::Commit { slot } => {
                let Some((_, upload)) = self.slots[*slot].take() else { return Ok(Answer::Done) };
                let committed = upload.commit().await;
                // A failed one gives back its room in the background.
                self.hub.close().await;
                Answer::Blob(committed?)
            }
            Verb::Drop { slot } => {
                self.leave(*slot).await;
                Answer::Done
            }
            Verb::Progress { slot } => Answer::Offset(self.space(slot_space(*slot)).progress(&slot.to_string()).await?),
            Verb::Bind(space, list) => {
                let list = list.iter().map(binding).collect();
                self.space(*space).bind(list).await?;
                Answer::Done
            }
            Verb::Find(space, name) => Answer::Blob(self.space(*space).find(name).await?.pointer.blob),
            Verb::Unbind(space, name, when) => {
                self.space(*space).unbind(name, *when).await?;
                Answer::Done
            }
            Verb::List(space, prefix, after, limit) => {
                let page = self.space(*space).list(prefix, after.as_deref(), *limit).await?;
                Answer::Names(page.into_iter().map(|(name, row)| (name, row.pointer.blob)).collect())
            }
            Verb::Collect(space, target) => {
                Answer::Offset(Some(self.hub.collect(["main", "other"][*space], *target).await?))
            }
            Verb::Sweep => {
                self.hub.sweep().await?;
                Answer::Done
            }
            Verb::Plan(space) => {
                let (used, victims) = self.hub.plan(["main", "other"][*space], usize::MAX).await?;
                // The empty blob is there without a lease too, so that its place says nothing.
                let show = |(_, victim)| match victim {
                    kernel::Victim::Lease(Blob::EMPTY) => None,
                    kernel::Victim::Lease(blob) | kernel::Victim::Copy(blob) => Some(blob.to_string()),
                    kernel::Victim::Name(name) => Some(name.to_string()),
                };
                Answer::Plan(used, victims.into_iter().filter_map(show).collect())
            }
            Verb::Damage(digest) => {
                let store = self.store().await?;
                store.remove(&self.places(&*store, digest).await?).await?;
                Answer::Done
            }
            Verb::Restart(rotten) => {
                self.slots = Default::default();
                self.hub.close().await;
                if let Some(digest) = rotten {
                    let store = self.store().await?;
                    for (place, size) in self.sized(&*store, digest).await? {
                        store.remove(&[place]).await?;
                        store.put(vec![(place, vec![0x5a; size].into())]).await?;
                    }
                }
                self.hub = open(&self.directory, &self.on, &self.settings).await?;
                Answer::Done
            }
        })
    }

    async fn begin(&mut self, slot: usize, content: &Bytes, announced: bool) -> Result<Answer> {
        if slot >= NAMED {
            self.leave(slot).await;
        }
        let resume = (slot < NAMED).then(|| slot.to_string());
        let size = announced.then_some(content.len() as u64);
        let claim = Claim { size, resume, live: slot == 0, ..Claim::default() };
        let upload = self.space(slot_space(slot)).upload(claim).await?;
        self.slots[slot] = Some((content.clone(), upload));
        Ok(Answer::Done)
    }

    /// Tells what is being uploaded, after a resume.
    pub fn content(&mut self, slot: usize, bytes: &Bytes) {
        if let Some((content, _)) = &mut self.slots[slot] {
            content.clone_from(bytes);
        }
    }

    async fn places(&self, store: &dyn Store, digest: &Digest) -> Result<Vec<Location>> {
        let all: Vec<Location> = store.scan().try_collect().await?;
        Ok(all.into_iter().filter(|at| at.digest == *digest).collect())
    }

    async fn sized(&self, store: &dyn Store, digest: &Digest) -> Result<Vec<(Location, usize)>> {
        let sizes = self.hub.why("main", *digest).await.or(self.hub.why("other", *digest).await);
        let Ok((row, ..)) = sizes else { return Ok(Vec::new()) };
        let places = self.places(store, digest).await?;
        Ok(places.into_iter().map(|place| (place, row.blob.size as usize)).collect())
    }
}

fn binding(bound: &Bound) -> (model::Name, Pointer, model::When) {
    let also = bound.also.map(|blob| Link::must(blob, KindId::BYTES));
    let pointer =
        Pointer { also: also.into_iter().collect(), keep: bound.keep, ..Pointer::new(bound.blob, bound.kind) };
    (bound.name.clone(), pointer, bound.when)
}

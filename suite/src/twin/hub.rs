//! The hub made of maps.

mod bind;
mod upload;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{Blob, Digest, Meaning, Name, Retention, Time};

use super::verb::{SLOTS, Verb};
use super::{Answer, Fault};
use crate::sample::blob;

/// Blobs up to this size lie in the catalog and cannot rot in the store.
pub const ROW: u64 = 64 << 10;
/// An upload of unknown size takes room in these steps.
const STEP: u64 = 1 << 20;

type Said<T = Answer> = Result<T, Fault>;
/// What may go, ordered as it goes: leases before names of the same moment.
type Victim = (u64, bool, Option<Blob>, Option<Name>);

fn fault<T>(meaning: Meaning) -> Said<T> {
    Err(Fault::Other(meaning))
}

/// A blob's row.
#[derive(Clone, Debug)]
struct Row {
    bytes: Bytes,
    /// Known to be lost.
    away: bool,
    /// Lost, and nobody knows yet.
    damaged: bool,
}

#[derive(Clone, Debug)]
struct Pointer {
    blob: Blob,
    keep: Retention,
    roots: Vec<Digest>,
    used: u64,
}

#[derive(Clone, Debug)]
struct Writing {
    content: Bytes,
    offset: usize,
    announced: Option<u64>,
    reserved: u64,
}

#[derive(Clone, Debug, Default)]
struct Space {
    leases: BTreeMap<Digest, u64>,
    nodes: BTreeMap<Digest, Vec<Digest>>,
    names: BTreeMap<Name, Pointer>,
    writing: BTreeMap<usize, Writing>,
    /// Rows of parked uploads: content and offset.
    rests: BTreeMap<usize, (Bytes, usize)>,
    /// What they keep reserved.
    parked: BTreeMap<usize, u64>,
}

impl Space {
    fn holders(&self, digest: &Digest) -> usize {
        let roots = self.names.values().flat_map(|pointer| &pointer.roots);
        roots.chain(self.nodes.values().flatten()).filter(|held| *held == digest).count()
    }

    fn reserved(&self) -> u64 {
        self.writing.values().map(|one| one.reserved).chain(self.parked.values().copied()).sum()
    }
}

/// The twin.
#[derive(Clone, Debug)]
pub struct Twin {
    limit: u64,
    moment: u64,
    rows: BTreeMap<Digest, Row>,
    /// Left without a lease by the last reaps.
    bare: BTreeSet<Digest>,
    spaces: [Space; 2],
}

impl Twin {
    /// An empty hub with two namespaces of this limit.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, moment: 0, rows: BTreeMap::new(), bare: BTreeSet::new(), spaces: Default::default() }
    }

    fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    fn here(&self, digest: &Digest) -> bool {
        self.rows.get(digest).is_some_and(|row| !row.away)
    }

    fn size(&self, digest: &Digest) -> u64 {
        self.rows[digest].bytes.len() as u64
    }

    fn leased(&self, digest: &Digest) -> bool {
        self.spaces.iter().any(|space| space.leases.contains_key(digest))
    }

    /// Whether the store has a file of this blob.
    #[must_use]
    pub fn stored(&self, digest: &Digest) -> bool {
        self.rows.get(digest).is_some_and(|row| !row.away && !row.damaged && row.bytes.len() as u64 > ROW)
    }

    /// What a slot is uploading.
    #[must_use]
    pub fn content(&self, slot: usize) -> Option<&Bytes> {
        self.spaces[slot_space(slot)].writing.get(&slot).map(|one| &one.content)
    }

    fn used(&self, space: usize) -> u64 {
        self.spaces[space].leases.keys().map(|digest| self.size(digest)).sum()
    }

    fn over(&self, space: usize, bytes: u64, limit: u64) -> bool {
        u128::from(self.used(space)) + u128::from(self.spaces[space].reserved()) + u128::from(bytes) > u128::from(limit)
    }

    /// What may go, first what goes first.
    fn victims(&self, space: usize) -> Vec<Victim> {
        let it = &self.spaces[space];
        let free = it.leases.iter().filter(|(digest, _)| it.holders(digest) == 0);
        let leases =
            free.map(|(digest, used)| (*used, false, Some(Blob { digest: *digest, size: self.size(digest) }), None));
        let loose = it.names.iter().filter(|(_, pointer)| pointer.keep != Retention::Firm);
        let names = loose.map(|(name, pointer)| (pointer.used, true, None, Some(name.clone())));
        let mut all: Vec<Victim> = leases.chain(names).collect();
        all.sort_unstable();
        all
    }

    fn make_room(&mut self, space: usize, bytes: u64, limit: u64) -> Said<()> {
        while self.over(space, bytes, limit) {
            match self.victims(space).into_iter().next() {
                Some((_, _, Some(blob), _)) => {
                    self.spaces[space].leases.remove(&blob.digest);
                    self.spaces[space].nodes.remove(&blob.digest);
                    if !self.leased(&blob.digest) {
                        self.bare.insert(blob.digest);
                    }
                }
                Some((.., Some(name))) => drop(self.spaces[space].names.remove(&name)),
                _ => return fault(Meaning::Full),
            }
        }
        let bare = std::mem::take(&mut self.bare);
        self.bury(bare);
        Ok(())
    }

    fn bury(&mut self, bare: impl IntoIterator<Item = Digest>) {
        for digest in bare {
            if !self.leased(&digest) {
                self.rows.remove(&digest);
            }
        }
    }

    fn reserve(&mut self, space: usize, bytes: u64) -> Said<()> {
        if bytes > self.limit {
            return fault(Meaning::Full);
        }
        if self.over(space, bytes, self.limit) {
            self.make_room(space, bytes, self.limit)?;
        }
        Ok(())
    }

    fn claim(&mut self, space: usize, bytes: &Bytes, now: u64) {
        let digest = blob(bytes).digest;
        if !self.here(&digest) {
            self.rows.insert(digest, Row { bytes: bytes.clone(), away: false, damaged: false });
        }
        self.touch(space, &digest, now, true);
    }

    /// A use, of a lease that is there or comes to be.
    fn touch(&mut self, space: usize, digest: &Digest, now: u64, new: bool) -> bool {
        let leases = &mut self.spaces[space].leases;
        let here = leases.contains_key(digest) && self.rows.get(digest).is_some_and(|row| !row.away);
        if !new && !here {
            return false;
        }
        leases.insert(*digest, now);
        true
    }

    fn look(&mut self, space: usize, digests: &[Digest]) -> Vec<Option<u64>> {
        let now = self.now();
        let one = |digest: &Digest| match *digest {
            Digest::EMPTY => Some(0),
            digest => self.touch(space, &digest, now, false).then(|| self.size(&digest)),
        };
        digests.iter().map(one).collect()
    }

    /// All are used at one moment; those in the store once more when they are opened.
    fn small(&mut self, space: usize, digests: &[Digest]) -> Vec<Said<Bytes>> {
        let now = self.now();
        let there: Vec<bool> = digests.iter().map(|digest| self.touch(space, digest, now, false)).collect();
        let one = |(digest, there): (&Digest, bool)| match *digest {
            Digest::EMPTY => Ok(Bytes::new()),
            digest if !there || !self.here(&digest) => fault(Meaning::Absent),
            digest => {
                let now = if self.size(&digest) > ROW { self.now() } else { now };
                self.touch(space, &digest, now, false);
                self.bytes(&digest)
            }
        };
        digests.iter().zip(there).map(one).collect()
    }

    /// The bytes, found lost if they are.
    fn bytes(&mut self, digest: &Digest) -> Said<Bytes> {
        let row = self.rows.get_mut(digest).expect("a lease has a row");
        if row.damaged {
            row.away = true;
            row.damaged = false;
            return fault(Meaning::Lost);
        }
        Ok(row.bytes.clone())
    }

    /// Does a verb.
    pub fn run(&mut self, verb: &Verb) -> Answer {
        match verb {
            Verb::Has(space, digests) => Ok(Answer::Sizes(self.look(*space, digests))),
            Verb::Put(space, contents) => Ok(self.put(*space, contents)),
            Verb::PutWrong(space, blob, bytes) => {
                self.look(*space, &[blob.digest]);
                let right = crate::sample::blob(bytes) == *blob;
                let wrong = || Answer::Each(vec![fault(Meaning::Mismatch)]);
                Ok(if right { self.put(*space, std::slice::from_ref(bytes)) } else { wrong() })
            }
            Verb::Read(space, digest, offset) => self.bytes_from(*space, digest, *offset),
            Verb::ReadSmall(space, blobs) => {
                let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
                let each = self.small(*space, &digests).into_iter().map(|bytes| Ok(blob(&bytes?).digest));
                Ok(Answer::EachBytes(each.collect()))
            }
            Verb::Share(digests) => self.share(digests),
            Verb::Begin { slot, content, announced } => self.begin(*slot, content, *announced),
            Verb::Append { slot, most } => self.append(*slot, *most),
            Verb::Park { slot } => self.park(*slot),
            Verb::Resume { slot } => self.resume(*slot),
            Verb::Commit { slot } => self.commit(*slot),
            Verb::Drop { slot } => {
                self.leave(*slot);
                Ok(Answer::Done)
            }
            Verb::Progress { slot } => {
                let space = &self.spaces[slot_space(*slot)];
                let writing = space.writing.get(slot).map(|one| one.offset);
                let offset = writing.or_else(|| space.rests.get(slot).map(|(_, offset)| *offset));
                Ok(Answer::Offset(offset.map(|offset| offset as u64)))
            }
            Verb::Bind(space, list) => self.bind(*space, list),
            Verb::Find(space, name) => self.find(*space, name),
            Verb::Unbind(space, name, when) => self.unbind(*space, name, *when),
            Verb::List(space, prefix, after, limit) => {
                let wanted = self.spaces[*space].names.iter().filter(|(name, _)| {
                    let text = name.as_str();
                    text.starts_with(prefix.as_str()) && after.as_ref().is_none_or(|after| text > after.as_str())
                });
                let wanted: Vec<_> = wanted.collect();
                let alive = |page: &[(&Name, &Pointer)]| {
                    let page = page.iter().filter(|(_, pointer)| !over(pointer.keep));
                    page.map(|(name, pointer)| ((*name).clone(), pointer.blob)).collect::<Vec<_>>()
                };
                // The first page that has something.
                let page = wanted.chunks(*limit).map(alive).find(|page| !page.is_empty());
                Ok(Answer::Names(page.unwrap_or_default()))
            }
            Verb::Collect(space, target) => {
                self.make_room(*space, 0, *target).map(|()| Answer::Offset(Some(self.used(*space))))
            }
            Verb::Sweep => {
                for space in &mut self.spaces {
                    space.names.retain(|_, pointer| !over(pointer.keep));
                }
                let all: Vec<Digest> = self.rows.keys().copied().collect();
                self.bury(all);
                Ok(Answer::Done)
            }
            Verb::Plan(space) => {
                let show = |(_, _, blob, name): Victim| match blob {
                    Some(Blob::EMPTY) => None,
                    Some(blob) => Some(blob.to_string()),
                    None => name.map(|name| name.to_string()),
                };
                let victims = self.victims(*space).into_iter().filter_map(show).collect();
                Ok(Answer::Plan(self.used(*space), victims))
            }
            Verb::Damage(digest) => {
                self.damage(digest);
                Ok(Answer::Done)
            }
            Verb::Restart(rotten) => {
                (0..SLOTS).for_each(|slot| self.leave(slot));
                for space in &mut self.spaces {
                    space.parked = space.rests.iter().map(|(slot, (_, offset))| (*slot, *offset as u64)).collect();
                }
                self.bare.clear();
                rotten.iter().for_each(|digest| self.damage(digest));
                Ok(Answer::Done)
            }
        }
        .into()
    }

    fn damage(&mut self, digest: &Digest) {
        if self.stored(digest) {
            self.rows.get_mut(digest).expect("it is stored").damaged = true;
        }
    }

    fn put(&mut self, space: usize, contents: &[Bytes]) -> Answer {
        let digests: Vec<Digest> = contents.iter().map(|bytes| blob(bytes).digest).collect();
        let here = self.look(space, &digests);
        // What is reserved counts until all of them are claimed.
        const WHILE: usize = SLOTS;
        let mut each: Vec<Said<()>> = vec![Ok(()); contents.len()];
        let mut reserved = 0;
        for (index, bytes) in contents.iter().enumerate().filter(|(index, _)| here[*index].is_none()) {
            each[index] = self.reserve(space, bytes.len() as u64);
            if each[index].is_ok() {
                reserved += bytes.len() as u64;
                let held = Writing { content: Bytes::new(), offset: 0, announced: None, reserved };
                self.spaces[space].writing.insert(WHILE, held);
            }
        }
        self.spaces[space].writing.remove(&WHILE);
        let now = self.now();
        for (index, bytes) in contents.iter().enumerate() {
            if here[index].is_none() && each[index].is_ok() {
                self.claim(space, bytes, now);
            }
        }
        Answer::Each(each)
    }

    fn bytes_from(&mut self, space: usize, digest: &Digest, offset: u64) -> Said {
        let empty = *digest == Digest::EMPTY;
        let now = self.now();
        if !empty && !self.touch(space, digest, now, false) {
            return fault(Meaning::Absent);
        }
        if offset > if empty { 0 } else { self.size(digest) } {
            return fault(Meaning::OutOfRange);
        }
        let bytes = if empty { Bytes::new() } else { self.bytes(digest)? };
        Ok(Answer::Bytes(blob(&bytes.slice(offset as usize..)).digest))
    }

    fn share(&mut self, digests: &[Digest]) -> Said {
        let sizes = self.look(0, digests);
        let gone = digests.iter().zip(&sizes).filter(|(_, size)| size.is_none()).map(|(digest, _)| *digest);
        let gone: BTreeSet<Digest> = gone.collect();
        if !gone.is_empty() {
            return Err(Fault::Incomplete(gone.into_iter().collect()));
        }
        for digest in digests.iter().filter(|digest| **digest != Digest::EMPTY) {
            self.reserve(1, self.size(digest))?;
            let now = self.now();
            self.touch(1, digest, now, true);
        }
        Ok(Answer::Done)
    }

    fn find(&mut self, space: usize, name: &Name) -> Said {
        let now = self.now();
        let pointer = self.spaces[space].names.get(name).filter(|pointer| !over(pointer.keep));
        let Some(pointer) = pointer.cloned() else { return fault(Meaning::Absent) };
        if pointer.keep != Retention::Firm && !self.lost(space, &pointer.roots).is_empty() {
            return fault(Meaning::Absent);
        }
        self.spaces[space].names.get_mut(name).expect("it was just there").used = now;
        Ok(Answer::Blob(pointer.blob))
    }

    /// What is leased and lost of these and all below.
    fn lost(&self, space: usize, roots: &[Digest]) -> BTreeSet<Digest> {
        let it = &self.spaces[space];
        let gone = |digest: &&Digest| !self.here(digest) && it.leases.contains_key(*digest);
        let below = roots.iter().filter_map(|digest| it.nodes.get(digest)).flat_map(|below| self.lost(space, below));
        roots.iter().filter(gone).copied().chain(below).collect()
    }
}

/// Slots belong to namespaces.
#[must_use]
pub fn slot_space(slot: usize) -> usize {
    usize::from(slot == SLOTS - 1)
}

fn over(keep: Retention) -> bool {
    matches!(keep, Retention::Until(end) if end <= Time(1))
}

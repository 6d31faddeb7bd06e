//! What a namespace is known to hold, when it was last used, and what must not be reaped now.
//!
//! Invariants: an entry is here only while its lease is in the catalog and its bytes are Here; whoever is told
//! "present" has touched the entry under the same lock; the reaper marks a digest first, and takes the mark
//! away only after the lease is gone, so that nobody is told "present" of a lease that is about to go.
//! A generation counts finished reaps: what was read from the catalog under an older one is asked again.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Digest, Time};
use tokio::sync::Notify;

/// Locks are held for a few map operations; sixteen keep many cores apart.
const SHARDS: usize = 16;

pub(crate) struct Presence {
    shards: [Mutex<Shard>; SHARDS],
    /// Told when reaps end.
    pub(crate) reaped: Notify,
    /// Entries of one half of a shard.
    half: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    size: u64,
    used: Time,
    /// `used` is not in the catalog yet.
    dirty: bool,
    /// The bytes were found right since the process started.
    verified: Option<i64>,
}

type Map<V> = HashMap<Digest, V, BuildHasherDefault<FirstBytes>>;

#[derive(Default)]
struct Shard {
    /// Two generations: what was asked for lately, and before. When the young are many they become the old.
    young: Map<Entry>,
    old: Map<Entry>,
    /// Uses of entries that were dropped with a generation.
    late: Map<Time>,
    due: Vec<Digest>,
    pins: Map<u32>,
    /// Digests whose lease or bytes are going just now, and how many work at it.
    marks: Map<u32>,
    generation: u64,
}

/// A SHA-256 needs no further hashing.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// What the cache says of a digest.
pub(crate) enum Seen {
    /// Held; its size. It has been touched.
    Here(u64),
    /// The catalog must be asked; the generation to come back with.
    Ask(u64),
    /// A reap is under way: wait for `reaped`, then ask again.
    Wait,
}

impl Presence {
    /// Keeps about this many entries.
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            reaped: Notify::new(),
            half: (entries / SHARDS / 2).max(16),
        }
    }

    /// Protects one shard; never held across an await.
    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let index = usize::from(digest.as_bytes()[31]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look(&self, digest: &Digest, now: Time) -> Seen {
        let mut shard = self.shard(digest);
        if shard.marks.contains_key(digest) {
            return Seen::Wait;
        }
        match shard.touch(digest, now, self.half) {
            Some(size) => Seen::Here(size),
            None => Seen::Ask(shard.generation),
        }
    }

    /// Records what the catalog said. False when a reap came in between: ask again.
    pub(crate) fn learn(&self, digest: &Digest, size: u64, generation: u64, now: Time) -> bool {
        let mut shard = self.shard(digest);
        if shard.marks.contains_key(digest) || shard.generation != generation {
            return false;
        }
        shard.insert(*digest, Entry { size, used: now, dirty: true, verified: None }, self.half);
        true
    }

    /// To be asked before a lease is written, for [`Presence::wrote`].
    pub(crate) fn generation(&self, digest: &Digest) -> u64 {
        self.shard(digest).generation
    }

    /// Records a lease that was just written, with `used` in its row. Nothing is recorded when a reap came in
    /// between: it may have taken this very lease.
    pub(crate) fn wrote(&self, digest: &Digest, size: u64, used: Time, generation: u64) {
        let mut shard = self.shard(digest);
        if !shard.marks.contains_key(digest) && shard.generation == generation {
            shard.insert(*digest, Entry { size, used, dirty: false, verified: None }, self.half);
        }
    }

    /// The bytes were found right.
    pub(crate) fn set_verified(&self, digest: &Digest, stamp: i64) {
        if let Some(entry) = self.shard(digest).young.get_mut(digest) {
            entry.verified = Some(stamp);
        }
    }

    pub(crate) fn is_verified(&self, digest: &Digest, stamp: i64) -> bool {
        self.shard(digest).entry(digest).is_some_and(|entry| entry.verified == Some(stamp))
    }

    /// Keeps the reaper away until [`Presence::unpin`].
    pub(crate) fn pin(&self, digest: &Digest) {
        *self.shard(digest).pins.entry(*digest).or_default() += 1;
    }

    pub(crate) fn is_pinned(&self, digest: &Digest) -> bool {
        self.shard(digest).pins.contains_key(digest)
    }

    pub(crate) fn unpin(&self, digest: &Digest) {
        if let Slot::Occupied(mut pins) = self.shard(digest).pins.entry(*digest) {
            *pins.get_mut() -= 1;
            if *pins.get() == 0 {
                pins.remove();
            }
        }
    }

    /// Marks a lease that nobody used after `used`, to be unmarked by [`Presence::unmark`]. `Err` with the later
    /// use; with `None` when it is pinned or marked.
    pub(crate) fn begin_reap(&self, digest: &Digest, used: Time) -> Result<(), Option<Time>> {
        let mut shard = self.shard(digest);
        if shard.pins.contains_key(digest) || shard.marks.contains_key(digest) {
            return Err(None);
        }
        let latest = shard.entry(digest).map(|entry| entry.used).max(shard.late.get(digest).copied());
        if let Some(latest) = latest.filter(|latest| *latest > used) {
            return Err(Some(latest));
        }
        shard.marks.insert(*digest, 1);
        Ok(())
    }

    /// Marks digests whatever they are, until the answer is dropped.
    pub(crate) fn mark(&self, digests: Vec<Digest>) -> Marks<'_> {
        for digest in &digests {
            *self.shard(digest).marks.entry(*digest).or_default() += 1;
        }
        self.marked(digests)
    }

    /// What [`Presence::begin_reap`] marked, to be unmarked when the answer is dropped.
    pub(crate) fn marked(&self, digests: Vec<Digest>) -> Marks<'_> {
        Marks { presence: self, digests }
    }

    /// Forgets what was known and takes one mark away, in this order for all who look.
    fn unmark(&self, digest: &Digest) {
        let mut shard = self.shard(digest);
        shard.forget(digest);
        if let Slot::Occupied(mut marks) = shard.marks.entry(*digest) {
            *marks.get_mut() -= 1;
            if *marks.get() == 0 {
                marks.remove();
            }
        }
        shard.generation += 1;
        drop(shard);
        self.reaped.notify_waiters();
    }

    /// Takes the uses that the catalog does not have yet.
    pub(crate) fn drain(&self) -> Vec<(Digest, Time)> {
        let mut uses = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for digest in std::mem::take(&mut shard.due) {
                let Shard { young, old, .. } = &mut *shard;
                if let Some(entry) = young.get_mut(&digest).or_else(|| old.get_mut(&digest))
                    && entry.dirty
                {
                    entry.dirty = false;
                    uses.push((digest, entry.used));
                }
            }
            // The late ones stay for the reaper's sake until the next drain finds them written.
            let late: Vec<_> = shard.late.drain().collect();
            uses.extend(late);
        }
        uses
    }
}

/// Marks, for as long as this lives.
pub(crate) struct Marks<'a> {
    presence: &'a Presence,
    digests: Vec<Digest>,
}

impl Drop for Marks<'_> {
    fn drop(&mut self) {
        for digest in &self.digests {
            self.presence.unmark(digest);
        }
    }
}

impl Shard {
    /// Drops an entry, but never a use that the catalog does not have yet.
    fn forget(&mut self, digest: &Digest) {
        let entry = self.young.remove(digest).or_else(|| self.old.remove(digest));
        if let Some(entry) = entry.filter(|entry| entry.dirty) {
            self.late.insert(*digest, entry.used);
        }
    }

    fn entry(&self, digest: &Digest) -> Option<&Entry> {
        self.young.get(digest).or_else(|| self.old.get(digest))
    }

    fn touch(&mut self, digest: &Digest, now: Time, half: usize) -> Option<u64> {
        if !self.young.contains_key(digest) {
            let entry = self.old.remove(digest)?;
            self.make_room(half);
            self.young.insert(*digest, entry);
        }
        let entry = self.young.get_mut(digest)?;
        entry.used = entry.used.max(now);
        if !entry.dirty {
            entry.dirty = true;
            self.due.push(*digest);
        }
        Some(entry.size)
    }

    fn insert(&mut self, digest: Digest, mut entry: Entry, half: usize) {
        if let Some(before) = self.old.remove(&digest).or_else(|| self.young.get(&digest).copied()) {
            entry.used = entry.used.max(before.used);
            entry.verified = entry.verified.or(before.verified);
            entry.dirty |= before.dirty;
        }
        self.make_room(half);
        if entry.dirty {
            self.due.push(digest);
        }
        self.young.insert(digest, entry);
    }

    fn make_room(&mut self, half: usize) {
        if self.young.len() < half {
            return;
        }
        let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        for (digest, entry) in dropped {
            if entry.dirty {
                self.late.insert(digest, entry.used);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u16) -> Digest {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        Digest::new(bytes)
    }

    #[test]
    fn a_digest_that_is_being_reaped_is_never_called_present() {
        let presence = Presence::new(1000);
        presence.wrote(&digest(1), 10, Time(5), 0);
        assert!(matches!(presence.look(&digest(1), Time(6)), Seen::Here(10)));
        assert_eq!(presence.begin_reap(&digest(1), Time(5)), Err(Some(Time(6))), "it was used since");
        assert_eq!(presence.begin_reap(&digest(1), Time(6)), Ok(()));
        assert!(matches!(presence.look(&digest(1), Time(7)), Seen::Wait));
        drop(presence.marked(vec![digest(1)]));
        assert!(matches!(presence.look(&digest(1), Time(7)), Seen::Ask(_)));
    }

    #[test]
    fn what_the_catalog_said_before_a_reap_is_not_believed_after_it() {
        let presence = Presence::new(1000);
        let Seen::Ask(generation) = presence.look(&digest(1), Time(1)) else { panic!("nothing is known yet") };
        assert_eq!(presence.begin_reap(&digest(1), Time(1)), Ok(()));
        drop(presence.marked(vec![digest(1)]));
        assert!(!presence.learn(&digest(1), 10, generation, Time(2)));
        presence.wrote(&digest(1), 10, Time(2), generation);
        assert!(matches!(presence.look(&digest(1), Time(7)), Seen::Ask(_)), "nor is a claim from before it");
    }

    #[test]
    fn no_use_is_forgotten_when_entries_are_dropped() {
        let presence = Presence::new(16 * 32);
        for number in 0..500 {
            presence.wrote(&digest(number), 1, Time(1), 0);
            presence.look(&digest(number), Time(2));
        }
        let mut uses = presence.drain();
        uses.sort_unstable();
        uses.dedup();
        assert_eq!(uses.len(), 500);
        assert!(presence.drain().is_empty(), "uses are told once");
    }

    #[test]
    fn two_who_remove_a_blob_both_have_to_end() {
        let presence = Presence::new(1000);
        assert_eq!(presence.begin_reap(&digest(1), Time(1)), Ok(()));
        let lost = presence.mark(vec![digest(1)]);
        drop(presence.marked(vec![digest(1)]));
        assert!(matches!(presence.look(&digest(1), Time(7)), Seen::Wait));
        drop(lost);
        assert!(matches!(presence.look(&digest(1), Time(7)), Seen::Ask(_)));
    }

    #[test]
    fn pins_are_counted() {
        let presence = Presence::new(1000);
        presence.pin(&digest(1));
        presence.pin(&digest(1));
        presence.unpin(&digest(1));
        assert_eq!(presence.begin_reap(&digest(1), Time(9)), Err(None));
        presence.unpin(&digest(1));
        assert_eq!(presence.begin_reap(&digest(1), Time(9)), Ok(()));
    }
}

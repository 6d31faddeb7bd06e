//! What a namespace surely does not hold: most questions of a fresh build are for blobs that nobody has.
//!
//! A filter of bits (Bloom, 1970), in which each lease sets a few that its digest names. A digest with one of its
//! bits unset is absent. It is trusted only once all leases that were there at the start were added; until then
//! the catalog is asked. Bits are never unset: what was evicted is asked for in the catalog, until the filter is
//! made again.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, PoisonError, RwLock};

use model::Digest;

/// Bits for each lease: one of 2,000 absent digests is asked for in vain.
const BITS: u64 = 16;
/// Bits that a lease sets. All lie in one line of the processor's cache, so that a look costs one miss.
const PROBES: usize = 5;
/// Leases that the smallest filter (2 MiB) has room for.
const LEAST: u64 = 1 << 20;

/// The filter of a namespace. Replaced by a larger one when it is full.
#[derive(Default)]
pub(crate) struct Absence(RwLock<Option<Arc<Filter>>>);

pub(crate) struct Filter {
    words: Box<[AtomicU64]>,
    added: AtomicU64,
    complete: AtomicBool,
}

impl Filter {
    fn new(leases: u64) -> Self {
        // Lines of eight words; a power of two, so that a mask finds the line.
        let lines = (leases.max(LEAST) * BITS / 512).next_power_of_two();
        let words = std::iter::repeat_with(AtomicU64::default).take(usize::try_from(lines * 8).unwrap_or(8));
        Self { words: words.collect(), added: AtomicU64::new(0), complete: AtomicBool::new(false) }
    }

    /// The word and the bit of each probe. A SHA-256 has random bytes enough for all of them.
    fn probes(&self, digest: &Digest) -> [(usize, u64); PROBES] {
        let bytes = digest.as_bytes();
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[8..16]);
        let lines = self.words.len() / 8;
        let line = usize::try_from(u64::from_le_bytes(first)).unwrap_or(usize::MAX) & (lines - 1);
        std::array::from_fn(|probe| {
            let bit = u16::from_le_bytes([bytes[16 + 2 * probe], bytes[17 + 2 * probe]]) & 511;
            (line * 8 + usize::from(bit / 64), 1 << (bit % 64))
        })
    }

    /// Adds a lease.
    pub(crate) fn add(&self, digest: &Digest) {
        for (word, bit) in self.probes(digest) {
            self.words[word].fetch_or(bit, Relaxed);
        }
        self.added.fetch_add(1, Relaxed);
    }

    /// All leases are in it.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Release);
    }

    fn lacks(&self, digest: &Digest) -> bool {
        self.complete.load(Acquire)
            && self.probes(digest).iter().any(|(word, bit)| self.words[*word].load(Relaxed) & bit == 0)
    }
}

impl Absence {
    fn current(&self) -> Option<Arc<Filter>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a lease: after it was written, so that a filter that is being made finds it in the catalog or is
    /// told, and before anybody is told of it.
    pub(crate) fn add(&self, digest: &Digest) {
        if let Some(filter) = self.current() {
            filter.add(digest);
        }
    }

    /// True when the namespace surely does not hold this.
    pub(crate) fn surely(&self, digest: &Digest) -> bool {
        self.current().is_some_and(|filter| filter.lacks(digest))
    }

    /// True when a new filter should be made: there is none, or it has taken more than it has room for.
    pub(crate) fn is_full(&self) -> bool {
        self.current().is_none_or(|filter| filter.added.load(Relaxed) > filter.words.len() as u64 * 64 / BITS * 3 / 2)
    }

    /// Begins a filter for this many leases and more. From now on new leases are added to it; the maker adds all
    /// others and then says that it is complete.
    pub(crate) fn begin(&self, leases: u64) -> Arc<Filter> {
        let filter = Arc::new(Filter::new(leases.saturating_mul(2)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&filter));
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn digest(number: u32) -> Digest {
        Digest::new(Sha256::digest(number.to_le_bytes()).into())
    }

    #[test]
    fn nothing_that_is_held_is_called_absent() {
        let absence = Absence::default();
        assert!(!absence.surely(&digest(0)), "without a filter nothing is sure");
        let filter = absence.begin(0);
        (0..10_000).for_each(|number| filter.add(&digest(number)));
        absence.add(&digest(10_000));
        assert!(!absence.surely(&digest(20_000)), "nor before it is complete");
        filter.complete();
        assert!((0..=10_000).all(|number| !absence.surely(&digest(number))));
        let in_vain = (20_000..30_000).filter(|number| !absence.surely(&digest(*number))).count();
        assert!(in_vain < 10, "{in_vain} of 10000 are asked for in vain");
    }
}

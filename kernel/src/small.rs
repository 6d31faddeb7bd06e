//! Bytes of small blobs that are asked for often. They were found right when they came in, and bytes with a digest never
//! change: whether a namespace has them is for its presence to say, each time.

use bytes::Bytes;
use model::Digest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::namespace::ROW;

/// Bytes that are kept: thousands of manifests and configurations.
const KEPT: u64 = 16 << 20;
/// What an entry takes beside its bytes.
const ENTRY: usize = 128;

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Digest, Bytes> for Weight {
    fn weight(&self, _: &Digest, bytes: &Bytes) -> u64 {
        (ENTRY + bytes.len()) as u64
    }
}

/// Small blobs in memory.
pub(crate) struct Small(Cache<Digest, Bytes, Weight>);

impl Default for Small {
    fn default() -> Self {
        // Most are a few KiB.
        Self(Cache::with_weighter(4096, KEPT, Weight))
    }
}

impl Small {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.0.get(digest)
    }

    /// Keeps bytes that were found right; large ones are files, which the system keeps in its memory.
    pub(crate) fn keep(&self, digest: Digest, bytes: &Bytes) {
        if bytes.len() <= ROW {
            self.0.insert(digest, bytes.clone());
        }
    }
}

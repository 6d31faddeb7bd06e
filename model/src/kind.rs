//! What a blob means: a pure function from its bytes to the blobs it needs.

use std::fmt;

use crate::{Blob, Digest, Result};

/// A number that says what a blob means. The high byte is the protocol that gave it out
/// (1: reapi), the low byte its own count. Numbers are stored, so they never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u16);

impl KindId {
    /// Plain bytes, which need nothing.
    pub const BYTES: Self = Self(0);
}

impl fmt::Debug for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind {:#06x}", self.0)
    }
}

/// An edge from a blob, or from a Name, to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The blob pointed at. The size must be right too, or [`Link::SIZELESS`].
    pub blob: Blob,
    /// What the blob is for this edge; the same bytes may be a file here and a directory there.
    pub kind: KindId,
    /// Whether it has to be there.
    pub need: Need,
}

impl Link {
    /// The size in a link of a format that names blobs by digest alone; no blob is that large.
    pub const SIZELESS: u64 = u64::MAX;

    /// A link to a blob of any size that has to be there.
    #[must_use]
    pub const fn sizeless(digest: Digest, kind: KindId) -> Self {
        Self::must(Blob { digest, size: Self::SIZELESS }, kind)
    }

    /// A link to a blob that has to be there.
    #[must_use]
    pub const fn must(blob: Blob, kind: KindId) -> Self {
        Self { blob, kind, need: Need::Must }
    }
}

/// Whether the other end of a link has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Held as long as this end lives.
    Must,
    /// May be missing; never counted.
    May,
}

/// How to find the links in a blob. Bounded: an implementation refuses (`Malformed`, `TooBig`) what is
/// nested too deep or links too much.
pub trait Kind: Send + Sync + fmt::Debug {
    /// Its number.
    fn id(&self) -> KindId;
    /// The most bytes a blob of this kind may have; the kernel reads no larger one.
    fn limit(&self) -> u64;
    /// The links in these bytes. Duplicates are allowed.
    ///
    /// # Errors
    /// `Malformed` when the bytes are not of this kind, `TooBig` when a bound is exceeded.
    fn links(&self, bytes: &[u8]) -> Result<Vec<Link>>;
}

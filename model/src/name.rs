//! Names and what they point at.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Blob, Error, KindId, Link, Result, Time};

/// A path in a namespace, such as `ac/<hex>` or `oci/<repo>:<tag>`. Compared as bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name in bytes: what the longest OCI repository with a digest needs, with room to spare.
    pub const LIMIT: usize = 1024;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// `Malformed` when it is empty, too long, or has control characters (NUL among them).
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() || text.len() > Self::LIMIT || text.chars().any(char::is_control) {
            return Err(Error::malformed(format!("a name has 1 to {} bytes and no control characters", Self::LIMIT)));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a Name points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The blob.
    pub blob: Blob,
    /// What the blob is.
    pub kind: KindId,
    /// The protocol's own small remark (at most 4 KiB), for example the canonical key of an asset.
    pub note: Bytes,
    /// Blobs held together with this one although its bytes do not mention them.
    pub also: Vec<Link>,
    /// When it may go.
    pub keep: Retention,
}

impl Pointer {
    /// Longest note in bytes.
    pub const NOTE_LIMIT: usize = 4096;

    /// Points at a blob; no note, nothing besides, loose.
    #[must_use]
    pub const fn new(blob: Blob, kind: KindId) -> Self {
        Self { blob, kind, note: Bytes::new(), also: Vec::new(), keep: Retention::Loose }
    }
}

/// When a Name may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Never by itself; a write fails with `Full` before it goes.
    Firm,
    /// Under pressure, least recently used first.
    Loose,
    /// At this time, or under pressure before.
    Until(Time),
    /// With its blob, which it does not hold: once nothing else does, the blob goes by its own last use, and the
    /// name is absent from then on. What the blob needs was complete when it was bound, and is held by the blob.
    Weak,
    /// With what stands beside it: firm as long as a `May` link of its pointer is to a blob that is leased, else
    /// loose.
    With,
}

impl Retention {
    /// True when the Name has ended at `now`.
    #[must_use]
    pub fn over(&self, now: Time) -> bool {
        matches!(self, Self::Until(end) if *end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_printable() {
        assert!(Name::new("ac/0123").is_ok());
        for bad in ["", "a\0b", "a\nb", &"x".repeat(1025)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}

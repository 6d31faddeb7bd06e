//! What a blob is: a SHA-256 and a size.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A SHA-256. Ordered and compared as bytes; printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of no bytes. Every namespace holds the empty blob (REAPI v2, `FindMissingBlobs`).
    pub const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Wraps the 32 bytes of a SHA-256.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into().map_err(|_| Error::malformed("a SHA-256 has 32 bytes"))?;
        Ok(Self(bytes))
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Takes exactly 64 lower-case hexadecimal digits; anything else is `Malformed`.
    fn from_str(hex: &str) -> Result<Self> {
        let wrong = || Error::malformed(format!("{:?} is not 64 lower-case hexadecimal digits", clip(hex)));
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        let text = hex.as_bytes();
        if text.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// Keeps hostile text short in messages.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Immutable bytes, named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
}

impl Blob {
    /// The blob of no bytes.
    pub const EMPTY: Self = Self { digest: Digest::EMPTY, size: 0 };
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.digest, self.size)
    }
}

/// A range of a blob's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl Span {
    /// All bytes of a blob of this size.
    #[must_use]
    pub const fn whole(size: u64) -> Self {
        Self { offset: 0, len: size }
    }

    /// From `offset`, at most `limit` bytes (`None`: to the end), of a blob of `size` bytes.
    /// An offset equal to the size is an empty span.
    ///
    /// # Errors
    /// `OutOfRange` when the offset lies beyond the end.
    pub fn within(size: u64, offset: u64, limit: Option<u64>) -> Result<Self> {
        let rest = size
            .checked_sub(offset)
            .ok_or_else(|| Error::out_of_range(format!("offset {offset} is beyond the end of {size} bytes")))?;
        Ok(Self { offset, len: limit.map_or(rest, |limit| limit.min(rest)) })
    }

    /// One past the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_lower_case_hexadecimal_digits() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex.parse::<Digest>().ok(), Some(Digest::EMPTY));
        assert_eq!(Digest::EMPTY.to_string(), hex);
        for bad in ["", &hex[1..], &hex.to_uppercase(), "../../../../etc/passwd", &format!("{}é", &hex[..62])] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_never_leaves_its_blob() {
        assert_eq!(Span::within(10, 4, None).ok(), Some(Span { offset: 4, len: 6 }));
        assert_eq!(Span::within(10, 10, Some(5)).ok(), Some(Span { offset: 10, len: 0 }));
        assert_eq!(Span::within(10, 2, Some(u64::MAX)).ok(), Some(Span { offset: 2, len: 8 }));
        assert!(Span::within(10, 11, None).is_err());
    }
}

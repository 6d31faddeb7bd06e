//! The two headers of a file object. The canonical stream, whose hash is the object's checksum and which is stored as
//! the blob: `(uuuusa(ayay))` and the content. `.filez`, which travels: `(tuuuusa(ayay))` and the content deflated.
//! Both have four bytes of length (big-endian) and four zeros in front of the header.

use model::{Error, Result};

use super::{S_IFLNK, S_IFMT, S_IFREG, big32, big64, check_mode, check_xattrs, xattrs_type};
use crate::gvariant::{self, Type};

/// What stands before a header: its length and padding.
pub const PREFIX: usize = 8;
/// Bytes of the largest header. Linux bounds all extended attributes of a file to 64 KiB and a link to 4 KiB; 1 MiB
/// leaves room for other systems.
const HEADER: usize = 1 << 20;

/// What a file is, beside its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Where a symbolic link points; empty for a file.
    pub target: String,
    /// Extended attributes, as they are serialised.
    pub(super) xattrs: Vec<u8>,
}

impl Header {
    /// How long the header is that these eight bytes stand before, without them.
    ///
    /// # Errors
    /// `Malformed` when it is too long, or the padding is not zero.
    pub fn length(prefix: [u8; PREFIX]) -> Result<usize> {
        let [a, b, c, d, padding @ ..] = prefix;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if padding != [0; 4] || length > HEADER {
            return Err(Error::malformed("a file object has a header that is longer than 1 MiB, or none"));
        }
        Ok(length)
    }

    /// Reads the header of a `.filez`; also says how large the content is when it is inflated.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read_filez(bytes: &[u8]) -> Result<(u64, Self)> {
        let of = Type::Tuple(vec![Type::T, Type::U, Type::U, Type::U, Type::U, Type::Text, xattrs_type()]);
        let parts = gvariant::split(&of, bytes)?;
        let header = Self::read(&parts[1..])?;
        // Writers of links disagree on what stands there.
        Ok((if header.is_link() { 0 } else { big64(parts[0]) }, header))
    }

    /// Reads the header of a canonical stream.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read_canonical(bytes: &[u8]) -> Result<Self> {
        let of = Type::Tuple(vec![Type::U, Type::U, Type::U, Type::U, Type::Text, xattrs_type()]);
        Self::read(&gvariant::split(&of, bytes)?)
    }

    fn read(parts: &[&[u8]]) -> Result<Self> {
        let [uid, gid, mode, rdev, target, xattrs] = parts else { return Err(Error::broken("a header has six parts")) };
        let header = Self {
            uid: big32(uid),
            gid: big32(gid),
            mode: big32(mode),
            target: gvariant::as_text(target)?.to_owned(),
            xattrs: xattrs.to_vec(),
        };
        check_mode(header.mode, &[S_IFREG, S_IFLNK])?;
        check_xattrs(xattrs)?;
        if big32(rdev) != 0 || header.target.is_empty() == header.is_link() {
            return Err(Error::malformed("a file object is a device, a link to nowhere, or a file with a target"));
        }
        Ok(header)
    }

    /// True for a symbolic link, which has no content.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    fn members(&self) -> Vec<Vec<u8>> {
        let numbers = [self.uid, self.gid, self.mode, 0].map(|number| number.to_be_bytes().to_vec());
        let mut members = numbers.to_vec();
        members.push(gvariant::text(&self.target));
        members.push(self.xattrs.clone());
        members
    }

    /// What stands before the content in the canonical stream.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let of = Type::Tuple(vec![Type::U, Type::U, Type::U, Type::U, Type::Text, xattrs_type()]);
        prefixed(&gvariant::join(&of, &self.members()))
    }

    /// What stands before the deflated content of this size in a `.filez`.
    #[must_use]
    pub fn filez(&self, size: u64) -> Vec<u8> {
        let of = Type::Tuple(vec![Type::T, Type::U, Type::U, Type::U, Type::U, Type::Text, xattrs_type()]);
        let mut members = self.members();
        members.insert(0, size.to_be_bytes().to_vec());
        prefixed(&gvariant::join(&of, &members))
    }
}

fn prefixed(header: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &[0; 4], header].concat()
}

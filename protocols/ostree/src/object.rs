//! OSTree's objects: what their bytes are and which of them are valid. An object's checksum is the digest of a blob:
//! for metadata of the bytes as they are, for files of the canonical content stream (`file.rs`).

mod commit;
mod dirtree;
mod file;

use std::fmt;
use std::str::FromStr;

use model::{Digest, Error, Result};

use crate::gvariant::{self, Type};

pub use commit::Commit;
pub use dirtree::Dirtree;
pub use file::{Header, PREFIX};

/// The largest metadata object that is taken. libostree itself reads at most 10 MiB (versions up to 2022) or 128 MiB
/// of one; 16 MiB is what the kernel stores as one small blob, a directory of some 200,000 entries.
pub const LARGEST: u64 = 16 << 20;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// A commit.
    Commit,
    /// A directory: names and checksums.
    Dirtree,
    /// Owner, mode and extended attributes of a directory.
    Dirmeta,
    /// A file or a symbolic link.
    File,
}

impl Sort {
    /// The end of its file name in an `archive-z2` repository.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Dirtree => "dirtree",
            Self::Dirmeta => "dirmeta",
            Self::File => "filez",
        }
    }
}

/// The file name of an object, without its directory: `<64 hex>.<extension>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// Its checksum.
    pub digest: Digest,
    /// What it is.
    pub sort: Sort,
}

impl FromStr for ObjectName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let text: String = text.chars().take(100).collect();
            Error::malformed(format!("{text:?} is not the name of an object"))
        };
        let (hex, extension) = text.split_once('.').ok_or_else(wrong)?;
        let sort = [Sort::Commit, Sort::Dirtree, Sort::Dirmeta, Sort::File];
        let sort = sort.into_iter().find(|sort| sort.extension() == extension).ok_or_else(wrong)?;
        Ok(Self { digest: hex.parse().map_err(|_| wrong())?, sort })
    }
}

impl ObjectName {
    /// Where it lies below `objects/`: two digits, the other 62, and the extension.
    #[must_use]
    pub fn path(&self) -> String {
        let hex = self.digest.to_string();
        format!("{}/{}.{}", &hex[..2], &hex[2..], self.sort.extension())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.digest, self.sort.extension())
    }
}

/// Checks a metadata object.
///
/// # Errors
/// `Malformed` when the bytes are not of this sort; what a file is can only be said by reading it ([`Header`]).
pub fn check(sort: Sort, bytes: &[u8]) -> Result<()> {
    match sort {
        Sort::Commit => Commit::read(bytes).map(drop),
        Sort::Dirtree => Dirtree::read(bytes).map(drop),
        Sort::Dirmeta => check_dirmeta(bytes),
        Sort::File => Ok(()),
    }
}

/// Type bits of a mode, and the three types that there are.
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// `(uuua(ayay))`: owner, group, mode (big-endian), extended attributes.
fn check_dirmeta(bytes: &[u8]) -> Result<()> {
    let of = Type::Tuple(vec![Type::U, Type::U, Type::U, xattrs_type()]);
    let parts = gvariant::split(&of, bytes)?;
    check_mode(big32(parts[2]), &[S_IFDIR])?;
    check_xattrs(parts[3])
}

fn check_mode(mode: u32, types: &[u32]) -> Result<()> {
    if types.contains(&(mode & S_IFMT)) && mode & !(S_IFMT | 0o7777) == 0 {
        return Ok(());
    }
    Err(Error::malformed(format!("an object has the mode {mode:o}, which it cannot have")))
}

fn xattrs_type() -> Type {
    Type::array(Type::Tuple(vec![Type::bytes(), Type::bytes()]))
}

/// `a(ayay)`: names with their NUL, and values. In byte order of the names and without doubles, because versions of
/// libostree disagree on the checksum of all others.
fn check_xattrs(bytes: &[u8]) -> Result<()> {
    let of = xattrs_type();
    let mut before: &[u8] = &[];
    for part in gvariant::split(&of, bytes)? {
        let name = gvariant::split(of_inner(&of), part)?[0];
        if name.len() < 2 || name.iter().position(|byte| *byte == 0) != Some(name.len() - 1) {
            return Err(Error::malformed("an extended attribute has a name that cannot be"));
        }
        if name <= before {
            return Err(Error::malformed("the extended attributes of an object are not in order of their names"));
        }
        before = name;
    }
    Ok(())
}

fn of_inner(of: &Type) -> &Type {
    if let Type::Array(inner) = of { inner } else { of }
}

/// A big-endian number; 0 of bytes that are not four, which the type has ruled out.
fn big32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

/// A big-endian number of eight bytes.
fn big64(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn checksum(bytes: &[u8]) -> Result<Digest> {
    bytes.try_into().map_err(|_| Error::malformed("a checksum within an object has not 32 bytes"))
}

#[cfg(test)]
mod tests;

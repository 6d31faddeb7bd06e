//! A commit: `(a{sv}aya(say)sstayay)`.

use model::{Digest, Error, Result};

use super::{big64, checksum};
use crate::gvariant::{self, Type};

/// What is used of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The commit before it.
    pub parent: Option<Digest>,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The directory at its root.
    pub tree: Digest,
    /// That directory's own owner, mode and extended attributes.
    pub meta: Digest,
    /// Metadata key `version`.
    pub version: Option<String>,
    /// Metadata key `ostree.ref-binding`: clients refuse the commit under any other ref.
    pub bindings: Option<Vec<String>>,
}

impl Commit {
    /// Reads and checks one.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let related = Type::array(Type::Tuple(vec![Type::Text, Type::bytes()]));
        let of = Type::Tuple(vec![
            Type::dictionary(),
            Type::bytes(),
            related.clone(),
            Type::Text,
            Type::Text,
            Type::T,
            Type::bytes(),
            Type::bytes(),
        ]);
        let wrong = |error: Error| Error::malformed("this is no commit").because(error);
        let parts = gvariant::split(&of, bytes).map_err(wrong)?;
        gvariant::check(&related, parts[2]).map_err(wrong)?;
        gvariant::as_text(parts[3]).map_err(wrong)?;
        gvariant::as_text(parts[4]).map_err(wrong)?;
        let (mut version, mut bindings) = (None, None);
        for (key, of, value) in gvariant::as_dictionary(parts[0]).map_err(wrong)? {
            match (key, &of) {
                ("version", Type::Text) => version = Some(gvariant::as_text(value)?.to_owned()),
                ("ostree.ref-binding", of) if *of == Type::array(Type::Text) => {
                    let names = gvariant::split(of, value)?.into_iter();
                    bindings =
                        Some(names.map(|name| gvariant::as_text(name).map(ToOwned::to_owned)).collect::<Result<_>>()?);
                }
                _ => {}
            }
        }
        Ok(Self {
            parent: if parts[1].is_empty() { None } else { Some(checksum(parts[1])?) },
            timestamp: big64(parts[5]),
            tree: checksum(parts[6])?,
            meta: checksum(parts[7])?,
            version,
            bindings,
        })
    }
}

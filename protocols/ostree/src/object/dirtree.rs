//! A directory: `(a(say)a(sayay))`, files and then directories, each in byte order of the names.

use model::{Digest, Error, Result};

use super::checksum;
use crate::gvariant::{self, Type};

/// A directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirtree {
    /// Names and checksums of files and symbolic links.
    pub files: Vec<(String, Digest)>,
    /// Names of directories, the checksums of their trees and of their metadata.
    pub directories: Vec<(String, Digest, Digest)>,
}

impl Dirtree {
    /// Reads and checks one.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let wrong = |error: Error| Error::malformed("this is no dirtree").because(error);
        let file = Type::Tuple(vec![Type::Text, Type::bytes()]);
        let directory = Type::Tuple(vec![Type::Text, Type::bytes(), Type::bytes()]);
        let (files, directories) = (Type::array(file.clone()), Type::array(directory.clone()));
        let parts = gvariant::split(&Type::Tuple(vec![files.clone(), directories.clone()]), bytes).map_err(wrong)?;
        let mut tree = Self::default();
        for part in gvariant::split(&files, parts[0]).map_err(wrong)? {
            let part = gvariant::split(&file, part).map_err(wrong)?;
            tree.files.push((name(part[0])?, checksum(part[1])?));
        }
        for part in gvariant::split(&directories, parts[1]).map_err(wrong)? {
            let part = gvariant::split(&directory, part).map_err(wrong)?;
            tree.directories.push((name(part[0])?, checksum(part[1])?, checksum(part[2])?));
        }
        tree.check_order()?;
        Ok(tree)
    }

    fn check_order(&self) -> Result<()> {
        let rising = self.files.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.directories.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let file = |name: &String| self.files.binary_search_by(|(other, _)| other.cmp(name)).is_ok();
        if !rising || self.directories.iter().any(|(name, ..)| file(name)) {
            return Err(Error::malformed("the names in a dirtree are not in order, or one is there twice"));
        }
        Ok(())
    }
}

fn name(bytes: &[u8]) -> Result<String> {
    let name = gvariant::as_text(bytes)?;
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(Error::malformed("a dirtree has a name that no file can have"));
    }
    Ok(name.to_owned())
}

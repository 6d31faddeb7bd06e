//! What OSTree's objects link to. Its links name blobs by checksum alone. Files and dirmetas link to nothing, so that
//! the kernel never has to read them.

use model::{Kind, KindId, Link, Need, Result};

use crate::object::{Commit, Dirtree, LARGEST};

/// A commit.
pub const COMMIT: KindId = KindId(0x0301);
/// A directory's entries.
pub const DIRTREE: KindId = KindId(0x0302);
/// A directory's own metadata.
pub const DIRMETA: KindId = KindId(0x0303);
/// The canonical stream of a file.
pub const FILE: KindId = KindId(0x0304);

/// Those that link to something.
pub(crate) fn all() -> Vec<Box<dyn Kind>> {
    vec![Box::new(CommitKind), Box::new(DirtreeKind)]
}

#[derive(Debug)]
struct CommitKind;

impl Kind for CommitKind {
    fn id(&self) -> KindId {
        COMMIT
    }

    fn limit(&self) -> u64 {
        LARGEST
    }

    fn links(&self, bytes: &[u8]) -> Result<Vec<Link>> {
        let commit = Commit::read(bytes)?;
        let mut links = vec![Link::sizeless(commit.tree, DIRTREE), Link::sizeless(commit.meta, DIRMETA)];
        // History is not what a ref promises: BuildStream's commits have none, and mirrors are shallow.
        links.extend(commit.parent.map(|parent| Link { need: Need::May, ..Link::sizeless(parent, COMMIT) }));
        Ok(links)
    }
}

#[derive(Debug)]
struct DirtreeKind;

impl Kind for DirtreeKind {
    fn id(&self) -> KindId {
        DIRTREE
    }

    fn limit(&self) -> u64 {
        LARGEST
    }

    fn links(&self, bytes: &[u8]) -> Result<Vec<Link>> {
        let tree = Dirtree::read(bytes)?;
        let files = tree.files.iter().map(|(_, file)| Link::sizeless(*file, FILE));
        let directories = tree.directories.iter();
        let directories =
            directories.flat_map(|(_, tree, meta)| [Link::sizeless(*tree, DIRTREE), Link::sizeless(*meta, DIRMETA)]);
        Ok(files.chain(directories).collect())
    }
}

//! What REAPI's blobs mean: which blobs each needs.
//!
//! Names and paths are not looked at: executors write paths such as `.` or `../../../install` (specs,
//! section 7). Digests are.

use std::fmt;

use model::{Blob, Error, Kind, KindId, Link, Result};

use crate::fields::{digest, each_message};

/// An `ActionResult`.
pub const ACTION_RESULT: KindId = KindId(0x0101);
/// A `Tree`: a whole directory tree in one blob.
pub const TREE: KindId = KindId(0x0102);
/// A `Directory`: one level, which names the next ones by digest.
pub const DIRECTORY: KindId = KindId(0x0103);

/// Most links in one blob: some 75 bytes each would make more exceed the limits below anyway, save for a Tree.
const MOST_LINKS: usize = 1_000_000;

/// All kinds of this protocol.
pub(crate) fn all() -> Vec<Box<dyn Kind>> {
    let form = |id, limit, collect| -> Box<dyn Kind> { Box::new(Form { id, limit, collect }) };
    vec![form(ACTION_RESULT, 16 << 20, action_result), form(TREE, 64 << 20, tree), form(DIRECTORY, 16 << 20, directory)]
}

/// The subdirectories of a `Directory`.
///
/// # Errors
/// `Malformed` when the bytes are no Directory.
pub(crate) fn subdirectories(bytes: &[u8]) -> Result<Vec<Blob>> {
    let mut links = Links::default();
    directory(bytes, &mut links)?;
    Ok(links.0.into_iter().filter(|link| link.kind == DIRECTORY).map(|link| link.blob).collect())
}

struct Form {
    id: KindId,
    limit: u64,
    collect: fn(&[u8], &mut Links) -> Result<()>,
}

impl Kind for Form {
    fn id(&self) -> KindId {
        self.id
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn links(&self, bytes: &[u8]) -> Result<Vec<Link>> {
        let mut links = Links::default();
        (self.collect)(bytes, &mut links)?;
        Ok(links.0)
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

#[derive(Default)]
struct Links(Vec<Link>);

impl Links {
    fn add(&mut self, digest_message: &[u8], kind: KindId) -> Result<()> {
        if self.0.len() == MOST_LINKS {
            return Err(Error::too_big(format!("a blob may link to at most {MOST_LINKS} others")));
        }
        self.0.push(Link::must(digest(digest_message)?, kind));
        Ok(())
    }

    /// The node's digest, in field 2 of files and directories alike; a node without one is refused.
    fn add_node(&mut self, node: &[u8], kind: KindId) -> Result<()> {
        let mut found = false;
        each_message(node, |number, message| match number {
            2 => {
                found = true;
                self.add(message, kind)
            }
            _ => Ok(()),
        })?;
        if found { Ok(()) } else { Err(Error::malformed("a file or directory has no digest")) }
    }
}

/// Field numbers: `ActionResult`, `OutputFile` and `OutputDirectory` in remote_execution.proto.
fn action_result(bytes: &[u8], links: &mut Links) -> Result<()> {
    each_message(bytes, |number, message| match number {
        2 => links.add_node(message, KindId::BYTES),
        3 => each_message(message, |number, message| match number {
            3 => links.add(message, TREE),
            5 => links.add(message, DIRECTORY),
            _ => Ok(()),
        }),
        // stdout and stderr
        6 | 8 => links.add(message, KindId::BYTES),
        _ => Ok(()),
    })
}

/// The directories of a Tree lie in it, and need not exist as blobs; their files must.
fn tree(bytes: &[u8], links: &mut Links) -> Result<()> {
    each_message(bytes, |number, message| match number {
        // root and children
        1 | 2 => each_message(message, |number, message| match number {
            1 => links.add_node(message, KindId::BYTES),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })
}

fn directory(bytes: &[u8], links: &mut Links) -> Result<()> {
    each_message(bytes, |number, message| match number {
        1 => links.add_node(message, KindId::BYTES),
        2 => links.add_node(message, DIRECTORY),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
    use model::{Digest, Meaning};
    use proptest::prelude::*;
    use prost::Message;

    fn links(id: KindId, bytes: &[u8]) -> Result<Vec<Link>> {
        all().iter().find(|kind| kind.id() == id).unwrap().links(bytes)
    }

    fn blob(n: u8) -> Blob {
        Blob { digest: Digest::new([n; 32]), size: n.into() }
    }

    fn some(n: u8) -> Option<re::Digest> {
        Some(crate::digest::message(blob(n)))
    }

    fn a_directory() -> re::Directory {
        re::Directory {
            files: vec![re::FileNode { name: "f".into(), digest: some(1), ..Default::default() }],
            directories: vec![re::DirectoryNode { name: "d".into(), digest: some(2) }],
            symlinks: vec![re::SymlinkNode { name: "l".into(), target: "../..".into(), ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn a_directory_needs_its_files_and_directories() {
        let bytes = a_directory().encode_to_vec();
        let wanted = vec![Link::must(blob(1), KindId::BYTES), Link::must(blob(2), DIRECTORY)];
        assert_eq!(links(DIRECTORY, &bytes).unwrap(), wanted);
        assert_eq!(subdirectories(&bytes).unwrap(), [blob(2)]);
        assert_eq!(links(DIRECTORY, b"").unwrap(), []);
    }

    #[test]
    fn a_tree_needs_only_files() {
        let tree = re::Tree { root: Some(a_directory()), children: vec![a_directory()] };
        assert_eq!(links(TREE, &tree.encode_to_vec()).unwrap(), vec![Link::must(blob(1), KindId::BYTES); 2]);
    }

    #[test]
    fn an_action_result_needs_its_outputs() {
        let result = re::ActionResult {
            output_files: vec![re::OutputFile { path: "../x".into(), digest: some(1), ..Default::default() }],
            output_directories: vec![
                re::OutputDirectory { path: ".".into(), tree_digest: some(2), ..Default::default() },
                re::OutputDirectory { root_directory_digest: some(3), ..Default::default() },
            ],
            stdout_digest: some(4),
            stderr_digest: some(5),
            exit_code: 1,
            ..Default::default()
        };
        let mut found = links(ACTION_RESULT, &result.encode_to_vec()).unwrap();
        found.sort_by_key(|link| link.blob);
        let kinds = [KindId::BYTES, TREE, DIRECTORY, KindId::BYTES, KindId::BYTES];
        let wanted: Vec<_> = (1..).zip(kinds).map(|(n, kind)| Link::must(blob(n), kind)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn nodes_without_a_right_digest_are_refused() {
        for digest in [None, Some(re::Digest::default()), Some(re::Digest { hash: "../x".into(), size_bytes: 1 })] {
            let node = re::FileNode { name: "f".into(), digest, ..Default::default() };
            let bytes = re::Directory { files: vec![node], ..Default::default() }.encode_to_vec();
            assert_eq!(links(DIRECTORY, &bytes).unwrap_err().meaning(), &Meaning::Malformed);
        }
    }

    #[test]
    fn too_many_links_are_refused() {
        let one = a_directory().encode_to_vec();
        let bytes = one.repeat(MOST_LINKS / 2 + 1);
        assert_eq!(links(DIRECTORY, &bytes).unwrap_err().meaning(), &Meaning::TooBig);
    }

    proptest! {
        #[test]
        fn any_bytes_are_links_or_an_error(bytes: Vec<u8>) {
            for kind in all() {
                let found = kind.links(&bytes);
                prop_assert!(found.is_err() || found.is_ok_and(|links| links.len() <= bytes.len()));
            }
        }
    }
}

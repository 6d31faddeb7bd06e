//! Sizes for links of formats that name blobs by digest alone: those that the blobs have in this namespace.

use model::{Blob, Child, Digest, Link, Result};

use crate::closure::Node;
use crate::namespace::Namespace;

/// Digests that are looked up at a time.
const TOGETHER: usize = 8192;
/// What a child gets that is not here. No link means a blob of this size and another digest than the empty one's, so
/// that it is found missing wherever it is asked for.
const NONE: u64 = 0;

impl Namespace {
    /// Gives the children of these nodes their sizes, where their links have none.
    pub(crate) async fn size_children(&self, read: &mut [(Node, Option<Vec<Child>>)]) -> Result<()> {
        let children = read.iter_mut().filter_map(|(_, children)| children.as_mut()).flatten();
        let mut open: Vec<&mut Blob> =
            children.map(|child| &mut child.blob).filter(|blob| blob.size == Link::SIZELESS).collect();
        for part in open.chunks_mut(TOGETHER) {
            let digests: Vec<Digest> = part.iter().map(|blob| blob.digest).collect();
            for (blob, size) in part.iter_mut().zip(self.look(&digests).await?) {
                blob.size = size.unwrap_or(NONE);
            }
        }
        Ok(())
    }
}

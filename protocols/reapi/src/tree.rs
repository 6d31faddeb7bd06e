//! ContentAddressableStorage.GetTree: a directory tree, level by level, each directory once.
//!
//! A page token is the number of directories before the page. The order depends on nothing but the tree, so a
//! server that was restarted, or another one, understands it. A directory that is missing or is none is left
//! out, as the interface demands, but the root must be there.

use std::collections::{HashSet, VecDeque};

use bazel_remote_apis::build::bazel::remote::execution::v2::GetTreeRequest;
use bytes::Bytes;
use futures::stream::{self, Stream};
use kernel::{Namespace, Rights};
use model::{Blob, Error, Meaning, Result};

use crate::call::Call;
use crate::digest::{blob, only_sha256};
use crate::kinds::subdirectories;
use crate::messages::GetTreeResponse;
use crate::speak::Answer;

/// Most directories in a page.
const MOST_PER_PAGE: usize = 1000;

/// Most bytes in a page of more than one directory, with room below the client's 4 MiB.
const MOST_BYTES: u64 = 2 << 20;

/// Most directories in a tree, for they are remembered while it is walked. Their depth needs no bound: digests
/// cannot form a circle, and the walk does not recurse.
const MOST_IN_TREE: usize = 1_000_000;

/// `GetTree`.
pub(crate) async fn get(
    call: Call,
    request: GetTreeRequest,
) -> Answer<impl Stream<Item = Answer<GetTreeResponse>> + use<>> {
    let namespace = call.enter(&request.instance_name, Rights::DIGEST)?;
    only_sha256(request.digest_function)?;
    let root = blob(request.root_digest.as_ref(), "the root digest")?;
    let most = page_size(request.page_size)?;
    let from = page_token(&request.page_token)?;

    let mut walk = Walk::new(namespace, root);
    while walk.taken < from && !walk.todo.is_empty() {
        walk.page(MOST_PER_PAGE.min(from - walk.taken)).await?;
    }
    if walk.todo.is_empty() {
        return Err(Error::malformed(format!("the page token {from} is beyond the end of the tree")).into());
    }
    Ok(stream::try_unfold(walk, move |mut walk| async move {
        if walk.todo.is_empty() {
            return Ok(None);
        }
        let directories = walk.page(most).await?;
        let next_page_token = if walk.todo.is_empty() { String::new() } else { walk.taken.to_string() };
        Ok(Some((GetTreeResponse { directories, next_page_token }, walk)))
    }))
}

/// Zero leaves it to us.
fn page_size(asked: i32) -> Result<usize> {
    match usize::try_from(asked) {
        Ok(0) => Ok(MOST_PER_PAGE),
        Ok(size) => Ok(size.min(MOST_PER_PAGE)),
        Err(_) => Err(Error::malformed(format!("{asked} is no page size"))),
    }
}

fn page_token(token: &str) -> Result<usize> {
    match token {
        "" => Ok(0),
        _ => token.parse().map_err(|_| Error::malformed("this is not one of our page tokens")),
    }
}

/// A walk in breadth.
struct Walk {
    namespace: Namespace,
    todo: VecDeque<Blob>,
    /// All that ever was in `todo`.
    seen: HashSet<Blob>,
    /// How many were taken from `todo`.
    taken: usize,
}

impl Walk {
    fn new(namespace: Namespace, root: Blob) -> Self {
        Self { namespace, todo: [root].into(), seen: [root].into(), taken: 0 }
    }

    /// The next directories, at most this many, level after level until the page is full; those that are there.
    async fn page(&mut self, most: usize) -> Result<Vec<Bytes>> {
        let (end, mut page, mut bytes) = (self.taken + most, Vec::new(), 0);
        loop {
            let batch = self.take(end - self.taken, MOST_BYTES.saturating_sub(bytes), page.is_empty());
            if batch.is_empty() {
                return Ok(page);
            }
            let found = self.visit(&batch).await?;
            bytes += found.iter().map(|directory| directory.len() as u64).sum::<u64>();
            page.extend(found);
        }
    }

    /// Takes from `todo` what fits; `one` says to take one that does not fit anywhere.
    fn take(&mut self, most: usize, most_bytes: u64, one: bool) -> Vec<Blob> {
        let mut batch = Vec::new();
        let mut bytes = 0_u64;
        while let Some(next) = self.todo.front().copied() {
            bytes = bytes.saturating_add(next.size);
            let fits = bytes <= most_bytes || (one && batch.is_empty());
            if batch.len() == most || !fits {
                break;
            }
            batch.push(next);
            self.todo.pop_front();
        }
        self.taken += batch.len();
        batch
    }

    /// Reads directories and notes their children.
    async fn visit(&mut self, batch: &[Blob]) -> Result<Vec<Bytes>> {
        let is_root = self.taken == batch.len();
        let mut found = Vec::with_capacity(batch.len());
        for bytes in self.namespace.read_small(batch).await? {
            match bytes.and_then(|bytes| Ok((subdirectories(&bytes)?, bytes))) {
                Ok((children, bytes)) => {
                    self.add(children)?;
                    found.push(bytes);
                }
                Err(error) if is_root => return Err(no_root(error)),
                Err(error) if is_miss(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn add(&mut self, children: Vec<Blob>) -> Result<()> {
        let fresh = children.into_iter().filter(|child| self.seen.insert(*child));
        self.todo.extend(fresh);
        if self.seen.len() > MOST_IN_TREE {
            return Err(Error::too_big(format!("the tree has more than {MOST_IN_TREE} directories")));
        }
        Ok(())
    }
}

/// Not there, or no Directory.
fn is_miss(error: &Error) -> bool {
    matches!(error.meaning(), Meaning::Absent | Meaning::Lost | Meaning::Malformed)
}

/// A root that is no Directory is as good as none.
fn no_root(error: Error) -> Error {
    match error.meaning() {
        Meaning::Malformed => Error::absent("the root is not a Directory").because(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page_size(0).unwrap(), MOST_PER_PAGE);
        assert_eq!(page_size(7).unwrap(), 7);
        assert_eq!(page_size(i32::MAX).unwrap(), MOST_PER_PAGE);
        assert!(page_size(-1).is_err());
    }

    #[test]
    fn tokens_are_numbers() {
        assert_eq!(page_token("").unwrap(), 0);
        assert_eq!(page_token("12").unwrap(), 12);
        assert!(page_token("-1").is_err() && page_token("x").is_err());
    }
}

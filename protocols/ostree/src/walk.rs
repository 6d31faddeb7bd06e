//! Goes over all that a commit reaches and says what is not there. The kernel refuses an incomplete bind, too; this
//! says it in the protocol's words, and looks at what lay here before: a blob that somebody stored under another
//! protocol is not yet a file object.

use std::collections::{HashMap, HashSet};

use kernel::Namespace;
use model::{Blob, Body, Digest, Error, Result};

use crate::object::{self, Commit, Dirtree, Header, LARGEST, ObjectName, PREFIX, Sort};
use crate::payload;

/// Digests that are looked up, and metadata objects that are read, at a time.
const TOGETHER: usize = 1000;
/// Bytes of metadata objects that are read together.
const BYTES: u64 = 16 << 20;

/// A commit that is wholly here.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// The commit object.
    pub(crate) blob: Blob,
    /// What it says.
    pub(crate) commit: Commit,
}

/// Looks at all that a commit needs. `known` says what was checked as which sort already.
///
/// # Errors
/// `Incomplete` when an object is missing, `Malformed` when one is not what it should be.
pub(crate) async fn walk(namespace: &Namespace, commit: Digest, known: &HashMap<Digest, Sort>) -> Result<Whole> {
    let root = ObjectName { digest: commit, sort: Sort::Commit };
    let read = read_all(namespace, &[root]).await?;
    let Some((blob, bytes)) = read.into_iter().next() else { return Err(missing(&root)) };
    let commit = Commit::read(&bytes)?;
    let mut seen = HashSet::new();
    let mut trees = vec![ObjectName { digest: commit.tree, sort: Sort::Dirtree }];
    let mut leaves = vec![ObjectName { digest: commit.meta, sort: Sort::Dirmeta }];
    seen.extend([commit.tree, commit.meta]);
    while !trees.is_empty() {
        let rest = trees.split_off(trees.len().min(TOGETHER));
        for (_, bytes) in read_all(namespace, &std::mem::replace(&mut trees, rest)).await? {
            let tree = Dirtree::read(&bytes)?;
            let files = tree.files.into_iter().map(|(_, digest)| ObjectName { digest, sort: Sort::File });
            leaves.extend(files.filter(|name| seen.insert(name.digest)));
            for (_, tree, meta) in tree.directories {
                trees.extend(seen.insert(tree).then_some(ObjectName { digest: tree, sort: Sort::Dirtree }));
                leaves.extend(seen.insert(meta).then_some(ObjectName { digest: meta, sort: Sort::Dirmeta }));
            }
        }
        for name in leaves.drain(..) {
            match known.get(&name.digest) {
                Some(sort) if *sort == name.sort => {}
                Some(_) => return Err(Error::malformed(format!("{name} is used as what it is not"))),
                None => check_leaf(namespace, name).await?,
            }
        }
    }
    Ok(Whole { blob, commit })
}

fn missing(name: &ObjectName) -> Error {
    let text = format!("the object {name} is missing: it was not sent, and it is not here");
    Error::new(model::Meaning::Incomplete(vec![name.digest]), text)
}

/// Metadata objects with their sizes.
pub(crate) async fn read_all(namespace: &Namespace, names: &[ObjectName]) -> Result<Vec<(Blob, bytes::Bytes)>> {
    let digests: Vec<_> = names.iter().map(|name| name.digest).collect();
    let mut blobs = Vec::with_capacity(names.len());
    for (name, size) in names.iter().zip(namespace.has(&digests).await?) {
        let size = size.ok_or_else(|| missing(name))?;
        if size > LARGEST {
            return Err(Error::malformed(format!("{name} is used as what it is not")));
        }
        blobs.push(Blob { digest: name.digest, size });
    }
    let mut read = Vec::with_capacity(blobs.len());
    let mut names = names.iter();
    let mut rest = &blobs[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest
            .iter()
            .take_while(|blob| {
                bytes += blob.size;
                bytes <= BYTES
            })
            .count()
            .max(1);
        let (part, after) = rest.split_at(fit);
        rest = after;
        for ((blob, found), name) in part.iter().zip(namespace.read_small(part).await?).zip(names.by_ref()) {
            let found = found.map_err(|error| if error.is_absent() { missing(name) } else { error })?;
            read.push((*blob, found));
        }
    }
    Ok(read)
}

/// Looks at a leaf that lay here before.
async fn check_leaf(namespace: &Namespace, name: ObjectName) -> Result<()> {
    let absent = |error: Error| if error.is_absent() { missing(&name) } else { error };
    if name.sort == Sort::File {
        return check_file(namespace, name.digest).await.map_err(absent);
    }
    let read = read_all(namespace, &[name]).await.map_err(absent)?;
    read.iter().try_for_each(|(_, bytes)| object::check(name.sort, bytes))
}

/// The beginning of a file object that is here.
pub(crate) struct Beginning {
    /// The blob.
    pub(crate) blob: Blob,
    /// What it says of the file.
    pub(crate) header: Header,
    /// How many bytes stand before the content.
    pub(crate) head: u64,
    /// What was read, from the first byte on.
    pub(crate) bytes: Vec<u8>,
}

/// Reads the header of a file object, and `wanted` bytes from the first on where there are so many.
///
/// # Errors
/// `Absent`, or `Malformed` when the blob is no file object.
pub(crate) async fn begin(namespace: &Namespace, digest: Digest, mut wanted: u64) -> Result<Beginning> {
    let no_file = || Error::malformed(format!("the blob {digest} is no file object"));
    loop {
        let (blob, body) = namespace.read(digest, 0, Some(wanted)).await?;
        let bytes = collect(body).await?;
        let (prefix, rest) = bytes.split_first_chunk::<PREFIX>().ok_or_else(no_file)?;
        let length = Header::length(*prefix).map_err(|_| no_file())?;
        let head = (PREFIX + length) as u64;
        if head > blob.size {
            return Err(no_file());
        }
        if let Some(header) = rest.get(..length) {
            let header = Header::read_canonical(header).map_err(|_| no_file())?;
            if header.is_link() && head != blob.size {
                return Err(no_file());
            }
            return Ok(Beginning { blob, header, head, bytes });
        }
        wanted = head;
    }
}

/// Checks that a blob that is here is a file object.
///
/// # Errors
/// As [`begin`].
pub(crate) async fn check_file(namespace: &Namespace, digest: Digest) -> Result<()> {
    // Most headers are smaller than this.
    begin(namespace, digest, 1024).await.map(drop)
}

/// A small body in memory.
pub(crate) async fn collect(body: Body) -> Result<Vec<u8>> {
    use futures::TryStreamExt as _;
    let mut pieces = payload::pieces(body);
    let mut all = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

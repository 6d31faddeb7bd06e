//! Inodes, directories and the journal of what was done to directories and is not durable yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fuser::{Errno, FileType};

use super::content::Content;

mod crash;

pub(super) type Result<T> = std::result::Result<T, Errno>;
type Entries = BTreeMap<OsString, u64>;

/// The root's inode, by FUSE's convention.
pub(super) const ROOT: u64 = 1;

/// What an inode is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    File(Content),
    Dir { now: Entries, durable: Entries },
    Socket,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) perm: u16,
    pub(super) mtime: SystemTime,
    /// Entries that point at it now.
    pub(super) links: u32,
    /// Where it was linked last, to tell its path.
    home: (u64, OsString),
}

impl Inode {
    pub(super) fn kind(&self) -> FileType {
        match self.body {
            Body::File(_) => FileType::RegularFile,
            Body::Dir { .. } => FileType::Directory,
            Body::Socket => FileType::Socket,
        }
    }
}

/// An entry is set to an inode, or removed.
#[derive(Clone, Debug)]
struct Edit {
    dir: u64,
    name: OsString,
    /// What the entry was before.
    from: Option<u64>,
    to: Option<u64>,
}

impl Edit {
    fn new(dir: u64, name: &OsStr, to: Option<u64>) -> Edit {
        Edit { dir, name: name.to_owned(), from: None, to }
    }
}

/// Everything. Also what a crash leaves, when all of it is durable.
#[derive(Debug)]
pub(super) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    /// What was done to directories and is not durable, in order; the edits of one entry live and die together.
    journal: Vec<Vec<Edit>>,
    pub(super) capacity: Option<u64>,
    pub(super) halted: bool,
    pub(super) left: Option<u64>,
    pub(super) operations: u64,
    pub(super) skip: Option<String>,
    pub(super) syncs: BTreeMap<String, u64>,
}

impl Disk {
    pub(super) fn new() -> Disk {
        let body = Body::Dir { now: Entries::new(), durable: Entries::new() };
        let root = Inode { body, perm: 0o755, mtime: SystemTime::now(), links: 1, home: (ROOT, OsString::new()) };
        Disk::with(BTreeMap::from([(ROOT, root)]))
    }

    fn with(inodes: BTreeMap<u64, Inode>) -> Disk {
        Disk {
            inodes,
            journal: Vec::new(),
            capacity: None,
            halted: false,
            left: None,
            operations: 0,
            skip: None,
            syncs: BTreeMap::new(),
        }
    }

    /// Before anything that changes or syncs.
    pub(super) fn alter(&mut self) -> Result<()> {
        if self.left == Some(0) {
            self.halted = true;
        }
        if self.halted {
            return Err(Errno::EIO);
        }
        self.left = self.left.map(|left| left - 1);
        self.operations += 1;
        Ok(())
    }

    pub(super) fn inode(&self, ino: u64) -> Result<&Inode> {
        if self.halted { Err(Errno::EIO) } else { self.inodes.get(&ino).ok_or(Errno::ENOENT) }
    }

    pub(super) fn inode_mut(&mut self, ino: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    pub(super) fn entries(&self, dir: u64) -> Result<&Entries> {
        match &self.inode(dir)?.body {
            Body::Dir { now, .. } => Ok(now),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn lookup(&self, dir: u64, name: &OsStr) -> Result<u64> {
        self.entries(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn content(&self, ino: u64) -> Result<&Content> {
        match &self.inode(ino)?.body {
            Body::File(content) => Ok(content),
            Body::Dir { .. } => Err(Errno::EISDIR),
            Body::Socket => Err(Errno::ENXIO),
        }
    }

    /// The content of a file that is to end there, if there is room; `None` where the end does not move.
    pub(super) fn grow(&mut self, ino: u64, end: Option<usize>) -> Result<&mut Content> {
        let content = self.content(ino)?;
        let more = end.map_or(0, |end| content.cost_with(end) - content.cost());
        if more > 0 && self.capacity.is_some_and(|capacity| self.used() + more > capacity) {
            return Err(Errno::ENOSPC);
        }
        let inode = self.inode_mut(ino)?;
        inode.mtime = SystemTime::now();
        match &mut inode.body {
            Body::File(content) => Ok(content),
            _ => Err(Errno::EISDIR),
        }
    }

    /// Bytes of all files that have a name; one that is open without a name is free, which is kinder than real ones.
    pub(super) fn used(&self) -> u64 {
        let named = self.inodes.values().filter(|inode| inode.links > 0);
        named.map(|inode| if let Body::File(content) = &inode.body { content.cost() } else { 0 }).sum()
    }

    pub(super) fn create(&mut self, dir: u64, name: &OsStr, body: Body, perm: u16) -> Result<u64> {
        if self.entries(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let ino = self.inodes.last_key_value().map_or(ROOT, |(last, _)| last + 1);
        let inode = Inode { body, perm, mtime: SystemTime::now(), links: 0, home: (dir, name.to_owned()) };
        self.inodes.insert(ino, inode);
        self.edit(vec![Edit::new(dir, name, Some(ino))])?;
        Ok(ino)
    }

    pub(super) fn link(&mut self, ino: u64, dir: u64, name: &OsStr) -> Result<()> {
        if self.entries(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.edit(vec![Edit::new(dir, name, Some(ino))])
    }

    pub(super) fn unlink(&mut self, dir: u64, name: &OsStr, directory: bool) -> Result<()> {
        let ino = self.lookup(dir, name)?;
        self.may_vanish(ino, directory)?;
        self.edit(vec![Edit::new(dir, name, None)])
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), replace: bool) -> Result<()> {
        let ino = self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(_) if !replace => return Err(Errno::EEXIST),
            // POSIX: two names of one file stay as they are.
            Ok(there) if there == ino => return Ok(()),
            Ok(there) => self.may_vanish(there, matches!(self.inode(ino)?.body, Body::Dir { .. }))?,
            Err(_) => {}
        }
        let gone = Edit::new(from.0, from.1, None);
        let come = Edit::new(to.0, to.1, Some(ino));
        self.edit(vec![gone, come])
    }

    fn may_vanish(&self, ino: u64, as_directory: bool) -> Result<()> {
        match &self.inode(ino)?.body {
            Body::Dir { .. } if !as_directory => Err(Errno::EISDIR),
            Body::Dir { now, .. } if !now.is_empty() => Err(Errno::ENOTEMPTY),
            Body::Dir { .. } => Ok(()),
            _ if as_directory => Err(Errno::ENOTDIR),
            _ => Ok(()),
        }
    }

    /// Does it now and notes it for a later sync.
    fn edit(&mut self, mut edits: Vec<Edit>) -> Result<()> {
        for Edit { dir, name, from, to } in &mut edits {
            let parent = self.inode_mut(*dir)?;
            parent.mtime = SystemTime::now();
            let Body::Dir { now, .. } = &mut parent.body else { return Err(Errno::ENOTDIR) };
            *from = now.remove(name);
            now.extend(to.map(|ino| (name.clone(), ino)));
            if let Some(ino) = from {
                self.inode_mut(*ino)?.links -= 1;
            }
            if let Some(ino) = to {
                let inode = self.inode_mut(*ino)?;
                inode.links += 1;
                inode.home = (*dir, name.clone());
            }
        }
        self.journal.push(edits);
        Ok(())
    }

    /// Makes a file or a directory durable, unless the fault says otherwise.
    pub(super) fn sync(&mut self, ino: u64) -> Result<()> {
        let path = self.path(ino);
        let skipped = self.skip.as_ref().is_some_and(|pattern| matches(pattern, &path));
        *self.syncs.entry(path).or_default() += 1;
        if skipped {
            return Ok(());
        }
        match &mut self.inode_mut(ino)?.body {
            Body::File(content) => content.sync(),
            Body::Dir { .. } => self.sync_dir(ino),
            Body::Socket => {}
        }
        Ok(())
    }

    /// Entries of this directory, and those of others that they hang together with: what was done before a rename
    /// is durable no later than the rename.
    fn sync_dir(&mut self, dir: u64) {
        let mut dirs = BTreeSet::from([dir]);
        let mut settled = Vec::new();
        let mut rest = Vec::new();
        while let Some(edits) = self.journal.pop() {
            if edits.iter().any(|edit| dirs.contains(&edit.dir)) {
                dirs.extend(edits.iter().map(|edit| edit.dir));
                settled.push(edits);
            } else {
                rest.push(edits);
            }
        }
        rest.reverse();
        self.journal = rest;
        for edits in settled.into_iter().rev() {
            settle(&mut self.inodes, &edits);
        }
    }

    /// The path where an inode was linked last.
    fn path(&self, ino: u64) -> String {
        let mut path = PathBuf::new();
        let mut at = ino;
        while at != ROOT {
            let Some(inode) = self.inodes.get(&at) else { break };
            path = if path.as_os_str().is_empty() {
                inode.home.1.clone().into()
            } else {
                Path::new(&inode.home.1).join(path)
            };
            at = inode.home.0;
        }
        let directory = matches!(self.inodes.get(&ino), Some(Inode { body: Body::Dir { .. }, .. })) && ino != ROOT;
        format!("/{}{}", path.display(), if directory { "/" } else { "" })
    }

    /// Every directory (without bytes) and file by its path, parents first.
    pub(super) fn tree(&self) -> Vec<(PathBuf, Option<&[u8]>)> {
        let mut tree = Vec::new();
        let mut left = vec![(ROOT, PathBuf::new())];
        while let Some((ino, path)) = left.pop() {
            match self.inodes.get(&ino).map(|inode| &inode.body) {
                Some(Body::File(content)) => tree.push((path, Some(content.now()))),
                Some(Body::Dir { now, .. }) => {
                    left.extend(now.iter().map(|(name, ino)| (*ino, path.join(name))));
                    tree.push((path, None));
                }
                _ => {}
            }
        }
        tree
    }
}

/// Makes edits durable. After a crash that lost some of those before them, entries may not be what they were: what
/// would then replace or remove another file than it did is lost as well.
fn settle(inodes: &mut BTreeMap<u64, Inode>, edits: &[Edit]) {
    let is = |edit: &Edit| match inodes.get(&edit.dir).map(|inode| &inode.body) {
        Some(Body::Dir { durable, .. }) => durable.get(&edit.name).copied(),
        _ => None,
    };
    if edits.iter().any(|edit| is(edit).is_some_and(|ino| Some(ino) != edit.from)) {
        return;
    }
    for edit in edits {
        if let Some(Inode { body: Body::Dir { durable, .. }, .. }) = inodes.get_mut(&edit.dir) {
            durable.remove(&edit.name);
            durable.extend(edit.to.map(|ino| (edit.name.clone(), ino)));
        }
    }
}

/// Whether a path is like a pattern, in which `*` stands for any text.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((start, rest)) => path.strip_prefix(start).is_some_and(|path| {
            (0..=path.len()).filter(|at| path.is_char_boundary(*at)).any(|at| matches(rest, &path[at..]))
        }),
    }
}

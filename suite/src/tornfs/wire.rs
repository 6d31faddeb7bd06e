//! FUSE requests in, replies out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::content::Content;
use super::disk::{Body, Disk, Result};

/// The kernel may remember what it was told: nobody else changes this file system.
const TTL: Duration = Duration::from_secs(1);
const BLOCK: u64 = 4096;
/// What statfs tells where there is no limit: 1 TiB.
const BOUNDLESS: u64 = 1 << 40;
const KEEP_SIZE: i32 = 1;
const SOCKET: u32 = 0o140_000;
const REGULAR: u32 = 0o100_000;
const KIND: u32 = 0o170_000;

type Listing = Vec<(u64, FileType, OsString)>;

/// The file system as the kernel sees it.
#[derive(Debug)]
pub(super) struct Wire {
    disk: Arc<Mutex<Disk>>,
    /// Directories as they were when they were opened, so that removing while listing skips nothing.
    listings: Mutex<(u64, BTreeMap<u64, Listing>)>,
}

impl Wire {
    pub(super) fn new(disk: Arc<Mutex<Disk>>) -> Wire {
        Wire { disk, listings: Mutex::default() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listings(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Listing>)> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that changes or syncs.
    fn alter<T>(&self, change: impl FnOnce(&mut Disk) -> Result<T>) -> Result<T> {
        let mut disk = self.disk();
        disk.alter()?;
        change(&mut disk)
    }

    fn create_inode(&self, dir: INodeNo, name: &OsStr, body: Body, mode: u32) -> Result<FileAttr> {
        self.alter(|disk| {
            let ino = disk.create(dir.0, name, body, (mode & 0o7777) as u16)?;
            attr(disk, ino)
        })
    }

    fn listing(&self, dir: u64) -> Result<Listing> {
        let disk = self.disk();
        let own = [".", ".."].map(|name| Ok((dir, FileType::Directory, name.into())));
        let entries = disk.entries(dir)?.iter();
        let entries = entries.map(|(name, ino)| Ok((*ino, disk.inode(*ino)?.kind(), name.clone())));
        own.into_iter().chain(entries).collect()
    }
}

fn attr(disk: &Disk, ino: u64) -> Result<FileAttr> {
    let inode = disk.inode(ino)?;
    let (size, cost) = match &inode.body {
        Body::File(content) => (content.now().len() as u64, content.cost()),
        _ => (0, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: cost / 512,
        atime: inode.mtime,
        mtime: inode.mtime,
        ctime: inode.mtime,
        crtime: inode.mtime,
        kind: inode.kind(),
        perm: inode.perm,
        nlink: inode.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    })
}

fn reply_entry(reply: ReplyEntry, entry: Result<FileAttr>) {
    match entry {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn reply_attr(reply: ReplyAttr, attr: Result<FileAttr>) {
    match attr {
        Ok(attr) => reply.attr(&TTL, &attr),
        Err(error) => reply.error(error),
    }
}

fn reply_empty(reply: ReplyEmpty, done: Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Wire {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        reply_entry(reply, disk.lookup(parent.0, name).and_then(|ino| attr(&disk, ino)));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply_attr(reply, attr(&self.disk(), ino.0));
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.alter(|disk| {
            if let Some(size) = size {
                disk.grow(ino.0, Some(size as usize))?.set_size(size as usize);
            }
            let inode = disk.inode_mut(ino.0)?;
            inode.perm = mode.map_or(inode.perm, |mode| (mode & 0o7777) as u16);
            inode.mtime = match mtime {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => inode.mtime,
            };
            attr(disk, ino.0)
        });
        reply_attr(reply, done);
    }

    fn mknod(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let body = match mode & KIND {
            SOCKET => Body::Socket,
            REGULAR => Body::File(Content::default()),
            _ => return reply.error(Errno::EPERM),
        };
        reply_entry(reply, self.create_inode(parent, name, body, mode));
    }

    fn mkdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let body = Body::Dir { now: BTreeMap::new(), durable: BTreeMap::new() };
        reply_entry(reply, self.create_inode(parent, name, body, mode));
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.create_inode(parent, name, Body::File(Content::default()), mode) {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.alter(|disk| disk.unlink(parent.0, name, false)));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.alter(|disk| disk.unlink(parent.0, name, true)));
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.intersects(!RenameFlags::RENAME_NOREPLACE) {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        reply_empty(reply, self.alter(|disk| disk.rename((parent.0, name), (newparent.0, newname), replace)));
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let done = self.alter(|disk| {
            disk.link(ino.0, newparent.0, newname)?;
            attr(disk, ino.0)
        });
        reply_entry(reply, done);
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.disk().content(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().content(ino.0) {
            Ok(content) => {
                let from = content.now().len().min(offset as usize);
                let to = content.now().len().min(from + size as usize);
                reply.data(&content.now()[from..to]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let at = offset as usize;
        let done = self.alter(|disk| {
            disk.grow(ino.0, Some(at + data.len()))?.write(at, data);
            Ok(())
        });
        match done {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let end = (offset + length) as usize;
        let done = self.alter(|disk| {
            let content = disk.grow(ino.0, Some(end))?;
            if mode == KEEP_SIZE {
                content.reserve(end);
            } else if end > content.now().len() {
                content.set_size(end);
            }
            Ok(())
        });
        reply_empty(reply, done);
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply_empty(reply, self.alter(|disk| disk.sync(ino.0)));
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply_empty(reply, self.alter(|disk| disk.sync(ino.0)));
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.listing(ino.0) {
            Ok(listing) => {
                let mut listings = self.listings();
                listings.0 += 1;
                let handle = listings.0;
                listings.1.insert(handle, listing);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listings = self.listings();
        let Some(listing) = listings.1.get(&fh.0) else { return reply.error(Errno::EBADF) };
        for (next, (ino, kind, name)) in (1..).zip(listing).skip(offset as usize) {
            if reply.add(INodeNo(*ino), next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.listings().1.remove(&fh.0);
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let total = disk.capacity.unwrap_or(BOUNDLESS);
        let free = total.saturating_sub(disk.used()) / BLOCK;
        reply.statfs(total / BLOCK, free, free, u64::MAX, u64::MAX, BLOCK as u32, 255, BLOCK as u32);
    }
}

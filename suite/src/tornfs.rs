//! A file system that knows what is durable and what is merely written, and that can crash.
//!
//! It lives in memory and is mounted by FUSE, so that a real store and a real SQLite run on it unchanged.
//!
//! * Data and size of a file are durable after fsync or fdatasync of that file, not before.
//! * An entry of a directory (create, mkdir, link, rename, unlink) is durable after fsync of that directory, not
//!   before; fsync of the file itself says nothing about its entry. A rename between directories is one thing: it
//!   is durable, or lost, in both.
//! * [`TornFs::crash`] stops the file system and yields an [`Image`] of what a power cut might leave: all that is
//!   durable, and by the seed some of what is not. Each page of 4 KiB chooses a moment of its past by itself, some
//!   tear at sectors of 512 bytes; the size chooses its own moment; directories keep a prefix or any subset of what
//!   was done to them.
//!
//! Not modelled: syncfs and `sync` (FUSE does not see them), permissions, holes (a long file costs its length).
//! Memory of unlinked files is not given back before the unmount: a crash may bring them back.
//!
//! SQLite's shared WAL index is a mapped file. That works here, by the kernel's page cache: what a crash leaves of it
//! does not matter, because SQLite builds it again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::Disk;

mod chance;
mod content;
mod disk;
mod wire;

/// Whether file systems can be mounted here. Tests that cannot run say so and succeed.
pub fn available() -> bool {
    let there = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    if !there {
        println!("not run: no /dev/fuse");
    }
    there
}

/// A mounted file system. Dropping it unmounts it, also where files on it are still open.
#[derive(Debug)]
pub struct TornFs {
    disk: Arc<Mutex<Disk>>,
    dir: PathBuf,
    _session: fuser::BackgroundSession,
}

impl TornFs {
    /// Mounts an empty file system on a directory.
    ///
    /// # Errors
    /// No FUSE here, or no right to mount.
    pub fn mount(dir: &Path) -> io::Result<TornFs> {
        TornFs::mount_disk(Disk::new(), dir)
    }

    fn mount_disk(disk: Disk, dir: &Path) -> io::Result<TornFs> {
        let disk = Arc::new(Mutex::new(disk));
        let mut config = fuser::Config::default();
        config.mount_options = vec![fuser::MountOption::FSName("tornfs".into())];
        let _session = fuser::spawn_mount(wire::Wire::new(Arc::clone(&disk)), dir, &config)?;
        Ok(TornFs { disk, dir: dir.to_owned(), _session })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Stops the file system (everything fails with EIO from now on) and tells what a power cut in this moment might
    /// leave. May be asked again, for what another power cut in the same moment might leave.
    pub fn crash(&self, seed: u64) -> Image {
        let mut disk = self.disk();
        disk.halted = true;
        Image { disk: disk.survive(seed) }
    }

    /// Stops the file system by itself when so many more operations that change or sync something were done.
    pub fn halt_after(&self, operations: u64) {
        self.disk().left = Some(operations);
    }

    /// How many operations that change or sync something were done.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Limits the bytes that files may have in all; writes beyond fail with ENOSPC. `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// A fault: syncs of paths like this are acknowledged and ignored. `*` stands for any text; paths begin at the
    /// mount with `/`, and those of directories end with `/`. `None`: no fault.
    pub fn skip_syncs(&self, pattern: Option<&str>) {
        self.disk().skip = pattern.map(str::to_owned);
    }

    /// How often each path was synced, faulty syncs included.
    pub fn syncs(&self) -> BTreeMap<String, u64> {
        self.disk().syncs.clone()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TornFs {
    fn drop(&mut self) {
        // Lazily, because a test that panicked may still have files open; the session then ends with the last of
        // them. The session's own unmount is not lazy and would leave the mount behind.
        let done = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("tornfs: {} stays mounted", self.dir.display());
        }
    }
}

/// What a crash left.
#[derive(Debug)]
pub struct Image {
    disk: Disk,
}

impl Image {
    /// Mounts it, as the machine does that starts again.
    ///
    /// # Errors
    /// No FUSE here, or no right to mount.
    pub fn mount(self, dir: &Path) -> io::Result<TornFs> {
        TornFs::mount_disk(self.disk, dir)
    }

    /// Writes it into a directory of another file system, for those who only want to look.
    ///
    /// # Errors
    /// Of that file system.
    pub fn unpack(&self, dir: &Path) -> io::Result<()> {
        for (path, bytes) in self.disk.tree() {
            let to = dir.join(path);
            bytes.map_or_else(|| std::fs::create_dir_all(&to), |bytes| std::fs::write(&to, bytes))?;
        }
        Ok(())
    }

    /// All files with their bytes, by their paths below the mount.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let tree = self.disk.tree();
        tree.into_iter().filter_map(|(path, bytes)| Some((path, bytes?.to_vec()))).collect()
    }
}

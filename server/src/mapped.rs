//! A part of a file as memory. The only file of the project with `unsafe` in it: a mapping is memory whose life no
//! type of the language follows.
//!
//! Why this is sound: the file holds a blob, and blobs are written once, then only ever unlinked, never changed and
//! never truncated, so that what a slice shows stays as it is and all of it stays backed by the file. Why it does
//! not end in `SIGBUS`: that is what a touched page becomes which the disk cannot deliver. Nobody touches them: the
//! socket asks the kernel to send the same bytes from the file (`plain.rs`), where a bad disk is an error number.
//! What remains are those cases in which a piece is copied after all (a file system without sendfile, or something
//! that wraps a body and looks into it), and then only for a page that was in memory when the window was made, was
//! dropped since, and cannot be read again.
#![expect(unsafe_code, reason = "mmap, munmap and mincore take addresses")]

use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};
use std::slice;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// Some bytes of a file, mapped until this is dropped. Making one reads nothing.
pub(crate) struct Mapped {
    /// Where the mapping begins: at a page.
    base: NonNull<u8>,
    /// Bytes from there to the first that was asked for.
    skip: usize,
    /// Bytes that were asked for, at least one.
    len: usize,
}

// SAFETY: it is nothing but memory that is only read.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `len` bytes at `offset`, which the file must have.
    ///
    /// # Errors
    /// When `len` is zero, the file is shorter, or its file system or the process's limits do not let it be mapped.
    pub(crate) fn new(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        let end = offset.checked_add(len as u64).ok_or(io::ErrorKind::InvalidInput)?;
        // A page behind the end of a file can be mapped, but not touched.
        if len == 0 || end > file.metadata()?.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let skip = (offset % page_size() as u64) as usize;
        // SAFETY: the kernel chooses the address, so that nothing else is mapped there.
        let base =
            unsafe { mmap(null_mut(), skip + len, ProtFlags::READ, MapFlags::SHARED, file, offset - skip as u64) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { base, skip, len })
    }

    /// True when all of it is in the page cache, so that sending it waits for no disk.
    pub(crate) fn is_resident(&self) -> bool {
        let all = self.skip + self.len;
        let mut pages = vec![0_u8; all.div_ceil(page_size())];
        // SAFETY: the range is mapped and begins at a page; there is a byte for each of its pages.
        let done = unsafe { libc::mincore(self.base.as_ptr().cast(), all, pages.as_mut_ptr()) };
        done == 0 && pages.iter().all(|page| page & 1 == 1)
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: these bytes are mapped for reading as long as `self` lives, and nobody changes the file.
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(self.skip), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and every slice of it borrowed `self`.
        let gone = unsafe { munmap(self.base.as_ptr().cast(), self.skip + self.len) };
        if let Err(error) = gone {
            tracing::error!(%error, "a part of a file could not be unmapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn any_range_that_is_there_and_no_other() {
        let content: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        for (offset, len) in [(0, 1), (0, 20_000), (4096, 4096), (4095, 2), (19_999, 1), (5000, 15_000)] {
            let mapped = Mapped::new(&file, offset as u64, len).unwrap();
            assert!(mapped.is_resident(), "it was just written");
            assert!(mapped.as_ref() == &content[offset..offset + len]);
        }
        for (offset, len) in [(0, 0), (0, 20_001), (19_999, 2), (u64::MAX, 1)] {
            assert!(Mapped::new(&file, offset, len).is_err());
        }
    }
}

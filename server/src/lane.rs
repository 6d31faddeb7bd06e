//! Which memory stands for which bytes of a file, on one plain HTTP/1.1 connection.
//!
//! hyper takes bytes in memory only. So a body gives it a mapping of the file, which it queues without looking, and
//! the socket below (`plain.rs`) knows the address again and lets the kernel send from the file.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use crate::mapped::Mapped;

tokio::task_local! {
    static CURRENT: Arc<Lane>;
}

/// What a connection's bodies and its socket share.
pub(crate) struct Lane {
    /// The windows that are not sent yet: one or two at a time. Held for a look only.
    windows: Mutex<Vec<Place>>,
    /// Bytes that went from files to the socket.
    pub(crate) sent: Counter,
}

/// Where a window is in memory and in its file.
struct Place {
    memory: Range<usize>,
    file: Arc<File>,
    offset: u64,
}

/// A window of a file, known to its lane as long as somebody has bytes of it.
struct Window {
    mapped: Mapped,
    lane: Arc<Lane>,
}

impl Lane {
    /// A lane that counts what it sends.
    pub(crate) fn new(sent: Counter) -> Arc<Self> {
        Arc::new(Self { windows: Mutex::default(), sent })
    }

    /// Does something in which [`Lane::current`] is this one.
    pub(crate) fn enter<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Arc::clone(self), work)
    }

    /// The lane on which a body that is asked for a frame right now will be sent; `None` for TLS and HTTP/2.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// A part of a file as bytes that this lane knows; `None` if not all of it is in the page cache, for then the
    /// socket, which is written to by a thread that serves others too, would wait for a disk.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub(crate) fn window(self: &Arc<Self>, file: &Arc<File>, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        let mapped = Mapped::new(file, offset, len)?;
        if !mapped.is_resident() {
            return Ok(None);
        }
        let memory = addresses(mapped.as_ref());
        self.lock().push(Place { memory, file: Arc::clone(file), offset });
        Ok(Some(Bytes::from_owner(Window { mapped, lane: Arc::clone(self) })))
    }

    /// The file and the offset at which these bytes are.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(Arc<File>, u64)> {
        let wanted = addresses(bytes);
        let windows = self.lock();
        let place =
            windows.iter().find(|place| place.memory.start <= wanted.start && wanted.end <= place.memory.end)?;
        Some((Arc::clone(&place.file), place.offset + (wanted.start - place.memory.start) as u64))
    }

    /// True when there is no window, so that looking is not worth it.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Place>> {
        // Nothing in here panics half way.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let range = bytes.as_ptr_range();
    range.start.addr()..range.end.addr()
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        self.mapped.as_ref()
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Forgotten before it is unmapped, so that no other memory can get its address while it is known.
        let memory = addresses(self.mapped.as_ref());
        self.lane.lock().retain(|place| place.memory != memory);
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("windows", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bytes_are_known_as_long_as_they_are_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let (file, lane) = (Arc::new(file), Lane::new(Counter::default()));
        let bytes = lane.window(&file, 5, 9_000).unwrap().expect("it was just written");
        assert_eq!(lane.find(&bytes[100..]).map(|found| found.1), Some(105));
        assert!(lane.find(b"other").is_none() && lane.find(&vec![7; 9_000]).is_none());
        let tail = bytes.slice(8_999..);
        drop(bytes);
        assert_eq!(lane.find(&tail).map(|found| found.1), Some(9_004));
        drop(tail);
        assert!(lane.is_empty());
    }

    #[test]
    fn a_lane_is_current_only_inside() {
        let lane = Lane::new(Counter::default());
        assert!(lane.enter(|| Lane::current().is_some_and(|current| Arc::ptr_eq(&current, &lane))));
        assert!(Lane::current().is_none());
    }
}

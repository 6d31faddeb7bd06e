//! How much of files may be in memory on its way out, over all answers. Beyond it the server is slow, never out of
//! memory: slow readers share what there is, and each still gets on.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// What a reader may always have, one piece at a time, when all else is taken: with as many readers as there may be
/// requests (4096), 256 MiB.
const FLOOR: usize = 64 << 10;

tokio::task_local! {
    static CURRENT: Budget;
}

/// The bytes that all readers share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Budget {
    /// One permit for each byte.
    free: Arc<Semaphore>,
    /// The bytes that are in memory, with those beyond the budget.
    taken: Gauge,
}

impl Budget {
    /// So many bytes, counted in `taken`.
    pub(crate) fn new(bytes: usize, taken: Gauge) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))), taken }
    }

    /// Does something whose reads count.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }
}

/// One reader's part in it.
pub(crate) struct Share {
    /// The one piece that needs nothing from the budget.
    floor: PollSemaphore,
}

impl Share {
    pub(crate) fn new() -> Self {
        Self { floor: PollSemaphore::new(Arc::new(Semaphore::new(1))) }
    }

    /// Leave to read `wanted` bytes into memory, or less. Waits only for an own piece that was not sent yet, so that
    /// readers never wait for each other. Outside of [`Budget::enter`] there is no limit.
    pub(crate) fn poll_leave(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Leave> {
        let Ok(budget) = CURRENT.try_with(Budget::clone) else {
            return Poll::Ready(Leave { bytes: wanted, _permit: None, taken: Gauge::default() });
        };
        let many = u32::try_from(wanted).unwrap_or(u32::MAX);
        let (bytes, permit) = match Arc::clone(&budget.free).try_acquire_many_owned(many) {
            Ok(permit) => (wanted, Some(permit)),
            // The semaphore is never closed.
            Err(_) => (wanted.min(FLOOR), ready!(self.floor.poll_acquire(cx))),
        };
        budget.taken.inc_by(bytes as i64);
        Poll::Ready(Leave { bytes, _permit: permit, taken: budget.taken })
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("free", &self.free.available_permits()).finish_non_exhaustive()
    }
}

/// Bytes that may be in memory until this is dropped.
pub(crate) struct Leave {
    bytes: usize,
    _permit: Option<OwnedSemaphorePermit>,
    taken: Gauge,
}

impl Leave {
    /// How many.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that were read with it, which give it back when the last of them is dropped.
    pub(crate) fn hold(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes, _leave: self })
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.taken.dec_by(self.bytes as i64);
    }
}

struct Held {
    bytes: Vec<u8>,
    _leave: Leave,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    #[test]
    fn beyond_the_budget_each_reader_has_one_small_piece() {
        let taken = Gauge::default();
        let budget = Budget::new(1 << 20, taken.clone());
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut ask = |share: &mut Share| match budget.enter(|| share.poll_leave(&mut cx, 1 << 20)) {
            Poll::Ready(leave) => Some(leave),
            Poll::Pending => None,
        };
        let (mut first, mut second) = (Share::new(), Share::new());
        let all = ask(&mut first).expect("it is free");
        assert_eq!(all.bytes(), 1 << 20);
        let small = ask(&mut second).expect("others cannot keep it from reading");
        assert_eq!(small.bytes(), FLOOR);
        assert!(ask(&mut second).is_none(), "one at a time");
        let bytes = small.hold(vec![1; FLOOR]);
        assert_eq!(taken.get(), (1 << 20) + FLOOR as i64);
        let part = bytes.slice(..1);
        drop(bytes);
        assert!(ask(&mut second).is_none(), "a byte of it is still there");
        drop(part);
        assert_eq!(ask(&mut second).expect("its turn").bytes(), FLOOR);
        drop(all);
        assert_eq!(ask(&mut second).expect("there is room again").bytes(), 1 << 20);
        assert_eq!(taken.get(), 0);
    }
}

//! Room is reserved before bytes arrive and settled when their lease is written.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use model::{Error, Outcome, Result};

use crate::hub::Hub;
use crate::space::Space;

/// Writers that take room from each other try this often before they are told to come back.
const TRIES: usize = 64;
/// Evictions for the disk's sake of one writer: more than one, because the log of an eviction takes room too, and
/// another writer may take what was freed.
const DISK_TRIES: usize = 8;

/// A part of a namespace's limit that an upload has taken. Given back when it is dropped.
pub(crate) struct Reserved {
    space: Arc<Space>,
    bytes: u64,
}

impl Reserved {
    /// Gives back what is not needed any more.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.space.reserved.fetch_sub(spare, Relaxed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.bytes, Relaxed);
    }
}

impl Space {
    /// By how much the namespace would go over its limit with these bytes more; 0 when they fit.
    pub(crate) fn over(&self, bytes: u64) -> u64 {
        self.beyond(bytes, self.limit.load(Relaxed))
    }

    /// By how much it would go over another limit.
    pub(crate) fn beyond(&self, bytes: u64, limit: u64) -> u64 {
        let used = u64::try_from(self.used.load(Relaxed)).unwrap_or(0);
        used.saturating_add(self.reserved.load(Relaxed)).saturating_add(bytes).saturating_sub(limit)
    }

    /// Keeps the totals in step with what the catalog did.
    pub(crate) fn settle(&self, size: u64, outcome: &Outcome) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        match outcome {
            Outcome::Held { new: true, .. } => self.used.fetch_add(size, Relaxed),
            Outcome::Reaped { freed, .. } | Outcome::Freed { bytes: freed, .. } => {
                self.used.fetch_sub(i64::try_from(*freed).unwrap_or(i64::MAX), Relaxed)
            }
            _ => return,
        };
        self.changes.fetch_add(1, Relaxed);
    }
}

impl Hub {
    /// Takes room in a namespace; makes it by evicting where that is allowed.
    ///
    /// # Errors
    /// `Full` when the bytes are more than the limit, or nothing may be evicted.
    pub(crate) async fn reserve(&self, space: &Arc<Space>, bytes: u64) -> Result<Reserved> {
        let limit = space.limit.load(Relaxed);
        if bytes > limit {
            return Err(Error::full(format!(
                "{bytes} bytes are more than the {limit} that namespace {:?} may hold at all",
                space.name
            )));
        }
        let mut disk_tries = 0;
        for _ in 0..TRIES {
            space.reserved.fetch_add(bytes, Relaxed);
            let reserved = Reserved { space: Arc::clone(space), bytes };
            let disk = self.disk_short(bytes);
            if space.over(0) == 0 && disk == 0 {
                self.take_disk(bytes);
                return Ok(reserved);
            }
            drop(reserved);
            if disk > 0 {
                // Evicted a few times for the disk's sake and no more: where somebody else fills it, evicting
                // everything would not help.
                if disk_tries == DISK_TRIES {
                    return Err(Error::full("the disk is full: free space, or lower the quota"));
                }
                disk_tries += 1;
            }
            let made = self.make_room(space, bytes, limit).await;
            self.disk_short_since(bytes, Duration::ZERO);
            made?;
        }
        Err(Error::busy("many writers compete for the last room: try again"))
    }

    /// Takes more room for an upload that grows.
    pub(crate) async fn reserve_more(&self, reserved: &mut Reserved, bytes: u64) -> Result<()> {
        let mut more = self.reserve(&Arc::clone(&reserved.space), bytes).await?;
        reserved.bytes += more.bytes;
        more.bytes = 0;
        Ok(())
    }
}

//! The state of a namespace in this process. It is the same for all who enter it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{Name, NamespaceId, NamespaceRow, Time};

use crate::absence::Absence;
use crate::evict::Candidates;
use crate::fetch::Fetches;
use crate::follow::Progress;
use crate::mirror::Mirror;
use crate::presence::Presence;
use crate::quota::Reserved;
use crate::upload::Upload;

pub(crate) struct Space {
    pub(crate) id: NamespaceId,
    pub(crate) name: Arc<str>,
    /// Bytes of all Held leases may be at most this.
    pub(crate) limit: AtomicU64,
    /// Nothing used within this time is evicted.
    pub(crate) grace: Duration,
    /// Bytes of Held leases, as the outcomes of this process's changes say.
    pub(crate) used: AtomicI64,
    /// Bytes of uploads under way, parked ones too.
    pub(crate) reserved: AtomicU64,
    /// Leases whose bytes are lost.
    pub(crate) lost: AtomicI64,
    /// Counts what can make room: binds, unbinds, claims.
    pub(crate) changes: AtomicU64,
    pub(crate) presence: Presence,
    pub(crate) absence: Absence,
    /// One eviction at a time; protects the list of candidates.
    pub(crate) candidates: tokio::sync::Mutex<Candidates>,
    uploads: Mutex<HashMap<String, Arc<Progress>>>,
    parked: Mutex<HashMap<String, Reserved>>,
    waiting: Mutex<HashMap<String, (Instant, Upload)>>,
    names: Mutex<HashMap<Name, Time>>,
    /// When weak names were last looked at.
    looked: Mutex<Option<Instant>>,
    pub(crate) mirror: Mirror,
    pub(crate) fetches: Fetches,
}

impl Space {
    pub(crate) fn new(row: &NamespaceRow, limit: u64, grace: Duration, entries: usize) -> Self {
        Self {
            id: row.id,
            name: row.name.as_str().into(),
            limit: AtomicU64::new(limit),
            grace,
            used: AtomicI64::new(i64::try_from(row.used).unwrap_or(i64::MAX)),
            reserved: AtomicU64::new(0),
            lost: AtomicI64::new(i64::try_from(row.lost).unwrap_or(i64::MAX)),
            changes: AtomicU64::new(0),
            presence: Presence::new(entries),
            absence: Absence::default(),
            candidates: tokio::sync::Mutex::default(),
            uploads: Mutex::default(),
            parked: Mutex::default(),
            waiting: Mutex::default(),
            names: Mutex::default(),
            looked: Mutex::default(),
            mirror: Mirror::default(),
            fetches: Fetches::default(),
        }
    }

    /// Uploads that somebody writes now, by their id.
    pub(crate) fn uploads(&self) -> MutexGuard<'_, HashMap<String, Arc<Progress>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What parked uploads keep reserved, by their id.
    pub(crate) fn parked(&self) -> MutexGuard<'_, HashMap<String, Reserved>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True once in this time, first at the start.
    pub(crate) fn time_to_look(&self, every: Duration) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at.elapsed() >= every);
        if due {
            *looked = Some(Instant::now());
        }
        due
    }

    /// Uploads between two parts, by their id, and since when.
    pub(crate) fn waiting(&self) -> MutexGuard<'_, HashMap<String, (Instant, Upload)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses of names that the catalog does not have yet.
    pub(crate) fn names(&self) -> MutexGuard<'_, HashMap<Name, Time>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl crate::namespace::Namespace {
    /// A number that is another one once names or blobs of this namespace have changed and whoever changed them was
    /// told so. What was made from a listing stays true while it is the same.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.space.changes.load(std::sync::atomic::Ordering::Relaxed)
    }
}

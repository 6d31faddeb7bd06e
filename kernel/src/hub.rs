//! The hub: one catalog, one store, the kinds that protocols gave, and the namespaces.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{Catalog, Change, Digest, Epoch, Error, Kind, KindId, Location, Outcome, Result, Store, Upstream};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::known::Known;
use crate::metrics::Metrics;
use crate::namespace::Namespace;
use crate::rights::{Caller, Granted, Rights};
use crate::small::Small;
use crate::space::Space;
use crate::tasks::Tasks;
use crate::token::Tokens;

/// What an operator decides.
#[derive(Clone)]
pub struct Settings {
    /// The namespaces that exist, with their limits in bytes.
    pub namespaces: Vec<(String, u64)>,
    /// Nothing that was used within this time is evicted; 0 is pure least-recently-used.
    pub grace: Duration,
    /// Free bytes that uploads leave on the disk; a twentieth of the disk where that is less.
    pub disk_reserve: u64,
    /// Blobs of which each namespace remembers in memory that it has them (about 100 bytes each).
    pub cached: usize,
    /// How long an upload may rest.
    pub parked: Duration,
    /// How long the journal is kept.
    pub journal: Duration,
    /// Signs passes. Whoever has it can make them; a hub that is given the same one after a restart honours those that
    /// it made before.
    pub secret: [u8; 32],
    /// How long "it is not there" of an upstream is believed.
    pub absent: Duration,
    /// How long an upstream that failed is left alone with the same question.
    pub failed: Duration,
    /// Where names and blobs come from that are not here; the first that knows a name is asked.
    pub upstreams: Vec<Arc<dyn Upstream>>,
}

impl fmt::Debug for Settings {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespaces, grace, disk_reserve, cached, parked, journal, secret: _, absent, failed, upstreams } =
            self;
        f.debug_struct("Settings")
            .field("namespaces", namespaces)
            .field("grace", grace)
            .field("disk_reserve", disk_reserve)
            .field("cached", cached)
            .field("parked", parked)
            .field("journal", journal)
            .field("absent", absent)
            .field("failed", failed)
            .field("upstreams", upstreams)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespaces: vec![("main".into(), u64::MAX)],
            grace: Duration::ZERO,
            disk_reserve: 256 << 20,
            cached: 256 << 10,
            parked: Duration::from_secs(24 * 3600),
            journal: Duration::from_secs(90 * 24 * 3600),
            secret: rand::random(),
            // Somebody who has just pushed it there tries again sooner than in a minute.
            absent: Duration::from_secs(30),
            failed: Duration::from_secs(15),
            upstreams: Vec::new(),
        }
    }
}

/// All of it. Clones are the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    catalog: Known,
    store: Arc<dyn Store>,
    kinds: HashMap<KindId, Box<dyn Kind>>,
    settings: Settings,
    epoch: Epoch,
    counter: AtomicU64,
    spaces: HashMap<String, Arc<Space>>,
    metrics: Metrics,
    tasks: Tasks,
    tokens: Tokens,
    bare: Mutex<Vec<Digest>>,
    room: Mutex<Option<(Instant, u64)>>,
    closing: CancellationToken,
    clock: Clock,
    small: Small,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub(epoch {})", self.0.epoch.0)
    }
}

impl Hub {
    /// Opens the hub on what is known and where bytes lie. Reads totals only, so that it serves at once at any
    /// size; what a crash left over is cleaned up in the background by [`Hub::tidy`].
    ///
    /// # Errors
    /// `Broken` or `Full` when the catalog does not take a new epoch.
    pub async fn open(
        catalog: Arc<dyn Catalog>,
        store: Arc<dyn Store>,
        kinds: Vec<Box<dyn Kind>>,
        settings: Settings,
    ) -> Result<Self> {
        let epoch = match catalog.apply(vec![Change::Begin]).await?.pop() {
            Some(Outcome::Epoch(epoch)) => epoch,
            other => return Err(Error::broken(format!("the catalog gave no epoch but {other:?}"))),
        };
        let mut spaces = HashMap::new();
        for (name, limit) in &settings.namespaces {
            let row = catalog.namespace(name).await?;
            let space = Space::new(&row, *limit, settings.grace, settings.cached);
            spaces.insert(name.clone(), Arc::new(space));
        }
        let hub = Self(Arc::new(Inner {
            catalog: Known::new(catalog),
            store,
            kinds: kinds.into_iter().map(|kind| (kind.id(), kind)).collect(),
            settings,
            epoch,
            counter: AtomicU64::new(0),
            spaces,
            metrics: Metrics::default(),
            tasks: Tasks::default(),
            tokens: Tokens::default(),
            bare: Mutex::default(),
            room: Mutex::default(),
            closing: CancellationToken::new(),
            clock: Clock::default(),
            small: Small::default(),
        }));
        hub.reserve_parked().await?;
        Ok(hub)
    }

    /// Parked uploads count against the limit of their namespace.
    async fn reserve_parked(&self) -> Result<()> {
        for row in self.catalog().uploads(None, None).await? {
            if let Some(space) = self.spaces().find(|space| space.id == row.space)
                && let Ok(reserved) = self.reserve(space, row.offset).await
            {
                space.parked().insert(row.id, reserved);
            }
        }
        Ok(())
    }

    /// Enters a namespace as this caller. What the caller may do is decided verb by verb.
    ///
    /// # Errors
    /// `Absent` when there is no such namespace; who may read nothing there is refused as if there were one.
    pub fn enter(&self, caller: &Caller, namespace: &str) -> Result<Namespace> {
        let granted = Granted::new(caller, namespace);
        match self.0.spaces.get(namespace) {
            Some(space) => Ok(Namespace::new(self.clone(), Arc::clone(space), granted)),
            // Who has no rights there must not learn that there is nothing.
            None => Err(granted.assert(Rights::READ).err().unwrap_or_else(|| {
                let name: String = namespace.chars().take(80).collect();
                Error::absent(format!("there is no namespace {name:?}"))
            })),
        }
    }

    /// Changes the limit of a namespace: a guest with a smaller explicit quota does.
    pub fn set_limit(&self, namespace: &str, limit: u64) {
        if let Some(space) = self.0.spaces.get(namespace) {
            space.limit.store(limit, Relaxed);
        }
    }

    /// The limit of a namespace in bytes.
    #[must_use]
    pub fn limit(&self, namespace: &str) -> Option<u64> {
        self.0.spaces.get(namespace).map(|space| space.limit.load(Relaxed))
    }

    /// Runs work that outlives its request; [`Hub::close`] waits for it.
    pub fn spawn(&self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(what, work);
    }

    /// Runs work that must not stop half-way when its asker goes: a change that was sent happens, and what we
    /// remember has to follow it.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.0.tasks.to_the_end(what, work).await
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.0.closing.is_cancelled() {
            return Err("shutting down".into());
        }
        if self.disk_short(0) > 0 {
            return Err("the disk is nearly full: reads are served, writes are refused".into());
        }
        Ok(())
    }

    /// Ends background work and writes down what is only in memory. Requests have ended before.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.rest_waiting(true).await;
        self.0.tasks.finish().await;
        for space in self.spaces() {
            let _one_at_a_time = space.candidates.lock().await;
            if let Err(error) = self.flush_uses(space).await {
                tracing::warn!(%error, "the last uses of blobs were not recorded");
            }
        }
    }

    /// Cancelled once [`Hub::close`] was called.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        &self.0.catalog
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    pub(crate) fn kind(&self, id: KindId) -> Option<&dyn Kind> {
        self.0.kinds.get(&id).map(|kind| &**kind)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = KindId> {
        self.0.kinds.keys().copied()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    pub(crate) fn spaces(&self) -> impl Iterator<Item = &Arc<Space>> {
        self.0.spaces.values()
    }

    pub(crate) fn small(&self) -> &Small {
        &self.0.small
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Blobs that the last reaps left without a lease.
    pub(crate) fn bare(&self) -> MutexGuard<'_, Vec<Digest>> {
        self.0.bare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage or location that was never used and never will be again (law 5).
    pub(crate) fn fresh(&self) -> (Epoch, u64) {
        (self.0.epoch, self.0.counter.fetch_add(1, Relaxed))
    }

    /// A number, not 0, that no other doom has.
    pub(crate) fn mark(&self) -> i64 {
        let (epoch, counter) = self.fresh();
        i64::from(epoch.0) << 40 | i64::try_from(counter & ((1 << 40) - 1)).unwrap_or(0)
    }

    pub(crate) fn fresh_location(&self, digest: Digest) -> Location {
        let (epoch, counter) = self.fresh();
        Location { digest, epoch, counter }
    }

    /// How many bytes the disk lacks to take these; 0 when they fit. It is asked at most ten times a second.
    pub(crate) fn disk_short(&self, bytes: u64) -> u64 {
        self.disk_short_since(bytes, Duration::from_millis(100))
    }

    /// What was given to a writer is gone, also before the disk is asked again: many may come in between.
    pub(crate) fn take_disk(&self, bytes: u64) {
        let mut known = self.0.room.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, spare)) = &mut *known {
            *spare = spare.saturating_sub(bytes);
        }
    }

    /// As `disk_short`, with what was measured at most this long ago.
    pub(crate) fn disk_short_since(&self, bytes: u64, age: Duration) -> u64 {
        let mut known = self.0.room.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = match *known {
            Some((at, spare)) if at.elapsed() < age => spare,
            _ => {
                let spare = self.0.store.room().map_or(u64::MAX, |room| {
                    let reserve = self.0.settings.disk_reserve.min(room.total / 20);
                    // One more than is lacked, so that a disk at its mark is short of even nothing. Pages that rows
                    // have left are room too, else evicting small blobs would never help.
                    (room.free + self.0.catalog.spare() + 1).saturating_sub(reserve)
                });
                *known = Some((Instant::now(), spare));
                spare
            }
        };
        (bytes + 1).saturating_sub(spare)
    }
}

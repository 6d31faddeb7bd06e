//! The one writer: a thread that takes what has queued up, applies it in one durable transaction and then
//! answers all. Its totals are the truth while it lives; they are written with each group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use model::{Change, Epoch, Error, NamespaceId, NamespaceRow, Outcome, Result};
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::ballast::Ballast;
use super::{edges, fault, leases, names, reads, rest, weight};

/// Bytes that may wait; beyond this callers wait, and later are told `Busy`.
const QUEUE_BYTES: usize = 64 << 20;
/// Calls that may wait.
const QUEUE_CALLS: usize = 4096;
/// Changes in one transaction: enough to share a sync, few enough to answer soon.
const GROUP: usize = 8192;
/// Free pages are counted after deletions, and every so many groups, because writes use them up.
const COUNT_EVERY: u32 = 64;
/// How long a caller waits for a place in the queue.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

type Answer = oneshot::Sender<Result<Vec<Outcome>>>;
type Query = Box<dyn FnOnce(&mut Books) + Send>;

enum Job {
    Apply(Vec<Change>, Answer),
    Run(Query),
}

pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    spare: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(connection: Connection, ballast: Ballast) -> Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_CALLS);
        let spare = Arc::<AtomicU64>::default();
        let mut books = Books::open(connection, Arc::clone(&spare))?;
        thread::Builder::new()
            .name("catalog".into())
            .spawn(move || serve(&mut books, queue, ballast))
            .map_err(|cause| Error::io("start the catalog's writer", cause))?;
        Ok(Self { jobs, room: Arc::new(Semaphore::new(QUEUE_BYTES)), spare })
    }

    /// Bytes of pages that are free within the file.
    pub(super) fn spare(&self) -> u64 {
        self.spare.load(Relaxed)
    }

    pub(super) async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Outcome>> {
        let bytes = changes.iter().map(weight).sum::<usize>().min(QUEUE_BYTES);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(permits))
            .await
            .map_err(|_| Error::busy("the catalog has too much to write: try again later"))?
            .map_err(|_| gone())?;
        let (answer, outcome) = oneshot::channel();
        self.jobs.send(Job::Apply(changes, answer)).await.map_err(|_| gone())?;
        let outcome = outcome.await.map_err(|_| gone())?;
        drop(place);
        outcome
    }

    /// Runs a query between groups on the writer's own connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(move |books| query(&books.connection)).await
    }

    pub(super) async fn namespace(&self, name: String) -> Result<NamespaceRow> {
        self.run(move |books| books.namespace(&name)).await
    }

    async fn run<T: Send + 'static>(&self, query: impl FnOnce(&mut Books) -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, value) = oneshot::channel();
        let query = Box::new(move |books: &mut Books| drop(answer.send(query(books))));
        self.jobs.send(Job::Run(query)).await.map_err(|_| gone())?;
        value.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::broken("the catalog's writer has stopped: look at the log and restart")
}

/// Totals of a namespace that change with nearly every change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) used: i64,
    pub(super) leases: i64,
    pub(super) lost: i64,
}

/// The connection and what the writer remembers.
pub(super) struct Books {
    pub(super) connection: Connection,
    pub(super) epoch: Epoch,
    totals: HashMap<NamespaceId, (Totals, bool)>,
    spare: Arc<AtomicU64>,
    groups: u32,
}

impl Books {
    fn open(connection: Connection, spare: Arc<AtomicU64>) -> Result<Self> {
        let mut books = Self { connection, epoch: Epoch(0), totals: HashMap::new(), spare, groups: 0 };
        books.reload()?;
        books.count_spare()?;
        Ok(books)
    }

    /// Reads again what is remembered, after a group that was rolled back.
    fn reload(&mut self) -> Result<()> {
        let doing = fault("read the catalog's totals");
        let epoch = self
            .connection
            .query_row("SELECT coalesce(max(id), 0) FROM epoch WHERE dead = 0", [], |row| row.get(0))
            .map_err(&doing)?;
        self.epoch = Epoch(epoch);
        self.totals.clear();
        for row in reads::namespaces(&self.connection)? {
            let int = |number| i64::try_from(number).unwrap_or(i64::MAX);
            self.totals
                .insert(row.id, (Totals { used: int(row.used), leases: int(row.leases), lost: int(row.lost) }, false));
        }
        Ok(())
    }

    /// Looks how much room rows have left.
    fn count_spare(&self) -> Result<()> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let doing = fault("count free pages");
        let (pages, size) = (number("freelist_count").map_err(&doing)?, number("page_size").map_err(&doing)?);
        self.spare.store(u64::try_from(pages * size).unwrap_or(0), Relaxed);
        Ok(())
    }

    /// The totals of a namespace, to be changed.
    pub(super) fn totals(&mut self, space: NamespaceId) -> Result<&mut Totals> {
        let (totals, changed) =
            self.totals.get_mut(&space).ok_or_else(|| Error::broken("a change for a namespace that is not there"))?;
        *changed = true;
        Ok(totals)
    }

    fn namespace(&mut self, name: &str) -> Result<NamespaceRow> {
        let doing = fault("make a namespace");
        self.connection
            .execute("INSERT OR IGNORE INTO namespace(name, used, leases, lost) VALUES (?1, 0, 0, 0)", [name])
            .map_err(doing)?;
        let row = reads::namespaces(&self.connection)?.into_iter().find(|row| row.name == name);
        let row = row.ok_or_else(|| Error::broken("the namespace was not made"))?;
        self.totals.entry(row.id).or_insert((Totals { used: 0, leases: 0, lost: 0 }, false));
        Ok(row)
    }

    fn flush_totals(&mut self) -> Result<()> {
        let doing = fault("write the catalog's totals");
        let mut update = self
            .connection
            .prepare_cached("UPDATE namespace SET used = ?2, leases = ?3, lost = ?4 WHERE id = ?1")
            .map_err(&doing)?;
        for (space, (totals, changed)) in &mut self.totals {
            if *changed {
                update.execute((space.0, totals.used, totals.leases, totals.lost)).map_err(&doing)?;
                *changed = false;
            }
        }
        Ok(())
    }

    /// All calls in one durable transaction, or none.
    fn commit(&mut self, calls: &[&[Change]]) -> Result<Vec<Vec<Outcome>>> {
        let doing = fault("write to the catalog");
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(&doing)?;
        let mut outcomes = Vec::with_capacity(calls.len());
        let done = (|| {
            for changes in calls {
                outcomes.push(changes.iter().map(|change| self.change(change)).collect::<Result<_>>()?);
            }
            self.flush_totals()?;
            self.connection.execute_batch("COMMIT").map_err(&doing)
        })();
        if let Err(error) = done {
            // A failed COMMIT may or may not have ended the transaction.
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK").map_err(&doing)?;
            }
            self.reload()?;
            return Err(error);
        }
        self.groups = self.groups.wrapping_add(1);
        let forgets = calls.iter().any(|changes| changes.iter().any(|one| matches!(one, Change::Forget { .. })));
        if forgets || self.groups.is_multiple_of(COUNT_EVERY) {
            self.count_spare()?;
        }
        Ok(outcomes)
    }

    fn change(&mut self, change: &Change) -> Result<Outcome> {
        match change {
            Change::Begin => rest::begin(self),
            Change::Claim { space, blob, place, used, limit, aliases, source } => {
                leases::claim(self, *space, *blob, place, (*used, source.as_deref()), *limit, aliases)
            }
            Change::Hold { space, blob, used, limit } => leases::hold(self, *space, *blob, *used, *limit),
            Change::Promise { space, blob, source, used } => leases::promise(self, *space, *blob, source, *used),
            Change::Demote { space, digest } => leases::demote(self, *space, digest),
            Change::Open { space, node, kind, part, children, last } => {
                edges::open(&self.connection, *space, node, *kind, *part, children, *last)
            }
            Change::Bind { space, list, at, by } => names::bind(&self.connection, *space, list, *at, by),
            Change::Unbind { space, name, when, unused_since, at, by } => {
                names::unbind(&self.connection, *space, name, *when, *unused_since, *at, by)
            }
            Change::Touch { space, leases, names } => rest::touch(&self.connection, *space, leases, names),
            Change::Reap { space, digest, unused_since } => leases::reap(self, *space, digest, *unused_since),
            Change::Doom { digest, mark } => leases::doom(&self.connection, digest, *mark),
            Change::Forget { digest, mark } => leases::forget(&self.connection, digest, *mark),
            Change::Lose { digest, at, now } => leases::lose(self, digest, *at, *now),
            Change::Park(row) => rest::park(&self.connection, row),
            Change::Take { space, id } => rest::take(&self.connection, *space, id),
            Change::Token { token, at, by } => rest::token(&self.connection, token, *at, by),
            Change::TrimJournal { before } => rest::trim_journal(&self.connection, *before),
        }
    }
}

/// True for what has to work on a full disk: it gives room, or is needed to give room.
fn frees(change: &Change) -> bool {
    matches!(
        change,
        Change::Unbind { .. }
            | Change::Reap { .. }
            | Change::Doom { .. }
            | Change::Forget { .. }
            | Change::Lose { .. }
            | Change::Demote { .. }
            | Change::Take { .. }
            | Change::Touch { .. }
            | Change::TrimJournal { .. }
            | Change::Begin
    )
}

fn serve(books: &mut Books, mut queue: mpsc::Receiver<Job>, mut ballast: Ballast) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = Vec::new();
        let mut next = Some(first);
        let mut query = None;
        let mut count = 0;
        while let Some(job) = next.take() {
            match job {
                Job::Apply(changes, answer) => {
                    count += changes.len();
                    group.push((changes, answer));
                    if count < GROUP {
                        next = queue.try_recv().ok();
                    }
                }
                Job::Run(run) => query = Some(run),
            }
        }
        if !group.is_empty() {
            settle(books, group, &mut ballast);
        }
        if let Some(query) = query {
            query(books);
        }
    }
}

fn settle(books: &mut Books, group: Vec<(Vec<Change>, Answer)>, ballast: &mut Ballast) {
    let calls: Vec<&[Change]> = group.iter().map(|(changes, _)| changes.as_slice()).collect();
    match books.commit(&calls) {
        Ok(outcomes) => {
            for ((_, answer), outcomes) in group.into_iter().zip(outcomes) {
                // The asker may have gone; what it asked for has happened all the same.
                drop(answer.send(Ok(outcomes)));
            }
            ballast.restore();
        }
        Err(error) if error.is_full() => {
            let (freeing, others): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|(changes, _)| changes.iter().all(frees));
            tracing::warn!(%error, "the disk is full: only deletions are taken");
            for (_, answer) in others {
                drop(answer.send(Err(error.clone())));
            }
            if !freeing.is_empty() {
                ballast.release();
                let calls: Vec<&[Change]> = freeing.iter().map(|(changes, _)| changes.as_slice()).collect();
                let mut result = books.commit(&calls).map(Vec::into_iter);
                for (_, answer) in freeing {
                    let outcomes = match &mut result {
                        Ok(outcomes) => outcomes.next().ok_or_else(gone),
                        Err(error) => Err(error.clone()),
                    };
                    drop(answer.send(outcomes));
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "the catalog could not be written");
            for (_, answer) in group {
                drop(answer.send(Err(error.clone())));
            }
        }
    }
}

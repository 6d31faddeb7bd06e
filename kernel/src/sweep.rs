//! What is done in the background and by operators: recording uses, ending what has ended, cleaning up after a
//! crash, checking bytes, explaining.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt;
use model::{
    Blob, Change, Digest, Error, LeaseRow, Location, Name, NameRow, Outcome, Result, Retention, Span, Time, When,
};

use crate::evict::Victim;
use crate::hub::Hub;
use crate::space::Space;

/// Rows of one read or change.
const PAGE: usize = 1000;
/// How often uses are recorded, which is also how much of them a crash forgets.
const EVERY: Duration = Duration::from_secs(30);
/// How often weak names are looked at: each costs a look-up, and a row that stays on for a while harms nobody.
const DANGLING: Duration = Duration::from_secs(15 * 60);

/// What `fsck` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Leases that were looked at.
    pub leases: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Blobs whose bytes are damaged or gone.
    pub damaged: u64,
    /// Files without a row, left by a crash.
    pub orphans: u64,
}

impl Hub {
    /// Writes down the uses that are only in memory. The caller holds the list of candidates, so that no reap
    /// comes between taking the uses and writing them.
    pub(crate) async fn flush_uses(&self, space: &Space) -> Result<()> {
        let mut leases = space.presence.drain();
        leases.sort_unstable();
        let names: Vec<(Name, Time)> = space.names().drain().collect();
        let mut changes: Vec<Change> = Vec::new();
        for part in leases.chunks(PAGE) {
            changes.push(Change::Touch { space: space.id, leases: part.to_vec(), names: Vec::new() });
        }
        for part in names.chunks(PAGE) {
            changes.push(Change::Touch { space: space.id, leases: Vec::new(), names: part.to_vec() });
        }
        for change in changes {
            // One by one: others get their turn in between.
            self.catalog().apply(vec![change]).await?;
        }
        Ok(())
    }

    /// Does the background work until the hub closes. Run once, by the owner of the data directory.
    pub fn tidy(&self) {
        let hub = self.clone();
        self.spawn("clean up after the last run", async move {
            if let Err(error) = hub.clean_up().await {
                tracing::warn!(%error, "what the last run left over was not all removed");
            }
        });
        let hub = self.clone();
        self.spawn("sweep", async move {
            let closing = hub.closing().clone();
            while closing.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                if let Err(error) = hub.sweep().await {
                    tracing::warn!(%error, "a sweep did not end");
                }
            }
        });
    }

    /// One round: uses, ended names and uploads, what nobody leases, old journal entries.
    ///
    /// # Errors
    /// When the catalog or the store fails.
    pub async fn sweep(&self) -> Result<()> {
        self.rest_waiting(false).await;
        for space in self.spaces().cloned().collect::<Vec<_>>() {
            {
                let _no_reap = space.candidates.lock().await;
                self.flush_uses(&space).await?;
            }
            self.end_names(&space).await?;
            self.fill_filter(&space).await?;
        }
        let now = Time::now();
        for row in self.catalog().uploads(None, Some(now)).await? {
            let Some(space) = self.spaces().find(|space| space.id == row.space) else { continue };
            if space.uploads().contains_key(&row.id) {
                continue;
            }
            let take = Change::Take { space: row.space, id: row.id.clone() };
            if self.catalog().apply(vec![take]).await?.pop() == Some(Outcome::Done) {
                space.parked().remove(&row.id);
                self.store().discard(row.stage).await?;
            }
        }
        self.bury_all().await?;
        self.catalog().apply(vec![Change::TrimJournal { before: now.minus(self.settings().journal) }]).await?;
        Ok(())
    }

    /// Makes the filter of absence where there is none or it is full.
    async fn fill_filter(&self, space: &Space) -> Result<()> {
        if !space.absence.is_full() {
            return Ok(());
        }
        let rows = self.catalog().namespaces().await?;
        let leases = rows.iter().find(|row| row.id == space.id).map_or(0, |row| row.leases);
        let filter = space.absence.begin(leases);
        let mut after = 0;
        while let (page, Some(last)) = self.catalog().page_leases(space.id, after, PAGE).await? {
            page.iter().for_each(|row| filter.add(&row.blob.digest));
            after = last;
        }
        filter.complete();
        Ok(())
    }

    /// Weak names of this page whose blobs are gone: absent already, and now no row any more either.
    async fn dangling(&self, space: &Space, page: &[(Name, NameRow)]) -> Result<Vec<Change>> {
        let weak = |row: &NameRow| row.pointer.keep == Retention::Weak && row.pointer.blob != Blob::EMPTY;
        let weak: Vec<&(Name, NameRow)> = page.iter().filter(|(_, row)| weak(row)).collect();
        let digests = weak.iter().map(|(_, row)| row.pointer.blob.digest).collect();
        let leases = self.catalog().leases(space.id, digests, false).await?;
        let gone = weak.into_iter().zip(leases).filter(|(_, lease)| lease.is_none());
        let unbind = gone.map(|((name, row), _)| Change::Unbind {
            space: space.id,
            name: name.clone(),
            when: When::Is(row.pointer.blob.digest),
            // Bound anew since, it stays.
            unused_since: Some(row.used),
            at: Time::now(),
            by: "its blob is gone".into(),
        });
        Ok(unbind.collect())
    }

    /// Unbinds the names whose time is over, and now and then those whose blobs are gone.
    async fn end_names(&self, space: &Arc<Space>) -> Result<()> {
        let now = Time::now();
        let look = space.time_to_look(DANGLING);
        let mut after: Option<String> = None;
        loop {
            let page = self.catalog().list(space.id, String::new(), after.take(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.as_str().to_owned());
            let dangling = if look { self.dangling(space, &page).await? } else { Vec::new() };
            let mut changes: Vec<Change> = page
                .into_iter()
                .filter(|(_, row)| row.pointer.keep.over(now))
                .map(|(name, row)| Change::Unbind {
                    space: space.id,
                    name,
                    when: When::Is(row.pointer.blob.digest),
                    unused_since: None,
                    at: now,
                    by: "ended".into(),
                })
                .collect();
            changes.extend(dangling);
            if changes.is_empty() {
                continue;
            }
            for outcome in self.catalog().apply(changes).await? {
                if let Outcome::Fell(fallen) = outcome {
                    space.candidates.lock().await.fell(fallen);
                    space.changes.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Removes what earlier epochs left: staged bytes that do not rest, blobs that nobody leases, and files
    /// without a row. What this epoch writes is never looked at.
    ///
    /// # Errors
    /// When the catalog or the store fails.
    pub async fn clean_up(&self) -> Result<()> {
        for stage in self.store().staged().await? {
            if stage.0 < self.epoch() && !self.rests(stage).await? {
                self.store().discard(stage).await?;
            }
        }
        for space in self.spaces().cloned().collect::<Vec<_>>() {
            self.fill_filter(&space).await?;
        }
        self.bury_all().await?;
        let orphans = self.orphans().await?;
        if orphans > 0 {
            tracing::info!(orphans, "removed files that a crash had left");
        }
        Ok(())
    }

    async fn rests(&self, stage: (model::Epoch, u64)) -> Result<bool> {
        Ok(self.catalog().uploads(None, None).await?.iter().any(|row| row.stage == stage))
    }

    async fn orphans(&self) -> Result<u64> {
        let mut found = 0;
        let mut pages = self.store().scan().ready_chunks(PAGE);
        while let Some(page) = pages.next().await {
            let page: Vec<Location> = page.into_iter().collect::<Result<_>>()?;
            let old: Vec<Location> = page.into_iter().filter(|at| at.epoch < self.epoch()).collect();
            let placed = self.catalog().placed(old.clone()).await?;
            let gone: Vec<Location> =
                old.into_iter().zip(placed).filter(|(_, placed)| !placed).map(|(at, _)| at).collect();
            found += gone.len() as u64;
            self.store().remove(&gone).await?;
        }
        Ok(found)
    }

    /// Reads every blob of a namespace and checks it; what is damaged is recorded as lost.
    ///
    /// # Errors
    /// When the catalog fails, or there is no such namespace.
    pub async fn check(&self, namespace: &str) -> Result<Checked> {
        let space = self.space(namespace)?;
        let mut checked = Checked::default();
        let mut after = 0;
        loop {
            let (page, last) = self.catalog().page_leases(space.id, after, PAGE).await?;
            let Some(last) = last else { break };
            after = last;
            for row in page.into_iter().filter(|row| row.here) {
                checked.leases += 1;
                checked.bytes += row.blob.size;
                checked.damaged += u64::from(!self.check_one(&space, &row).await?);
            }
        }
        checked.orphans = self.orphans().await?;
        Ok(checked)
    }

    async fn check_one(&self, space: &Space, row: &LeaseRow) -> Result<bool> {
        let digest = row.blob.digest;
        // Asked of the catalog without counting as a use: a check must not change what is evicted first.
        let found = match row.at {
            None => {
                let bytes = self.catalog().leases(space.id, vec![digest], true).await?.pop().flatten();
                match bytes.and_then(|row| row.bytes) {
                    Some(bytes) => crate::read::right(&digest, &bytes),
                    None => return Ok(true),
                }
            }
            Some(at) => match self.store().get(&at, row.blob.size, Span::whole(row.blob.size)).await {
                Ok(body) => crate::read::check_body(&digest, body).await,
                Err(error) => Err(error),
            },
        };
        match found {
            Ok(()) => Ok(true),
            Err(error) => {
                tracing::warn!(%error, "found by the check");
                self.lose(digest, row.at).await?;
                Ok(false)
            }
        }
    }

    /// What would be evicted, in order, to bring a namespace down to `target` bytes, and what it uses now.
    /// Leases that only become free by an eviction of a name are not listed by themselves.
    ///
    /// # Errors
    /// When the catalog fails, or there is no such namespace.
    pub async fn plan(&self, namespace: &str, most: usize) -> Result<(u64, Vec<(Time, Victim)>)> {
        let space = self.space(namespace)?;
        let _no_reap = space.candidates.lock().await;
        let used = u64::try_from(space.used.load(Relaxed)).unwrap_or(0);
        let mut victims = self.candidates(&space).await?;
        victims.truncate(most);
        Ok((used, victims))
    }

    /// Evicts until the namespace uses `target` bytes or less; returns what it uses then.
    ///
    /// # Errors
    /// `Full` when what is left may not go.
    pub async fn collect(&self, namespace: &str, target: u64) -> Result<u64> {
        let space = self.space(namespace)?;
        self.make_room(&space, 0, target).await?;
        Ok(u64::try_from(space.used.load(Relaxed)).unwrap_or(0))
    }

    /// Why a blob is kept: its lease, the names and the nodes that hold it.
    ///
    /// # Errors
    /// `Absent` when the namespace does not have it.
    pub async fn why(&self, namespace: &str, digest: Digest) -> Result<(LeaseRow, Vec<Name>, Vec<Digest>)> {
        let space = self.space(namespace)?;
        let row = self.catalog().leases(space.id, vec![digest], false).await?.pop().flatten();
        let row = row.ok_or_else(|| Error::absent(format!("namespace {namespace:?} does not hold {digest}")))?;
        let (names, nodes) = self.catalog().holders(space.id, digest).await?;
        Ok((row, names, nodes))
    }

    /// A name as it is bound, without counting as a use.
    ///
    /// # Errors
    /// `Absent` when it is not bound.
    pub async fn peek(&self, namespace: &str, name: &Name) -> Result<(Blob, Retention, Time, bytes::Bytes)> {
        let space = self.space(namespace)?;
        let row = self.catalog().names(space.id, vec![name.clone()]).await?.pop().flatten();
        let row = row.ok_or_else(|| Error::absent(format!("{name} is not bound")))?;
        Ok((row.pointer.blob, row.pointer.keep, row.used, row.pointer.note))
    }

    /// Copies the catalog, consistently, to a new file. Bytes are durable before their row, so that a copy of
    /// the store's files that is made afterwards has all that the copy of the catalog speaks of.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub async fn backup(&self, to: std::path::PathBuf) -> Result<()> {
        self.catalog().backup(to).await
    }

    /// The names of the namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.spaces().map(|space| space.name.to_string()).collect();
        names.sort_unstable();
        names
    }

    fn space(&self, namespace: &str) -> Result<Arc<Space>> {
        self.spaces()
            .find(|space| &*space.name == namespace)
            .cloned()
            .ok_or_else(|| Error::absent(format!("there is no namespace {namespace:?}")))
    }
}

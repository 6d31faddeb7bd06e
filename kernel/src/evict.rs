//! Room is made by taking what was least recently used: a lease that nothing holds, or a Name that may go.
//!
//! There is no index by use, because it would cost every write. Instead the leases and names are paged through
//! by key, and the oldest of them kept in a list until it is used up. What a step lets go of joins the list, so
//! that the order is exact: nothing is taken while something older could be.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use model::{Blob, Change, Digest, Error, Idle, KindId, Name, NameRow, Need, Outcome, Result, Retention, Time, When};

use crate::hub::Hub;
use crate::space::Space;

/// Candidates that one pass keeps: some megabytes, and one pass a few thousand evictions.
const KEPT: usize = 16_384;
/// Rows of one read, which holds up a checkpoint while it lasts.
const PAGE: usize = 2_000;
/// How much longer than what it needs the name of a copy stays. It takes hardly any room and is always used a moment
/// before its layers are: without this it would go first, and take along what an upstream that is away does not tell
/// again. A week, because what nobody has asked for in a week more than the oldest layer is wanted by nobody.
const LINGER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Leases of one change.
const BATCH: usize = 256;

/// What can go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// A lease that nothing holds.
    Lease(Blob),
    /// A name that may go, and with it what only it holds.
    Name(Name),
    /// Bytes that an upstream has too: they go, and what needs them stays.
    Copy(Blob),
}

type Candidate = (Time, Victim);

/// The oldest candidates of a namespace.
pub(crate) struct Candidates {
    heap: BinaryHeap<Reverse<Candidate>>,
    /// Passed over, because a bind relies on them; looked at again next time.
    pinned: Vec<Candidate>,
    /// The list is complete up to this stamp: what was used later, or after the pass began, the next one finds.
    horizon: Time,
    /// The namespace's count of changes when a pass found nothing.
    barren: Option<u64>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), pinned: Vec::new(), horizon: Time::ZERO, barren: None }
    }
}

impl Candidates {
    /// Adds one, unless it lies beyond what the list covers: the next pass finds it.
    fn push(&mut self, used: Time, victim: Victim) {
        if used <= self.horizon {
            self.heap.push(Reverse((used, victim)));
        }
    }

    /// Adds leases that nothing holds any more.
    pub(crate) fn fell(&mut self, fallen: Vec<Idle>) {
        for idle in fallen {
            self.push(idle.used, Victim::Lease(idle.blob));
        }
    }

    fn look_again(&mut self) {
        self.heap.extend(self.pinned.drain(..).map(Reverse));
    }

    fn pop(&mut self) -> Option<Candidate> {
        self.heap.pop().map(|Reverse(candidate)| candidate)
    }
}

/// Keeps the `KEPT` oldest of a long list.
struct Oldest(BinaryHeap<Candidate>, bool);

impl Oldest {
    fn add(&mut self, used: Time, victim: Victim) {
        self.0.push((used, victim));
        if self.0.len() > KEPT {
            self.0.pop();
            self.1 = true;
        }
    }
}

impl Hub {
    /// Evicts until `bytes` more fit into the namespace, were this its limit, and on the disk.
    pub(crate) async fn make_room(&self, space: &Arc<Space>, bytes: u64, limit: u64) -> Result<()> {
        let (hub, space) = (self.clone(), Arc::clone(space));
        self.to_the_end("make room", async move { hub.evict(&space, bytes, limit).await }).await
    }

    async fn evict(&self, space: &Arc<Space>, bytes: u64, limit: u64) -> Result<()> {
        let mut candidates = space.candidates.lock().await;
        candidates.look_again();
        let mut freed = 0;
        // What the disk lacks is measured once: what was freed shows there only later.
        let disk = self.disk_short_since(bytes, Duration::ZERO);
        loop {
            let short = space.beyond(bytes, limit).max(disk.saturating_sub(freed));
            if short == 0 {
                break;
            }
            let Some((used, victim)) = candidates.pop() else {
                if self.refill(space, &mut candidates).await? {
                    continue;
                }
                // Waiting here would be for ever: the bind needs the list before it lets go.
                return Err(if candidates.pinned.is_empty() {
                    self.no_room(space, disk)
                } else {
                    Error::busy("what could be evicted is being bound just now: try again")
                });
            };
            if used > Time::now().minus(space.grace) || self.clock().jumped(space.grace) {
                candidates.push(used, victim);
                return Err(self.no_room(space, disk));
            }
            freed += match victim {
                Victim::Lease(blob) => {
                    let batch = gather(&mut candidates, used, blob, short);
                    let batch = self.cut_at_node(space, &mut candidates, batch).await?;
                    self.reap(space, &mut candidates, batch).await?
                }
                Victim::Name(name) => {
                    self.evict_name(space, &mut candidates, used, name).await?;
                    0
                }
                Victim::Copy(blob) => self.demote(space, &mut candidates, used, blob).await?,
            };
        }
        drop(candidates);
        self.bury_bare().await
    }

    fn no_room(&self, space: &Space, disk: u64) -> Error {
        if disk > 0 {
            return Error::full("the disk is full: free space, or lower the quota");
        }
        Error::full(format!(
            "namespace {:?} has used its {} bytes and nothing in it may be evicted now: raise the quota, or unbind names",
            space.name,
            space.limit.load(Relaxed)
        ))
    }

    /// Pages through all leases and names for the oldest. False when there is nothing that may go.
    async fn refill(&self, space: &Arc<Space>, candidates: &mut Candidates) -> Result<bool> {
        let changes = space.changes.load(Relaxed);
        if candidates.barren == Some(changes) {
            return Ok(false);
        }
        let began = Time::now();
        self.flush_uses(space).await?;
        let mut oldest = Oldest(BinaryHeap::new(), false);
        let mut after = 0;
        loop {
            let (page, last) = self.catalog().page_leases(space.id, after, PAGE).await?;
            for row in page {
                match (row.holders, row.held, row.source) {
                    (0, true, _) => oldest.add(row.used, Victim::Lease(row.blob)),
                    (_, true, Some(_)) => oldest.add(row.used, Victim::Copy(row.blob)),
                    _ => {}
                }
            }
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.catalog().list(space.id, String::new(), after.take(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.as_str().to_owned());
            let firm = self.firm(space, &page).await?;
            for ((name, row), _) in page.into_iter().zip(firm).filter(|(_, firm)| !firm) {
                let used = match self.upstream(&name) {
                    // Last of all that may go now, at the latest.
                    Some(_) => row.used.plus(LINGER).min(began.minus(space.grace)).max(row.used),
                    None => row.used,
                };
                oldest.add(used, Victim::Name(name));
            }
        }
        let Oldest(heap, cut) = oldest;
        candidates.horizon = heap.peek().filter(|_| cut).map_or(began, |(used, _)| *used);
        let pinned = |(_, victim): &Candidate| match victim {
            Victim::Lease(blob) | Victim::Copy(blob) => space.presence.is_pinned(&blob.digest),
            Victim::Name(_) => false,
        };
        let (pinned, free): (Vec<_>, Vec<_>) = heap.into_iter().partition(pinned);
        candidates.heap = free.into_iter().map(Reverse).collect();
        candidates.pinned = pinned;
        let none = candidates.heap.is_empty();
        candidates.barren = (none && candidates.pinned.is_empty()).then_some(changes);
        Ok(!none)
    }

    /// Which of these names no pressure unbinds, in order.
    async fn firm(&self, space: &Space, page: &[(Name, NameRow)]) -> Result<Vec<bool>> {
        let beside = |row: &NameRow| {
            row.pointer
                .also
                .iter()
                .filter(|link| link.need == Need::May)
                .map(|link| link.blob.digest)
                .collect::<Vec<_>>()
        };
        let with = page.iter().filter(|(_, row)| row.pointer.keep == Retention::With);
        let wanted: Vec<Digest> = with.flat_map(|(_, row)| beside(row)).collect();
        let leases = self.catalog().leases(space.id, wanted.clone(), false).await?;
        let leased: HashSet<Digest> =
            wanted.into_iter().zip(leases).filter(|(_, row)| row.is_some()).map(|(digest, _)| digest).collect();
        let firm = |row: &NameRow| match row.pointer.keep {
            // What holds nothing frees nothing.
            Retention::Firm | Retention::Weak => true,
            Retention::With => beside(row).iter().any(|digest| leased.contains(digest)),
            Retention::Loose | Retention::Until(_) => false,
        };
        Ok(page.iter().map(|(_, row)| firm(row)).collect())
    }

    /// Gives up bytes that can be fetched again; returns what that gave back.
    async fn demote(&self, space: &Arc<Space>, candidates: &mut Candidates, used: Time, blob: Blob) -> Result<u64> {
        let victim = Victim::Copy(blob);
        match space.presence.begin_reap(&blob.digest, used) {
            Ok(()) => {}
            Err(Some(later)) => {
                candidates.push(later, victim);
                return Ok(0);
            }
            Err(None) => {
                candidates.pinned.push((used, victim));
                return Ok(0);
            }
        }
        let marks = space.presence.marked(vec![blob.digest]);
        let outcome = self.catalog().apply(vec![Change::Demote { space: space.id, digest: blob.digest }]).await?.pop();
        drop(marks);
        let Some(outcome @ Outcome::Freed { bytes, gone }) = outcome else { return Ok(0) };
        space.settle(blob.size, &outcome);
        if let Some(at) = gone {
            // No row speaks of it any more (law 4); who has opened it reads on.
            self.store().remove(&[at]).await?;
        }
        Ok(bytes)
    }

    /// A node ends its batch: what it lets go of may be older than what comes next.
    async fn cut_at_node(
        &self,
        space: &Space,
        candidates: &mut Candidates,
        mut batch: Vec<(Time, Blob)>,
    ) -> Result<Vec<(Time, Blob)>> {
        let kinds: Vec<KindId> = self.kinds().collect();
        let nodes = batch.iter().flat_map(|(_, blob)| kinds.iter().map(|kind| (blob.digest, *kind))).collect();
        let open = self.catalog().open_nodes(space.id, nodes).await?;
        if let Some(first) = open.iter().position(|open| *open) {
            for (used, blob) in batch.drain(first / kinds.len() + 1..) {
                candidates.push(used, Victim::Lease(blob));
            }
        }
        Ok(batch)
    }

    /// Ends these leases; returns the bytes that this gave back.
    async fn reap(&self, space: &Arc<Space>, candidates: &mut Candidates, batch: Vec<(Time, Blob)>) -> Result<u64> {
        let mut marked = Vec::with_capacity(batch.len());
        for (used, blob) in batch {
            match space.presence.begin_reap(&blob.digest, used) {
                Ok(()) => marked.push((used, blob)),
                // Used since the list was made: it waits for its turn.
                Err(Some(later)) => candidates.push(later, Victim::Lease(blob)),
                Err(None) => candidates.pinned.push((used, Victim::Lease(blob))),
            }
        }
        let marks = space.presence.marked(marked.iter().map(|(_, blob)| blob.digest).collect());
        let changes = marked
            .iter()
            .map(|(used, blob)| Change::Reap { space: space.id, digest: blob.digest, unused_since: *used })
            .collect();
        let outcomes = self.catalog().apply(changes).await?;
        drop(marks);
        let mut freed = 0;
        for ((used, blob), outcome) in marked.into_iter().zip(outcomes) {
            space.settle(blob.size, &outcome);
            match outcome {
                Outcome::Reaped { freed: bytes, fallen, bare } => {
                    freed += bytes;
                    candidates.fell(fallen);
                    if bare {
                        self.bare().push(blob.digest);
                    }
                }
                Outcome::More(fallen) => {
                    candidates.fell(fallen);
                    candidates.push(used, Victim::Lease(blob));
                }
                _ => {}
            }
        }
        Ok(freed)
    }

    async fn evict_name(&self, space: &Arc<Space>, candidates: &mut Candidates, used: Time, name: Name) -> Result<()> {
        let later = space.names().get(&name).copied();
        match (later, self.upstream(&name)) {
            // The next pass finds it with its new time.
            (Some(_), Some(_)) => return Ok(()),
            (Some(later), None) if later > used => {
                candidates.push(later, Victim::Name(name));
                return Ok(());
            }
            _ => {}
        }
        let by = "evicted: least recently used".to_owned();
        let change =
            Change::Unbind { space: space.id, name, when: When::Always, unused_since: Some(used), at: Time::now(), by };
        if let Some(Outcome::Fell(fallen)) = self.catalog().apply(vec![change]).await?.pop() {
            candidates.fell(fallen);
        }
        Ok(())
    }

    /// What would go, in its order, if the namespace had to hold `target` bytes or less. Changes nothing; names
    /// are listed without what only they hold.
    pub(crate) async fn candidates(&self, space: &Arc<Space>) -> Result<Vec<(Time, Victim)>> {
        let mut list = Candidates::default();
        self.refill(space, &mut list).await?;
        list.look_again();
        let mut sorted = list.heap.into_sorted_vec();
        sorted.reverse();
        Ok(sorted.into_iter().map(|Reverse(candidate)| candidate).collect())
    }
}

/// Leases are reaped some at a time, but no more than what is needed and never past an older name.
fn gather(candidates: &mut Candidates, used: Time, blob: Blob, short: u64) -> Vec<(Time, Blob)> {
    let mut batch = vec![(used, blob)];
    let mut bytes = blob.size;
    while bytes < short && batch.len() < BATCH {
        match candidates.pop() {
            Some((used, Victim::Lease(blob))) => {
                bytes += blob.size;
                batch.push((used, blob));
            }
            Some((used, other)) => {
                candidates.push(used, other);
                break;
            }
            None => break,
        }
    }
    batch
}

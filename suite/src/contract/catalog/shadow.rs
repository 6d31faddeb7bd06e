//! A catalog made of maps. Nothing is counted ahead: holders, totals and lost leases are found by looking at
//! everything, each time, so that a counter which drifts in the real one is seen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{
    Binding, Blob, Change, Child, Digest, Epoch, Idle, KindId, Location, Name, NameRow, NamespaceId, Outcome, Place,
    Time, TokenRow, UploadRow, When,
};

/// Where a blob's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lies {
    /// Nowhere.
    Away,
    /// In the row.
    Row(Bytes),
    /// In the store.
    At(Location),
}

impl Lies {
    /// The place in the store.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        if let Self::At(at) = self { Some(*at) } else { None }
    }
}

/// A blob's row.
#[derive(Clone, Debug)]
pub struct BlobRow {
    /// Its size.
    pub size: u64,
    /// Its bytes.
    pub lies: Lies,
    /// The mark of a doom; 0 for none.
    doomed: i64,
}

/// A lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Last use.
    pub used: Time,
    /// Not only promised.
    pub held: bool,
    /// By whom it is promised.
    pub source: Option<String>,
}

#[derive(Clone, Debug)]
struct Part {
    last: bool,
    children: Vec<Digest>,
}

/// A namespace.
#[derive(Clone, Debug, Default)]
pub struct Space {
    /// Its leases.
    pub leases: BTreeMap<Digest, Lease>,
    /// Its names, with what they count.
    pub names: BTreeMap<Name, (NameRow, Vec<Digest>)>,
    nodes: BTreeMap<(Digest, KindId, u32), Part>,
}

impl Space {
    /// How often something is counted.
    #[must_use]
    pub fn holders(&self, digest: &Digest) -> u64 {
        let roots = self.names.values().flat_map(|(_, roots)| roots);
        let children = self.nodes.values().flat_map(|part| &part.children);
        roots.chain(children).filter(|held| *held == digest).count() as u64
    }

    /// Whether a node is open.
    #[must_use]
    pub fn open(&self, digest: &Digest, kind: KindId) -> bool {
        self.nodes.range((*digest, kind, 0)..=(*digest, kind, u32::MAX)).any(|(_, part)| part.last)
    }

    /// The names and nodes that count a blob.
    #[must_use]
    pub fn held_by(&self, digest: &Digest) -> (BTreeSet<Name>, BTreeSet<Digest>) {
        let names = self.names.iter().filter(|(_, (_, roots))| roots.contains(digest));
        let nodes = self.nodes.iter().filter(|(_, part)| part.children.contains(digest));
        (names.map(|(name, _)| name.clone()).collect(), nodes.map(|((node, ..), _)| *node).collect())
    }

    /// These, and all that they hold, however deep.
    #[must_use]
    pub fn below(&self, roots: &[Digest]) -> BTreeSet<Digest> {
        let mut todo = roots.to_vec();
        let mut seen = BTreeSet::new();
        while let Some(digest) = todo.pop() {
            if seen.insert(digest) {
                let parts = self.nodes.iter().filter(|((node, ..), _)| *node == digest);
                todo.extend(parts.flat_map(|(_, part)| &part.children));
            }
        }
        seen
    }
}

/// The whole catalog.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// The living epoch.
    pub epoch: u32,
    /// All blobs.
    pub blobs: BTreeMap<Digest, BlobRow>,
    /// All namespaces.
    pub spaces: BTreeMap<NamespaceId, Space>,
    /// Parked uploads.
    pub uploads: BTreeMap<(NamespaceId, String), UploadRow>,
    /// Digests of other algorithms.
    pub aliases: BTreeMap<(String, Vec<u8>), Digest>,
    /// Tokens.
    pub tokens: BTreeMap<String, TokenRow>,
}

impl Shadow {
    /// Whether the bytes of a blob are somewhere.
    #[must_use]
    pub fn here(&self, digest: &Digest) -> bool {
        self.blobs.get(digest).is_some_and(|row| row.lies != Lies::Away)
    }

    /// How many namespaces lease a blob.
    #[must_use]
    pub fn leases(&self, digest: &Digest) -> usize {
        self.spaces.values().filter(|space| space.leases.contains_key(digest)).count()
    }

    /// Bytes, leases and lost leases of a namespace.
    #[must_use]
    pub fn totals(&self, id: NamespaceId) -> (u64, u64, u64) {
        let leases = &self.spaces[&id].leases;
        let held = || leases.iter().filter(|(_, lease)| lease.held);
        let used = held().map(|(digest, _)| self.blobs[digest].size).sum();
        (used, leases.len() as u64, held().filter(|(digest, _)| !self.here(digest)).count() as u64)
    }

    fn space(&mut self, id: NamespaceId) -> &mut Space {
        self.spaces.get_mut(&id).expect("the test made the namespace")
    }

    fn blob(&mut self, digest: &Digest) -> &mut BlobRow {
        self.blobs.get_mut(digest).expect("it was looked up before")
    }

    fn missing(&self, id: NamespaceId, children: &[Child]) -> Vec<Digest> {
        let space = &self.spaces[&id];
        let there = |child: &&Child| {
            let digest = &child.blob.digest;
            let lease = space.leases.get(digest);
            let sized = self.blobs.get(digest).is_some_and(|row| row.size == child.blob.size);
            let counts = lease.is_some_and(|lease| self.here(digest) || (!lease.held && lease.source.is_some()));
            sized && counts && child.node.is_none_or(|kind| space.open(digest, kind))
        };
        children.iter().filter(|child| !there(child)).map(|child| child.blob.digest).collect()
    }

    fn fallen(&self, id: NamespaceId, lowered: &[Digest]) -> Vec<Idle> {
        let space = &self.spaces[&id];
        let unique: BTreeSet<&Digest> = lowered.iter().collect();
        let free = unique.into_iter().filter(|digest| space.holders(digest) == 0);
        free.filter_map(|digest| {
            let lease = space.leases.get(digest)?;
            Some(Idle { used: lease.used, blob: Blob { digest: *digest, size: self.blobs[digest].size } })
        })
        .collect()
    }

    /// Does what the catalog should.
    pub fn apply(&mut self, change: &Change) -> Outcome {
        match change {
            Change::Begin => {
                self.epoch += 1;
                Outcome::Epoch(Epoch(self.epoch))
            }
            Change::Claim { space, blob, place, used, limit, aliases, source } => {
                let ours = |lease: &Lease| lease.held && lease.source.is_none();
                let ours = self.space(*space).leases.get(&blob.digest).is_some_and(ours);
                let outcome = self.claim(*space, *blob, place, *used, *limit, aliases);
                self.from(*space, blob, &outcome, source.clone().filter(|_| !ours));
                outcome
            }
            Change::Hold { space, blob, used, limit } => {
                let there = self.here(&blob.digest) && self.blobs[&blob.digest].size == blob.size;
                if !there {
                    return Outcome::Absent;
                }
                let new = self.lease(*space, *blob, *used, *limit);
                let outcome = new.map_or(Outcome::Full, |new| Outcome::Held { new, spare: false });
                self.from(*space, blob, &outcome, None);
                outcome
            }
            Change::Promise { space, blob, source, used } => {
                self.blobs.entry(blob.digest).or_insert(BlobRow { size: blob.size, lies: Lies::Away, doomed: 0 });
                let leases = &mut self.space(*space).leases;
                let new = !leases.contains_key(&blob.digest);
                let lease = leases.entry(blob.digest).or_insert(Lease { used: *used, held: false, source: None });
                lease.used = lease.used.max(*used);
                if !lease.held {
                    lease.source.get_or_insert_with(|| source.clone());
                }
                if new {
                    self.blob(&blob.digest).doomed = 0;
                }
                Outcome::Done
            }
            Change::Demote { space, digest } => {
                let Some(bytes) = self.blobs.get(digest).map(|row| row.size) else { return Outcome::Absent };
                match self.space(*space).leases.get_mut(digest) {
                    Some(lease) if lease.held && lease.source.is_some() => lease.held = false,
                    _ => return Outcome::Kept,
                }
                let mut leases = self.spaces.values().filter_map(|space| space.leases.get(digest));
                if leases.any(|lease| lease.held) {
                    return Outcome::Freed { bytes, gone: None };
                }
                let lies = std::mem::replace(&mut self.blob(digest).lies, Lies::Away);
                Outcome::Freed { bytes, gone: lies.location() }
            }
            Change::Open { space, node, kind, part, children, last } => {
                self.open(*space, *node, *kind, (*part, *last), children)
            }
            Change::Bind { space, list, at, .. } => self.bind(*space, list, *at),
            Change::Unbind { space, name, when, unused_since, .. } => {
                let Some((row, _)) = self.space(*space).names.get(name) else { return Outcome::Absent };
                if !allows(*when, Some(row)) {
                    return Outcome::Conflict;
                }
                if unused_since.is_some_and(|since| row.used > since) {
                    return Outcome::Kept;
                }
                let (_, roots) = self.space(*space).names.remove(name).expect("it was just there");
                Outcome::Fell(self.fallen(*space, &roots))
            }
            Change::Touch { space, leases, names } => {
                let space = self.space(*space);
                for (digest, at) in leases {
                    space.leases.entry(*digest).and_modify(|lease| lease.used = lease.used.max(*at));
                }
                for (name, at) in names {
                    space.names.entry(name.clone()).and_modify(|(row, _)| row.used = row.used.max(*at));
                }
                Outcome::Done
            }
            Change::Reap { space, digest, unused_since } => self.reap(*space, digest, *unused_since),
            Change::Doom { digest, mark } => match self.blobs.get(digest) {
                None => Outcome::Absent,
                Some(_) if self.leases(digest) > 0 => Outcome::Kept,
                Some(_) => {
                    self.blob(digest).doomed = *mark;
                    Outcome::Done
                }
            },
            Change::Forget { digest, mark } => {
                let Some(row) = self.blobs.get(digest) else { return Outcome::Absent };
                if row.doomed != *mark || *mark == 0 || self.leases(digest) > 0 {
                    return Outcome::Kept;
                }
                let at = row.lies.location();
                self.blobs.remove(digest);
                self.aliases.retain(|_, of| of != digest);
                Outcome::Forgot(at)
            }
            Change::Lose { digest, at, .. } => match self.blobs.get_mut(digest) {
                None => Outcome::Absent,
                Some(row) if row.lies == Lies::Away || row.lies.location() != *at => Outcome::Kept,
                Some(row) => {
                    row.lies = Lies::Away;
                    Outcome::Done
                }
            },
            Change::Park(row) => {
                self.uploads.insert((row.space, row.id.clone()), row.clone());
                Outcome::Done
            }
            Change::Take { space, id } => {
                let taken = self.uploads.remove(&(*space, id.clone()));
                taken.map_or(Outcome::Absent, |_| Outcome::Done)
            }
            Change::Token { token, .. } => {
                let known = self.tokens.entry(token.id.clone()).or_insert_with(|| token.clone());
                known.until = token.until;
                known.grants.clone_from(&token.grants);
                Outcome::Done
            }
            Change::TrimJournal { .. } => Outcome::Done,
        }
    }

    /// Who brought a blob that is held now.
    fn from(&mut self, id: NamespaceId, blob: &Blob, outcome: &Outcome, source: Option<String>) {
        if let (Outcome::Held { .. }, Some(lease)) = (outcome, self.space(id).leases.get_mut(&blob.digest)) {
            lease.source = source;
        }
    }

    /// Whether the lease is new; `None` beyond the limit.
    fn lease(&mut self, id: NamespaceId, blob: Blob, used: Time, limit: u64) -> Option<bool> {
        let new = !self.spaces[&id].leases.get(&blob.digest).is_some_and(|lease| lease.held);
        if new && self.totals(id).0 + blob.size > limit {
            return None;
        }
        let entry = Lease { used, held: true, source: None };
        let lease = self.space(id).leases.entry(blob.digest).or_insert(entry);
        lease.held = true;
        lease.used = lease.used.max(used);
        if new {
            self.blob(&blob.digest).doomed = 0;
        }
        Some(new)
    }

    fn claim(
        &mut self,
        id: NamespaceId,
        blob: Blob,
        place: &Place,
        used: Time,
        limit: u64,
        aliases: &[(String, Vec<u8>)],
    ) -> Outcome {
        if matches!(place, Place::At(at) if at.epoch.0 != self.epoch) {
            return Outcome::Dead;
        }
        let (before, spare) = (self.blobs.get(&blob.digest).cloned(), self.here(&blob.digest));
        if !spare {
            let lies = match place {
                Place::Row(bytes) => Lies::Row(bytes.clone()),
                Place::At(at) => Lies::At(*at),
            };
            self.blobs.insert(blob.digest, BlobRow { size: blob.size, lies, doomed: 0 });
        }
        let Some(new) = self.lease(id, blob, used, limit) else {
            match before {
                Some(row) => self.blobs.insert(blob.digest, row),
                None => self.blobs.remove(&blob.digest),
            };
            return Outcome::Full;
        };
        for alias in aliases {
            self.aliases.insert(alias.clone(), blob.digest);
        }
        Outcome::Held { new, spare }
    }

    fn open(
        &mut self,
        id: NamespaceId,
        node: Digest,
        kind: KindId,
        (part, last): (u32, bool),
        children: &[Child],
    ) -> Outcome {
        if !self.here(&node) || !self.spaces[&id].leases.contains_key(&node) {
            return Outcome::Incomplete(vec![node]);
        }
        let parts: Vec<u32> = self.spaces[&id]
            .nodes
            .range((node, kind, 0)..=(node, kind, u32::MAX))
            .map(|((.., part), _)| *part)
            .collect();
        if parts.contains(&part) {
            return Outcome::Done;
        }
        if parts.len() != part as usize {
            return Outcome::Kept;
        }
        let missing = self.missing(id, children);
        if !missing.is_empty() {
            return Outcome::Incomplete(missing);
        }
        let children = children.iter().map(|child| child.blob.digest).collect();
        self.space(id).nodes.insert((node, kind, part), Part { last, children });
        Outcome::Done
    }

    fn bind(&mut self, id: NamespaceId, list: &[Binding], at: Time) -> Outcome {
        for binding in list {
            if !allows(binding.when, self.spaces[&id].names.get(&binding.name).map(|(row, _)| row)) {
                return Outcome::Conflict;
            }
            let missing = self.missing(id, &binding.roots);
            if !missing.is_empty() {
                return Outcome::Incomplete(missing);
            }
        }
        let mut fallen = Vec::new();
        for binding in list {
            let row = NameRow { pointer: binding.pointer.clone(), bound: at, used: at };
            let held = binding.roots.iter().filter(|_| binding.holds);
            let roots = held.map(|child| child.blob.digest).collect();
            if let Some((_, old)) = self.space(id).names.insert(binding.name.clone(), (row, roots)) {
                fallen.extend(self.fallen(id, &old));
            }
        }
        Outcome::Fell(fallen)
    }

    fn reap(&mut self, id: NamespaceId, digest: &Digest, since: Time) -> Outcome {
        let space = &self.spaces[&id];
        let Some(lease) = space.leases.get(digest).cloned() else { return Outcome::Absent };
        if space.holders(digest) > 0 || lease.used > since {
            return Outcome::Kept;
        }
        let space = self.space(id);
        let gone = space.nodes.extract_if(.., |(node, ..), _| node == digest);
        let lowered: Vec<Digest> = gone.flat_map(|(_, part)| part.children).collect();
        let fallen = self.fallen(id, &lowered);
        self.space(id).leases.remove(digest);
        let freed = if lease.held { self.blobs[digest].size } else { 0 };
        Outcome::Reaped { freed, fallen, bare: self.leases(digest) == 0 }
    }
}

fn allows(when: When, row: Option<&NameRow>) -> bool {
    match when {
        When::Always => true,
        When::Absent => row.is_none(),
        When::Is(digest) => row.is_some_and(|row| row.pointer.blob.digest == digest),
    }
}

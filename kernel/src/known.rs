//! The catalog, with its names remembered: reads of what is asked for often go to no other thread and to no disk.
//!
//! Invariants: all changes go through here, and one process owns the catalog; a name is forgotten before a change of it
//! is sent and not learned again before that has ended, so that nobody is told what was before a change that somebody
//! was told of. What was asked before a change and is answered after it is not learned either.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::{
    Catalog, Change, Digest, KindId, LeaseRow, Link, Location, Name, NameRow, NamespaceId, NamespaceRow, Outcome,
    Result, Time, TokenRow, UploadRow,
};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Bytes of names and rows that are kept: some 50,000 of a registry's.
const KEPT: u64 = 16 << 20;
/// What a name and its row take beside what they point at.
const ROW: u64 = 256;
/// A change ends what was asked meanwhile for an unrelated name of the same shard.
const SHARDS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(NamespaceId, Name);

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Option<NameRow>> for Weight {
    fn weight(&self, key: &Key, row: &Option<NameRow>) -> u64 {
        let beside = row.as_ref().map_or(0, |row| {
            let pointer = &row.pointer;
            pointer.note.len() + pointer.also.len() * size_of::<Link>()
        });
        ROW + (key.1.as_str().len() + beside) as u64
    }
}

/// What is being changed just now.
#[derive(Default)]
struct Shard {
    /// By how many.
    changing: HashMap<Key, u32>,
    /// Counts changes that have ended.
    generation: u64,
}

/// Names and what they are bound to, also to nothing.
struct Names {
    kept: Cache<Key, Option<NameRow>, Weight>,
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Default for Names {
    fn default() -> Self {
        let items = usize::try_from(KEPT / ROW / 2).unwrap_or(0);
        Self {
            kept: Cache::with_weighter(items, KEPT, Weight),
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Names {
    /// Protects what is being changed; never held across an await.
    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to come back with for [`Names::learn`]; `None` while it is being changed.
    fn look(&self, key: &Key) -> Option<u64> {
        let shard = self.shard(key);
        (!shard.changing.contains_key(key)).then_some(shard.generation)
    }

    fn learn(&self, key: Key, row: Option<NameRow>, seen: Option<u64>) {
        let shard = self.shard(&key);
        if seen == Some(shard.generation) && !shard.changing.contains_key(&key) {
            self.kept.insert(key, row);
        }
    }

    fn begin(&self, keys: &[Key]) {
        for key in keys {
            let mut shard = self.shard(key);
            *shard.changing.entry(key.clone()).or_default() += 1;
            self.kept.remove(key);
        }
    }

    fn end(&self, keys: Vec<Key>) {
        for key in keys {
            let mut shard = self.shard(&key);
            shard.generation += 1;
            if let Some(count) = shard.changing.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    shard.changing.remove(&key);
                }
            }
        }
    }
}

/// The names whose rows these change.
fn changed(changes: &[Change]) -> Vec<Key> {
    let mut keys = Vec::new();
    for change in changes {
        match change {
            Change::Bind { space, list, .. } => keys.extend(list.iter().map(|one| Key(*space, one.name.clone()))),
            Change::Unbind { space, name, .. } => keys.push(Key(*space, name.clone())),
            Change::Touch { space, names, .. } => keys.extend(names.iter().map(|(name, _)| Key(*space, name.clone()))),
            Change::Begin
            | Change::Claim { .. }
            | Change::Hold { .. }
            | Change::Promise { .. }
            | Change::Demote { .. }
            | Change::Open { .. }
            | Change::Reap { .. }
            | Change::Doom { .. }
            | Change::Forget { .. }
            | Change::Lose { .. }
            | Change::Park(_)
            | Change::Take { .. }
            | Change::Token { .. }
            | Change::TrimJournal { .. } => {}
        }
    }
    keys
}

/// A catalog that remembers names.
pub(crate) struct Known {
    catalog: Arc<dyn Catalog>,
    names: Names,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({:?})", self.catalog)
    }
}

impl Known {
    pub(crate) fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog, names: Names::default() }
    }
}

#[async_trait]
impl Catalog for Known {
    /// Dropped before its end, it leaves its names as being changed: when that ends is then not known, and they are
    /// asked for each time.
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Outcome>> {
        let keys = changed(&changes);
        self.names.begin(&keys);
        let outcomes = self.catalog.apply(changes).await;
        self.names.end(keys);
        outcomes
    }

    fn spare(&self) -> u64 {
        self.catalog.spare()
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceRow> {
        self.catalog.namespace(name).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>> {
        self.catalog.namespaces().await
    }

    async fn leases(&self, space: NamespaceId, digests: Vec<Digest>, bytes: bool) -> Result<Vec<Option<LeaseRow>>> {
        self.catalog.leases(space, digests, bytes).await
    }

    async fn page_leases(&self, space: NamespaceId, after: i64, limit: usize) -> Result<(Vec<LeaseRow>, Option<i64>)> {
        self.catalog.page_leases(space, after, limit).await
    }

    async fn names(&self, space: NamespaceId, names: Vec<Name>) -> Result<Vec<Option<NameRow>>> {
        let mut rows = Vec::with_capacity(names.len());
        let mut asked = Vec::new();
        for name in names {
            let key = Key(space, name);
            if let Some(row) = self.names.kept.get(&key) {
                rows.push(row);
            } else {
                let seen = self.names.look(&key);
                asked.push((rows.len(), key, seen));
                rows.push(None);
            }
        }
        if asked.is_empty() {
            return Ok(rows);
        }
        let wanted = asked.iter().map(|(_, key, _)| key.1.clone()).collect();
        for ((index, key, seen), row) in asked.into_iter().zip(self.catalog.names(space, wanted).await?) {
            rows[index].clone_from(&row);
            self.names.learn(key, row, seen);
        }
        Ok(rows)
    }

    async fn list(
        &self,
        space: NamespaceId,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(Name, NameRow)>> {
        self.catalog.list(space, prefix, after, limit).await
    }

    async fn bare(&self, limit: usize) -> Result<Vec<Digest>> {
        self.catalog.bare(limit).await
    }

    async fn placed(&self, at: Vec<Location>) -> Result<Vec<bool>> {
        self.catalog.placed(at).await
    }

    async fn alias(&self, algorithm: &str, bytes: &[u8]) -> Result<Option<Digest>> {
        self.catalog.alias(algorithm, bytes).await
    }

    async fn uploads(&self, one: Option<(NamespaceId, String)>, before: Option<Time>) -> Result<Vec<UploadRow>> {
        self.catalog.uploads(one, before).await
    }

    async fn tokens(&self, hash: Option<Digest>) -> Result<Vec<TokenRow>> {
        self.catalog.tokens(hash).await
    }

    async fn lost_below(&self, space: NamespaceId, roots: Vec<Digest>) -> Result<Vec<Digest>> {
        self.catalog.lost_below(space, roots).await
    }

    async fn open_nodes(&self, space: NamespaceId, nodes: Vec<(Digest, KindId)>) -> Result<Vec<bool>> {
        self.catalog.open_nodes(space, nodes).await
    }

    async fn backup(&self, to: PathBuf) -> Result<()> {
        self.catalog.backup(to).await
    }

    async fn holders(&self, space: NamespaceId, digest: Digest) -> Result<(Vec<Name>, Vec<Digest>)> {
        self.catalog.holders(space, digest).await
    }
}

#[cfg(test)]
mod tests {
    use model::{Blob, KindId, Pointer};

    use super::*;

    fn key() -> Key {
        Key(NamespaceId(1), Name::new("oci/a:1").expect("a name"))
    }

    fn row() -> Option<NameRow> {
        Some(NameRow { pointer: Pointer::new(Blob::EMPTY, KindId::BYTES), bound: Time(1), used: Time(1) })
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_learned_after_it() {
        let names = Names::default();
        let seen = names.look(&key());
        names.begin(&[key()]);
        names.learn(key(), row(), seen);
        assert_eq!(names.kept.get(&key()), None, "while it is being changed");
        names.end(vec![key()]);
        names.learn(key(), row(), seen);
        assert_eq!(names.kept.get(&key()), None, "nor after");
        names.learn(key(), row(), names.look(&key()));
        assert_eq!(names.kept.get(&key()), Some(row()));
        names.begin(&[key()]);
        assert_eq!(names.kept.get(&key()), None, "forgotten before the change is sent");
    }

    #[test]
    fn two_who_change_a_name_both_have_to_end() {
        let names = Names::default();
        names.begin(&[key()]);
        names.begin(&[key()]);
        names.end(vec![key()]);
        assert_eq!(names.look(&key()), None);
        names.end(vec![key()]);
        assert!(names.look(&key()).is_some());
    }
}

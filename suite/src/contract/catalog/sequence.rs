//! Seeded sequences of changes, compared with the catalog made of maps: each outcome, and at the end every row.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{
    Binding, Blob, Catalog, Change, Child, Digest, Epoch, Idle, KindId, LeaseRow, Link, Location, NamespaceId, Need,
    Outcome, Place, Pointer, Retention, Time, TokenRow, UploadRow, When,
};
use rand::RngExt;
use rand::rngs::StdRng;

use super::shadow::{Lies, Shadow};
use crate::sample::{blob, bytes, chance, name};

const KINDS: [KindId; 2] = [KindId(0x7f01), KindId(0x7f02)];
const NAMES: [&str; 5] = ["a", "a/b", "ä", "z\u{10ffff}", "Ω"];

struct Dice {
    chance: StdRng,
    spaces: Vec<NamespaceId>,
    now: i64,
}

impl Dice {
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.chance.random_range(0..list.len())]
    }

    fn content(&mut self) -> Bytes {
        let seed = self.chance.random_range(0..9);
        bytes(seed, 10 + seed as usize * 7)
    }

    fn blob(&mut self) -> Blob {
        let mut blob = blob(&self.content());
        blob.size += u64::from(self.chance.random_range(0..20) == 0);
        blob
    }

    fn digest(&mut self) -> Digest {
        self.blob().digest
    }

    fn time(&mut self) -> Time {
        self.now += 1;
        Time(self.now - self.chance.random_range(0..6))
    }

    fn location(&mut self, digest: Digest, epoch: u32) -> Location {
        Location { digest, epoch: Epoch(epoch), counter: self.chance.random_range(0..3) }
    }

    fn children(&mut self) -> Vec<Child> {
        let count = self.chance.random_range(0..4);
        let node = |dice: &mut Self| dice.chance.random_bool(0.3).then(|| dice.of(&KINDS));
        (0..count).map(|_| Child { blob: self.blob(), node: node(self) }).collect()
    }

    fn when(&mut self) -> When {
        match self.chance.random_range(0..4) {
            0 => When::Absent,
            1 => When::Is(self.digest()),
            _ => When::Always,
        }
    }

    fn binding(&mut self) -> Binding {
        let (keep, end) = (self.chance.random_range(0..5), self.time());
        let pointer = Pointer {
            blob: self.blob(),
            kind: self.of(&[KindId::BYTES, KINDS[0]]),
            note: self.content(),
            also: vec![Link { blob: self.blob(), kind: KINDS[1], need: self.of(&[Need::Must, Need::May]) }],
            keep: [Retention::Firm, Retention::Loose, Retention::Until(end), Retention::Weak, Retention::With][keep],
        };
        Binding {
            name: name(self.of(&NAMES)),
            pointer,
            when: self.when(),
            roots: self.children(),
            holds: self.chance.random_bool(0.8),
        }
    }

    fn change(&mut self, shadow: &Shadow) -> Change {
        let (space, used, limit) = (self.of(&self.spaces.clone()), self.time(), self.of(&[0, 60, 200, u64::MAX]));
        let digest = self.digest();
        let at = match self.chance.random_range(0..4) {
            0 => None,
            1 => Some(self.location(digest, shadow.epoch)),
            _ => shadow.blobs.get(&digest).and_then(|row| row.lies.location()),
        };
        match self.chance.random_range(0..34) {
            0 => Change::Begin,
            1..=8 => {
                let content = self.content();
                let epoch = shadow.epoch - u32::from(self.chance.random_range(0..10) == 0);
                let at = self.location(blob(&content).digest, epoch);
                let aliases = self.chance.random_bool(0.2).then(|| ("md5".to_owned(), vec![at.counter as u8]));
                let place = if self.chance.random() { Place::At(at) } else { Place::Row(content.clone()) };
                let aliases = aliases.into_iter().collect();
                let source = self.chance.random_bool(0.3).then(|| format!("up {limit}"));
                Change::Claim { space, blob: blob(&content), place, used, limit, aliases, source }
            }
            9 => Change::Hold { space, blob: self.blob(), used, limit },
            10 | 11 => Change::Promise { space, blob: blob(&self.content()), source: format!("up {limit}"), used },
            12 => Change::Demote { space, digest },
            13..=16 => Change::Open {
                space,
                node: digest,
                kind: self.of(&KINDS),
                part: self.of(&[0, 0, 0, 1, 2]),
                children: self.children(),
                last: self.chance.random_bool(0.7),
            },
            17..=19 => {
                let list = (0..self.of(&[1, 1, 2, 3])).map(|_| self.binding()).collect();
                Change::Bind { space, list, at: used, by: "suite".into() }
            }
            20 | 21 => {
                let unused_since = self.chance.random_bool(0.4).then(|| self.time());
                let (name, when) = (name(self.of(&NAMES)), self.when());
                Change::Unbind { space, name, when, unused_since, at: used, by: "suite".into() }
            }
            22 => {
                let leases = vec![(digest, used), (self.digest(), self.time())];
                Change::Touch { space, leases, names: vec![(name(self.of(&NAMES)), used)] }
            }
            23..=26 => Change::Reap { space, digest, unused_since: Time(self.now - self.chance.random_range(0..20)) },
            27 => Change::Doom { digest, mark: self.chance.random_range(1..4) },
            28 => Change::Forget { digest, mark: self.chance.random_range(0..4) },
            29 | 30 => Change::Lose { digest, at, now: used },
            31 => {
                let (id, stage) = (format!("up{}", limit % 7), (Epoch(1), used.0 as u64));
                Change::Park(UploadRow { space, id, stage, offset: 5, until: used })
            }
            32 => Change::Take { space, id: format!("up{}", limit % 7) },
            _ if self.chance.random_bool(0.3) => Change::TrimJournal { before: used },
            _ => {
                let id = self.of(&["t", "u"]);
                let token = TokenRow {
                    id: id.into(),
                    hash: blob(id.as_bytes()).digest,
                    label: id.into(),
                    grants: format!("{limit}"),
                    made: Time(1),
                    until: self.chance.random_bool(0.5).then_some(used),
                };
                Change::Token { token, at: used, by: "suite".into() }
            }
        }
    }
}

/// The order in which leases fall is the catalog's own.
fn sorted(outcome: Outcome) -> Outcome {
    let sort = |mut fallen: Vec<Idle>| {
        fallen.sort_unstable();
        fallen.dedup();
        fallen
    };
    match outcome {
        Outcome::Fell(fallen) => Outcome::Fell(sort(fallen)),
        Outcome::More(fallen) => Outcome::More(sort(fallen)),
        Outcome::Reaped { freed, fallen, bare } => Outcome::Reaped { freed, fallen: sort(fallen), bare },
        other => other,
    }
}

/// Runs a sequence on a fresh catalog; returns what the catalog must now say, for [`same`] after a restart too.
///
/// # Panics
/// When catalog and maps disagree.
pub async fn run(catalog: &dyn Catalog, seed: u64) -> Shadow {
    let mut shadow = Shadow::default();
    let mut dice = Dice { chance: chance(seed), spaces: Vec::new(), now: 1000 };
    for name in ["one", "two"] {
        let id = catalog.namespace(name).await.expect("makes a namespace").id;
        shadow.spaces.insert(id, Default::default());
        dice.spaces.push(id);
    }
    assert_eq!(catalog.apply(vec![Change::Begin]).await.expect("begins"), [shadow.apply(&Change::Begin)]);
    for step in 0..40 {
        let count = dice.chance.random_range(1..10);
        let mut ahead = shadow.clone();
        let mut changes = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..count {
            let change = dice.change(&ahead);
            wanted.push(sorted(ahead.apply(&change)));
            changes.push(change);
        }
        let found: Vec<Outcome> =
            catalog.apply(changes.clone()).await.expect("applies").into_iter().map(sorted).collect();
        for (change, (found, wanted)) in changes.iter().zip(found.iter().zip(&wanted)) {
            assert_eq!(found, wanted, "seed {seed}, step {step}: {change:#?}");
        }
        shadow = ahead;
    }
    same(catalog, &shadow, seed).await;
    shadow
}

/// Compares every row.
///
/// # Panics
/// When they differ.
pub async fn same(catalog: &dyn Catalog, shadow: &Shadow, seed: u64) {
    let digests: Vec<Digest> = (0..9).map(|seed| blob(&bytes(seed, 10 + seed as usize * 7)).digest).collect();
    let rows = catalog.namespaces().await.expect("lists");
    for (id, space) in &shadow.spaces {
        let row = rows.iter().find(|row| row.id == *id).expect("the namespace is there");
        assert_eq!((row.used, row.leases, row.lost), shadow.totals(*id), "seed {seed}: totals");
        let wanted: Vec<Option<LeaseRow>> = digests.iter().map(|digest| lease_row(shadow, *id, digest)).collect();
        assert_eq!(catalog.leases(*id, digests.clone(), true).await.expect("looks up"), wanted, "seed {seed}");
        let (mut paged, mut after) = (Vec::new(), 0);
        while let (page, Some(last)) = catalog.page_leases(*id, after, 2).await.expect("pages") {
            paged.extend(page);
            after = last;
        }
        paged.sort_unstable_by_key(|row| row.blob);
        let mut wanted: Vec<LeaseRow> = wanted.into_iter().flatten().collect();
        wanted.iter_mut().for_each(|row| row.bytes = None);
        wanted.sort_unstable_by_key(|row| row.blob);
        assert_eq!(paged, wanted, "seed {seed}: paged");
        let listed = catalog.list(*id, String::new(), None, 100).await.expect("lists");
        let wanted: Vec<_> = space.names.iter().map(|(name, (row, _))| (name.clone(), row.clone())).collect();
        assert_eq!(listed, wanted, "seed {seed}: names");
        for roots in digests.windows(2) {
            let lost =
                |digest: &Digest| !shadow.here(digest) && space.leases.get(digest).is_some_and(|lease| lease.held);
            let wanted: BTreeSet<Digest> = space.below(roots).into_iter().filter(lost).collect();
            let found = catalog.lost_below(*id, roots.to_vec()).await.expect("walks");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted, "seed {seed}: lost below");
        }
        for digest in &digests {
            let (names, nodes) = catalog.holders(*id, *digest).await.expect("looks up");
            let found = (names.into_iter().collect(), nodes.into_iter().collect::<BTreeSet<_>>());
            assert_eq!(found, space.held_by(digest), "seed {seed}: holders");
        }
        let nodes: Vec<_> = digests.iter().flat_map(|digest| KINDS.map(|kind| (*digest, kind))).collect();
        let open: Vec<bool> = nodes.iter().map(|(digest, kind)| space.open(digest, *kind)).collect();
        assert_eq!(catalog.open_nodes(*id, nodes).await.expect("looks up"), open, "seed {seed}: open nodes");
    }
    let bare: BTreeSet<Digest> = catalog.bare(100).await.expect("looks up").into_iter().collect();
    let wanted = shadow.blobs.keys().filter(|digest| shadow.leases(digest) == 0).copied().collect();
    assert_eq!(bare, wanted, "seed {seed}: bare");
    let epoch = Epoch(shadow.epoch);
    let asked = digests.iter().flat_map(|digest| (0..3).map(|counter| Location { digest: *digest, epoch, counter }));
    let asked: Vec<Location> = asked.collect();
    let is = |at: &Location| shadow.blobs.get(&at.digest).is_some_and(|row| row.lies == Lies::At(*at));
    let wanted: Vec<bool> = asked.iter().map(is).collect();
    assert_eq!(catalog.placed(asked).await.expect("looks up"), wanted, "seed {seed}: placed");
    for alias in 0..3 {
        let wanted = shadow.aliases.get(&("md5".to_owned(), vec![alias])).copied();
        assert_eq!(catalog.alias("md5", &[alias]).await.expect("looks up"), wanted, "seed {seed}: alias");
    }
    let mut uploads = catalog.uploads(None, None).await.expect("lists");
    uploads.sort_unstable_by_key(|row| (row.space, row.id.clone()));
    assert_eq!(uploads, shadow.uploads.values().cloned().collect::<Vec<_>>(), "seed {seed}: uploads");
    for row in shadow.uploads.values() {
        let one = catalog.uploads(Some((row.space, row.id.clone())), None).await.expect("looks up");
        assert_eq!(one, std::slice::from_ref(row));
        let early = catalog.uploads(None, Some(row.until)).await.expect("looks up");
        assert!(early.iter().all(|other| other.until < row.until));
    }
    let mut tokens = catalog.tokens(None).await.expect("lists");
    tokens.sort_unstable_by_key(|token| token.id.clone());
    assert_eq!(tokens, shadow.tokens.values().cloned().collect::<Vec<_>>(), "seed {seed}: tokens");
    for token in &tokens {
        assert_eq!(catalog.tokens(Some(token.hash)).await.expect("looks up"), std::slice::from_ref(token));
    }
}

fn lease_row(shadow: &Shadow, id: NamespaceId, digest: &Digest) -> Option<LeaseRow> {
    let space = &shadow.spaces[&id];
    let (lease, row) = (space.leases.get(digest)?, &shadow.blobs[digest]);
    Some(LeaseRow {
        blob: Blob { digest: *digest, size: row.size },
        here: row.lies != Lies::Away,
        at: row.lies.location(),
        bytes: if let Lies::Row(bytes) = &row.lies { Some(bytes.clone()) } else { None },
        source: lease.source.clone(),
        held: lease.held,
        holders: space.holders(digest),
        used: lease.used,
    })
}

//! What every Catalog promises. [`sequence`] compares any sequence of changes with a catalog made of maps;
//! the sentences say what maps cannot show: atomicity, neighbours, paging, large nodes, and what two hubs do at once.

pub mod sequence;
pub mod shadow;

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use model::{
    Binding, Blob, Catalog, Change, Child, Digest, Epoch, KindId, Location, Name, NamespaceId, Outcome, Place, Pointer,
    Result, Time, When,
};

use crate::sample::{blob, bytes, name};

const KIND: KindId = KindId(0x7f01);

/// Applies one change.
///
/// # Errors
/// When the catalog fails.
pub async fn one(catalog: &dyn Catalog, change: Change) -> Result<Outcome> {
    let mut outcomes = catalog.apply(vec![change]).await?;
    assert_eq!(outcomes.len(), 1, "an outcome for each change");
    Ok(outcomes.remove(0))
}

async fn expect(catalog: &dyn Catalog, change: Change, wanted: Outcome) {
    let text = format!("{change:?}");
    assert_eq!(one(catalog, change).await.expect("applies"), wanted, "{text}");
}

/// A namespace of its own for each sentence.
async fn space(catalog: &dyn Catalog, name: &str) -> NamespaceId {
    catalog.apply(vec![Change::Begin]).await.expect("begins");
    catalog.namespace(name).await.expect("makes a namespace").id
}

fn child(blob: Blob) -> Child {
    Child { blob, node: None }
}

fn claim(space: NamespaceId, content: &Bytes) -> Change {
    let place = Place::Row(content.clone());
    Change::Claim {
        space,
        blob: blob(content),
        place,
        used: Time(1),
        limit: u64::MAX,
        aliases: Vec::new(),
        source: None,
    }
}

const NEW: Outcome = Outcome::Held { new: true, spare: false };

fn binding(text: &str, blob: Blob, when: When) -> Binding {
    Binding {
        name: name(text),
        pointer: Pointer::new(blob, KindId::BYTES),
        when,
        roots: vec![child(blob)],
        holds: true,
    }
}

fn bind(space: NamespaceId, list: Vec<Binding>) -> Change {
    Change::Bind { space, list, at: Time(5), by: "suite".into() }
}

/// A bind of several names binds all or none, and counts nothing when it is refused.
pub async fn binds_are_atomic(catalog: &dyn Catalog) {
    let space = space(catalog, "atomic").await;
    let content = bytes(1, 10);
    let (here, gone) = (blob(&content), blob(b"gone"));
    expect(catalog, claim(space, &content), NEW).await;
    let list = vec![binding("one", here, When::Always), binding("two", gone, When::Always)];
    expect(catalog, bind(space, list), Outcome::Incomplete(vec![gone.digest])).await;
    let list = vec![binding("one", here, When::Always), binding("two", here, When::Is(here.digest))];
    expect(catalog, bind(space, list), Outcome::Conflict).await;
    assert_eq!(catalog.names(space, vec![name("one"), name("two")]).await.expect("looks up"), [None, None]);
    assert_eq!(lease(catalog, space, here).await, Some(0), "a refused bind counts nothing");
    let list = vec![binding("one", here, When::Absent), binding("two", here, When::Absent)];
    expect(catalog, bind(space, list), Outcome::Fell(vec![])).await;
    assert_eq!(lease(catalog, space, here).await, Some(2));
    let list = vec![binding("three", here, When::Absent), binding("one", here, When::Absent)];
    expect(catalog, bind(space, list), Outcome::Conflict).await;
    assert_eq!(lease(catalog, space, here).await, Some(2));
    let names = vec![name("three"), name("one")];
    assert!(matches!(&catalog.names(space, names).await.expect("looks up")[..], [None, Some(_)]));
}

/// How often a blob is counted.
async fn lease(catalog: &dyn Catalog, space: NamespaceId, blob: Blob) -> Option<u64> {
    let rows = catalog.leases(space, vec![blob.digest], false).await.expect("looks up");
    rows.into_iter().flatten().next().map(|row| row.holders)
}

/// What is refused in an apply, or in another at the same time, takes nothing else with it.
pub async fn refusals_keep_to_themselves(catalog: &dyn Catalog) {
    let space = space(catalog, "refusals").await;
    let (first, second) = (bytes(1, 10), bytes(2, 10));
    // A size that no catalog can hold comes from a hostile link.
    let huge = Blob { digest: blob(b"huge").digest, size: u64::MAX };
    let dead = Location { digest: blob(&second).digest, epoch: Epoch(u32::MAX), counter: 0 };
    let stale = Change::Claim {
        space,
        blob: blob(&second),
        place: Place::At(dead),
        used: Time(1),
        limit: u64::MAX,
        aliases: Vec::new(),
        source: None,
    };
    let open = Change::Open {
        space,
        node: blob(&first).digest,
        kind: KIND,
        part: 0,
        children: vec![child(huge), child(blob(&second))],
        last: true,
    };
    let changes = vec![
        claim(space, &first),
        stale,
        bind(space, vec![binding("huge", huge, When::Always)]),
        open,
        bind(space, vec![binding("first", blob(&first), When::Is(blob(&second).digest))]),
        claim(space, &second),
        bind(space, vec![binding("first", blob(&first), When::Always)]),
    ];
    let wanted = [
        NEW,
        Outcome::Dead,
        Outcome::Incomplete(vec![huge.digest]),
        Outcome::Incomplete(vec![huge.digest, blob(&second).digest]),
        Outcome::Conflict,
        NEW,
        Outcome::Fell(vec![]),
    ];
    assert_eq!(catalog.apply(changes).await.expect("applies"), wanted);
    let row = catalog.namespace("refusals").await.expect("looks up");
    assert_eq!((row.used, row.leases, row.lost), (20, 2, 0));
}

/// Calls that come at once are all answered, each with its own outcomes in order, and share syncs.
pub async fn many_at_once(catalog: &dyn Catalog) {
    let space = space(catalog, "many").await;
    let calls = (0..400_u64).map(|seed| async move {
        let contents: Vec<Bytes> = (0..3).map(|part| bytes(seed * 3 + part, 50)).collect();
        let mut changes: Vec<Change> = contents.iter().map(|content| claim(space, content)).collect();
        changes.push(bind(space, vec![binding(&format!("n/{}", seed % 20), blob(&contents[0]), When::Absent)]));
        let outcomes = catalog.apply(changes).await.expect("applies");
        assert_eq!(outcomes[..3], [NEW, NEW, NEW]);
        u64::from(matches!(outcomes[3], Outcome::Fell(_)))
    });
    let bound: u64 = join_all(calls).await.into_iter().sum();
    assert_eq!(bound, 20, "of those who bind an absent name, one does");
    let row = catalog.namespace("many").await.expect("looks up");
    assert_eq!((row.used, row.leases), (400 * 3 * 50, 1200));
    assert_eq!(catalog.list(space, "n/".into(), None, 100).await.expect("lists").len(), 20);
}

/// Prefixes are ranges of bytes, also at the edges of Unicode; pages go on where they ended.
pub async fn lists_are_ranges(catalog: &dyn Catalog) {
    let space = space(catalog, "lists").await;
    let content = bytes(1, 10);
    expect(catalog, claim(space, &content), NEW).await;
    let texts = [
        "a",
        "a/",
        "a/b",
        "a/c",
        "a0",
        "a\u{d7ff}",
        "a\u{d7ff}x",
        "a\u{e000}",
        "a\u{ffff}z",
        "a\u{10000}",
        "a\u{10ffff}",
        "a\u{10ffff}\u{10ffff}",
        "a%b",
        "a_b",
        "A/b",
        "b",
        "é",
        "e\u{301}",
        "ß",
        "\u{10ffff}",
        "\u{10ffff}z",
        "\u{feff}x",
    ];
    let list = texts.iter().map(|text| binding(text, blob(&content), When::Absent)).collect();
    expect(catalog, bind(space, list), Outcome::Fell(vec![])).await;
    let mut prefixes: BTreeSet<String> = texts.iter().map(ToString::to_string).collect();
    prefixes.extend(["", "a\u{e001}", "a%", "a_", "z", "\u{10fffe}"].map(String::from));
    for prefix in &prefixes {
        let mut wanted: Vec<&str> = texts.iter().copied().filter(|text| text.starts_with(prefix.as_str())).collect();
        wanted.sort_unstable();
        for limit in [1, 3, 100] {
            let mut found: Vec<Name> = Vec::new();
            loop {
                let after = found.last().map(ToString::to_string);
                let page = catalog.list(space, prefix.clone(), after, limit).await.expect("lists");
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                found.extend(page.into_iter().map(|(name, _)| name));
            }
            assert_eq!(found.iter().map(Name::as_str).collect::<Vec<_>>(), wanted, "{prefix:?} by {limit}");
        }
        for after in &prefixes {
            let page = catalog.list(space, prefix.clone(), Some(after.clone()), 100).await.expect("lists");
            let wanted: Vec<&str> = wanted.iter().copied().filter(|text| *text > after.as_str()).collect();
            let found: Vec<&str> = page.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(found, wanted, "{prefix:?} after {after:?}");
        }
    }
}

/// A node with very many children is opened in parts and reaped in steps; between them it is not open, and what it
/// counts is what its parts say.
pub async fn large_nodes(catalog: &dyn Catalog) {
    const PARTS: usize = 4;
    let space = space(catalog, "large").await;
    let node = bytes(0, 100);
    let leaves: Vec<Bytes> = (1..=PARTS as u64 * 1000).map(|seed| bytes(seed, 8)).collect();
    expect(catalog, claim(space, &node), NEW).await;
    catalog.apply(leaves.iter().map(|leaf| claim(space, leaf)).collect()).await.expect("claims");
    let node = blob(&node).digest;
    let open = |part: usize| Change::Open {
        space,
        node,
        kind: KIND,
        part: part as u32,
        children: leaves[part * 1000..(part + 1) * 1000].iter().map(|leaf| child(blob(leaf))).collect(),
        last: part + 1 == PARTS,
    };
    let is_open = async || catalog.open_nodes(space, vec![(node, KIND)]).await.expect("looks up") == [true];
    let counted = async || {
        let digests: Vec<Digest> = leaves.iter().map(|leaf| blob(leaf).digest).collect();
        let rows = catalog.leases(space, digests, false).await.expect("looks up");
        rows.into_iter().flatten().map(|row| row.holders).sum::<u64>()
    };
    expect(catalog, open(1), Outcome::Kept).await;
    for part in 0..PARTS {
        assert!(!is_open().await);
        expect(catalog, open(part), Outcome::Done).await;
        expect(catalog, open(part), Outcome::Done).await;
        assert_eq!(counted().await, (part as u64 + 1) * 1000);
    }
    assert!(is_open().await);
    let as_node = Child { blob: Blob { digest: node, size: 100 }, node: Some(KIND) };
    let bound = Binding { roots: vec![as_node], ..binding("node", as_node.blob, When::Always) };
    expect(catalog, bind(space, vec![bound.clone()]), Outcome::Fell(vec![])).await;
    let reap = || Change::Reap { space, digest: node, unused_since: Time(9) };
    expect(catalog, reap(), Outcome::Kept).await;
    let unbind = Change::Unbind {
        space,
        name: name("node"),
        when: When::Always,
        unused_since: None,
        at: Time(6),
        by: "suite".into(),
    };
    assert!(matches!(one(catalog, unbind).await, Ok(Outcome::Fell(fallen)) if fallen.len() == 1));
    let mut fell = 0;
    for step in 0.. {
        match one(catalog, reap()).await.expect("reaps") {
            Outcome::More(fallen) => {
                fell += fallen.len() as u64;
                assert!(!is_open().await, "a node that misses a part is not open");
                assert_eq!(counted().await, PARTS as u64 * 1000 - fell);
                let lost = one(catalog, bind(space, vec![bound.clone()])).await.expect("applies");
                assert_eq!(lost, Outcome::Incomplete(vec![node]), "nor is it bound");
            }
            Outcome::Reaped { fallen, bare, freed } => {
                assert!(bare && freed == 100 && step > 0, "in steps");
                fell += fallen.len() as u64;
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fell, counted().await), (PARTS as u64 * 1000, 0));
}

/// Two hubs on one catalog: whatever their changes' order, sums and guards hold.
pub async fn two_hubs(catalog: &dyn Catalog, seed: u64) {
    let space = space(catalog, &format!("two hubs {seed}")).await;
    let hub = |who: u64| async move {
        let mut held = Vec::new();
        for round in 0..30_u64 {
            let content = bytes(1000 + (seed * 31 + round * 7) % 11, 100);
            let digest = blob(&content).digest;
            let changes = vec![
                Change::Claim {
                    space,
                    blob: blob(&content),
                    place: Place::Row(content),
                    used: Time(round as i64),
                    limit: 500,
                    aliases: Vec::new(),
                    source: None,
                },
                bind(space, vec![binding(&format!("{}", round % 3), Blob { digest, size: 100 }, When::Always)]),
                Change::Reap { space, digest, unused_since: Time(100) },
                Change::Doom { digest, mark: 1 },
            ];
            let outcomes = catalog.apply(changes).await.expect("applies");
            let held_now = matches!(outcomes[0], Outcome::Held { .. });
            assert_eq!(held_now, matches!(outcomes[1], Outcome::Fell(_)), "hub {who}: {outcomes:?}");
            if let Outcome::Fell(fallen) = &outcomes[1] {
                assert_eq!(outcomes[2], Outcome::Kept, "a bound lease was reaped");
                held.extend(fallen.iter().map(|idle| idle.blob.digest));
            }
            for digest in held.drain(..) {
                let reap = Change::Reap { space, digest, unused_since: Time(100) };
                let mark = (round * 2 + who) as i64;
                let changes = vec![reap, Change::Doom { digest, mark }, Change::Forget { digest, mark }];
                catalog.apply(changes).await.expect("applies");
            }
        }
    };
    futures::join!(hub(1), hub(2));
    let row = catalog.namespace(&format!("two hubs {seed}")).await.expect("looks up");
    let (mut used, mut after) = (0, 0);
    loop {
        let (page, last) = catalog.page_leases(space, after, 2).await.expect("pages");
        let Some(last) = last else { break };
        after = last;
        used += page.iter().filter(|row| row.held).map(|row| row.blob.size).sum::<u64>();
        assert!(page.iter().all(|row| row.here));
    }
    assert_eq!(row.used, used, "the total is the sum");
    assert!(used <= 500, "the limit held");
    for (_, row) in catalog.list(space, String::new(), None, 10).await.expect("lists") {
        let lost = catalog.lost_below(space, vec![row.pointer.blob.digest]).await.expect("walks");
        assert_eq!(lost, [], "what is bound is here");
    }
}

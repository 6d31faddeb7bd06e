//! What every Store promises. Differences between stores are parameters; there are none so far.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::TryStreamExt;
use model::{Digest, Epoch, Location, Meaning, Result, Span, Store};
use rand::RngExt;

use crate::sample::{blob, bytes, chance, collect};

/// Where these bytes go.
fn at(bytes: &[u8], counter: u64) -> Location {
    Location { digest: blob(bytes).digest, epoch: Epoch(1), counter }
}

async fn read(store: &dyn Store, at: &Location, size: u64, span: Span) -> Result<Bytes> {
    collect(store.get(at, size, span).await?).await
}

async fn whole(store: &dyn Store, at: &Location, bytes: &[u8]) -> bool {
    let size = bytes.len() as u64;
    read(store, at, size, Span::whole(size)).await.is_ok_and(|found| found == bytes)
}

async fn scan(store: &dyn Store) -> HashSet<Location> {
    let all: Vec<Location> = store.scan().try_collect().await.expect("the scan ends");
    let set: HashSet<Location> = all.iter().copied().collect();
    assert_eq!(all.len(), set.len(), "a scan lists each location once");
    set
}

async fn staged(store: &dyn Store) -> Vec<(Epoch, u64)> {
    let mut staged = store.staged().await.expect("the staged are listed");
    staged.sort_unstable();
    staged
}

/// What is put can be read, whole and in spans, and a put of many is a put of each.
pub async fn put_and_get(store: &dyn Store) {
    let blobs: Vec<Bytes> = [0, 1, 100, 70_000, 300_000].map(|size| bytes(size as u64, size)).to_vec();
    let list = blobs.iter().zip(0..).map(|(bytes, counter)| (at(bytes, counter), bytes.clone())).collect();
    store.put(list).await.expect("puts");
    for (bytes, counter) in blobs.iter().zip(0..) {
        let (at, size) = (at(bytes, counter), bytes.len() as u64);
        assert!(whole(store, &at, bytes).await, "{at}");
        for (offset, len) in [(0, 0), (size, 0), (size / 3, size / 2), (size.saturating_sub(1), size.min(1))] {
            let found = read(store, &at, size, Span { offset, len }).await.expect("the span is inside");
            assert_eq!(found, bytes.slice(offset as usize..(offset + len) as usize), "{offset}+{len} of {size}");
        }
    }
    store.put(Vec::new()).await.expect("nothing is easily put");
}

/// Two writings of one blob have two places, and removing one leaves the other.
pub async fn places_never_collide(store: &dyn Store) {
    let bytes = bytes(1, 5000);
    let (one, two) = (at(&bytes, 1), at(&bytes, 2));
    let other = Location { epoch: Epoch(2), ..one };
    for place in [one, two, other] {
        store.put(vec![(place, bytes.clone())]).await.expect("puts");
    }
    assert_eq!(scan(store).await, HashSet::from([one, two, other]));
    store.remove(&[one]).await.expect("removes");
    assert_eq!(scan(store).await, HashSet::from([two, other]));
    assert!(whole(store, &two, &bytes).await && whole(store, &other, &bytes).await);
}

/// What is nowhere is Absent; what cannot be the blob is Lost; removing what is not there is fine.
pub async fn absent_and_lost(store: &dyn Store) {
    let bytes = bytes(1, 100);
    let place = at(&bytes, 1);
    let meaning = async |size: u64| match store.get(&place, size, Span { offset: 0, len: 1 }).await {
        Ok(_) => None,
        Err(error) => Some(error.meaning().clone()),
    };
    assert_eq!(meaning(100).await, Some(Meaning::Absent));
    store.remove(&[place, at(b"other", 7)]).await.expect("absent is fine");
    store.put(vec![(place, bytes)]).await.expect("puts");
    assert_eq!(meaning(100).await, None);
    for size in [99, 101, 0, u64::MAX] {
        assert_eq!(meaning(size).await, Some(Meaning::Lost), "{size}");
    }
    store.remove(&[place, place]).await.expect("removes");
    assert_eq!(meaning(100).await, Some(Meaning::Absent));
}

/// Bytes that arrive are readable when flushed, whole when settled, and then no longer staged.
pub async fn stages(store: &dyn Store) {
    let (bytes, stage_at) = (bytes(3, 600_000), (Epoch(1), 9));
    let size = bytes.len() as u64;
    for announced in [None, Some(size), Some(4 << 20)] {
        let mut stage = store.stage(stage_at, 0, announced).await.expect("begins");
        let view = stage.view();
        for piece in bytes.chunks(100_001) {
            stage.append(Bytes::copy_from_slice(piece)).await.expect("appends");
        }
        stage.flush().await.expect("flushes");
        let span = Span { offset: 99_999, len: 200_000 };
        let found = collect(view.body(span).expect("it was flushed")).await.expect("reads");
        assert_eq!(found, bytes.slice(99_999..299_999));
        stage.sync().await.expect("syncs");
        assert_eq!(staged(store).await, [stage_at]);
        assert!(scan(store).await.is_empty(), "what is staged is not stored");
        let place = at(&bytes, 1);
        stage.settle(place, size).await.expect("settles");
        assert_eq!(scan(store).await, HashSet::from([place]));
        assert!(staged(store).await.is_empty(), "what is settled is not staged");
        assert!(whole(store, &place, &bytes).await);
        store.remove(&[place]).await.expect("removes");
    }
}

/// What rests is cut to where it goes on, and what is shorter than that is an error.
pub async fn resumes(store: &dyn Store) {
    let (bytes, stage_at) = (bytes(4, 300_000), (Epoch(1), 4));
    let mut stage = store.stage(stage_at, 0, None).await.expect("begins");
    stage.append(bytes.slice(..200_000)).await.expect("appends");
    stage.append(Bytes::from_static(b"never synced")).await.expect("appends");
    stage.sync().await.expect("syncs");
    drop(stage);
    assert_eq!(staged(store).await, [stage_at], "dropping leaves the pieces");
    for (stage_at, offset) in [(stage_at, 200_013), ((Epoch(1), 5), 1)] {
        let error = store.stage(stage_at, offset, None).await.expect_err("there is less than that");
        assert_eq!(error.meaning(), &Meaning::Lost);
    }
    let mut stage = store.stage(stage_at, 200_000, None).await.expect("goes on");
    stage.append(bytes.slice(200_000..)).await.expect("appends");
    let place = at(&bytes, 2);
    stage.settle(place, bytes.len() as u64).await.expect("settles");
    assert!(whole(store, &place, &bytes).await, "what lay beyond the offset was cut off");
}

/// Discarded bytes are gone; discarding what is not there is fine; many can be staged at a time.
pub async fn discards(store: &dyn Store) {
    let all: Vec<_> = (0..5).map(|counter| (Epoch(3), counter)).collect();
    for at in &all {
        let mut stage = store.stage(*at, 0, Some(2 << 20)).await.expect("begins");
        stage.append(bytes(at.1, 1000)).await.expect("appends");
        stage.flush().await.expect("flushes");
    }
    assert_eq!(staged(store).await, all);
    for at in &all[1..] {
        store.discard(*at).await.expect("discards");
        store.discard(*at).await.expect("absent is fine");
    }
    assert_eq!(staged(store).await, all[..1]);
    store.discard(all[0]).await.expect("discards");
}

/// Any sequence of puts, uploads and removals is what a map makes of it.
pub async fn equals_a_map(store: &dyn Store, seed: u64) {
    let mut chance = chance(seed);
    let mut map: HashMap<Location, Bytes> = HashMap::new();
    let mut rests: HashMap<(Epoch, u64), Bytes> = HashMap::new();
    for counter in 0..60 {
        let content = bytes(chance.random_range(0..6), chance.random_range(0..3) * 40_000 + 10);
        let place = Location { epoch: Epoch(seed as u32), ..at(&content, counter) };
        let stage_at = (place.epoch, counter);
        match chance.random_range(0..6) {
            0 | 1 => {
                store.put(vec![(place, content.clone())]).await.expect("puts");
                map.insert(place, content);
            }
            2 => {
                let half = content.len() / 2;
                let mut stage = store.stage(stage_at, 0, None).await.expect("begins");
                stage.append(content.slice(..half)).await.expect("appends");
                stage.sync().await.expect("syncs");
                rests.insert(stage_at, content.slice(..half));
            }
            3 => {
                let Some(from) = rests.keys().min().copied() else { continue };
                let before = rests.remove(&from).expect("it was just there");
                let keep = chance.random_range(0..=before.len());
                let mut stage = store.stage(from, keep as u64, None).await.expect("goes on");
                stage.append(content.clone()).await.expect("appends");
                let whole: Bytes = [&before[..keep], &content[..]].concat().into();
                let place = Location { digest: blob(&whole).digest, ..place };
                stage.settle(place, whole.len() as u64).await.expect("settles");
                map.insert(place, whole);
            }
            4 => {
                let Some(gone) = map.keys().min().copied() else { continue };
                store.remove(&[gone]).await.expect("removes");
                map.remove(&gone);
            }
            _ => {
                let Some(gone) = rests.keys().max().copied() else { continue };
                store.discard(gone).await.expect("discards");
                rests.remove(&gone);
            }
        }
    }
    assert_eq!(scan(store).await, map.keys().copied().collect(), "seed {seed}");
    let mut wanted: Vec<_> = rests.into_keys().collect();
    wanted.sort_unstable();
    assert_eq!(staged(store).await, wanted, "seed {seed}");
    for (place, bytes) in &map {
        assert!(whole(store, place, bytes).await, "seed {seed}: {place}");
    }
    store.remove(&map.into_keys().collect::<Vec<_>>()).await.expect("removes");
    for at in wanted {
        store.discard(at).await.expect("discards");
    }
    empty(store).await;
}

/// Nothing is left.
pub async fn empty(store: &dyn Store) {
    assert_eq!(staged(store).await, [], "staged bytes leaked");
    assert!(scan(store).await.is_empty(), "bytes leaked");
}

/// A digest that is a blob of no test.
#[must_use]
pub fn stranger() -> Digest {
    Digest::new([0x5a; 32])
}

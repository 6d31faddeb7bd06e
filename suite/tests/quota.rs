//! What goes when room is needed, in which order, and what never goes: sections 9 and 10 of the notes on REAPI, at
//! the kernel's own verbs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernel::{Claim, Hub, Namespace, Settings};
use model::{Blob, KindId, Meaning, Name, Pointer, Retention, Time, When};
use stores::Memory;
use suite::fault::Gated;
use suite::sample::{blob, bytes, hub, hub_in, main_of, name, quick_dir, settings, tick};
use suite::toy::Toy;
use tempfile::TempDir;
use tokio::time::timeout;

const MB: usize = 1_000_000;

/// A hub with a limit.
async fn limited(limit: usize) -> (Hub, Namespace, TempDir) {
    with(settings(limit as u64)).await
}

async fn with(settings: Settings) -> (Hub, Namespace, TempDir) {
    let directory = quick_dir();
    let catalog = catalogs::Plan::new(directory.path().join("catalog.db")).open().expect("a step of the test");
    let hub = hub(catalog, Memory::default(), settings).await.expect("a step of the test");
    let space = main_of(&hub);
    (hub, space, directory)
}

async fn put(space: &Namespace, bytes: &Bytes) -> model::Result<()> {
    tick();
    space.put(vec![(blob(bytes), bytes.clone())]).await?.remove(0)
}

async fn stream(space: &Namespace, bytes: &Bytes, announced: bool) -> model::Result<Blob> {
    tick();
    let size = announced.then_some(bytes.len() as u64);
    let mut upload = space.upload(Claim { size, ..Claim::default() }).await?;
    upload.append(bytes.clone()).await?;
    upload.commit().await
}

async fn here(space: &Namespace, list: &[&Bytes]) -> Vec<bool> {
    tick();
    let digests: Vec<_> = list.iter().map(|bytes| blob(bytes).digest).collect();
    space.has(&digests).await.expect("a step of the test").iter().map(Option::is_some).collect()
}

async fn bind(space: &Namespace, text: &str, bytes: &Bytes, kind: KindId, keep: Retention) -> model::Result<()> {
    tick();
    let pointer = Pointer { keep, ..Pointer::new(blob(bytes), kind) };
    space.bind(vec![(name(text), pointer, When::Always)]).await
}

/// Binds a list of these blobs, which are put.
async fn artifact(space: &Namespace, text: &str, parts: &[&Bytes]) -> model::Result<Bytes> {
    for part in parts {
        put(space, part).await?;
    }
    let links: Vec<_> = parts.iter().map(|part| (blob(part), KindId::BYTES)).collect();
    let list = Bytes::from(Toy::list(&links));
    put(space, &list).await?;
    bind(space, text, &list, Toy::ID, Retention::Loose).await?;
    Ok(list)
}

async fn found(space: &Namespace, names: &[&str]) -> Vec<bool> {
    let mut found = Vec::new();
    for text in names {
        tick();
        found.push(space.find(&name(text)).await.is_ok());
    }
    found
}

async fn used(hub: &Hub) -> u64 {
    hub.plan("main", 0).await.expect("a step of the test").0
}

#[tokio::test]
async fn of_15_and_5_and_5_in_22_the_15_goes() {
    let (hub, space, _directory) = limited(22 * MB).await;
    let [large, one, two] = [(1, 15), (2, 5), (3, 5)].map(|(seed, size)| bytes(seed, size * MB));
    artifact(&space, "large", &[&large]).await.unwrap();
    artifact(&space, "one", &[&one]).await.unwrap();
    assert_eq!(found(&space, &["one", "large"]).await, [true, true]);
    // The finds made the large one the later; in the order of their writing it is the first.
    assert_eq!(found(&space, &["one"]).await, [true]);
    artifact(&space, "two", &[&two]).await.unwrap();
    assert_eq!(found(&space, &["large", "one", "two"]).await, [false, true, true]);
    assert_eq!(here(&space, &[&large, &one, &two]).await, [false, true, true]);
    assert!(used(&hub).await < 11 * MB as u64);
}

#[tokio::test]
async fn one_byte_more_than_the_quota_is_refused_and_evicts_nothing() {
    let (hub, space, _directory) = limited(1000).await;
    let (small, large) = (bytes(1, 900), bytes(2, 1001));
    put(&space, &small).await.unwrap();
    assert!(put(&space, &large).await.unwrap_err().is_full());
    for announced in [true, false] {
        assert!(stream(&space, &large, announced).await.unwrap_err().is_full());
    }
    assert_eq!(here(&space, &[&small, &large]).await, [true, false]);
    hub.close().await;
    put(&space, &bytes(3, 100)).await.unwrap();
    assert_eq!(used(&hub).await, 1000);
}

#[tokio::test]
async fn one_byte_less_than_the_quota_evicts_everything_else() {
    let (hub, space, _directory) = limited(1000).await;
    let old: Vec<Bytes> = (0..10).map(|seed| bytes(seed, 100)).collect();
    for one in &old {
        put(&space, one).await.unwrap();
    }
    let large = bytes(20, 999);
    put(&space, &large).await.unwrap();
    assert_eq!(here(&space, &old.iter().collect::<Vec<_>>()).await, [false; 10]);
    assert_eq!((here(&space, &[&large]).await, used(&hub).await), (vec![true], 999));
}

#[tokio::test]
async fn nine_tenths_of_the_quota_are_stored_with_or_without_their_size() {
    for announced in [true, false] {
        let (hub, space, _directory) = limited(10 * MB).await;
        let large = bytes(1, 9 * MB);
        stream(&space, &large, announced).await.unwrap();
        assert_eq!(here(&space, &[&large]).await, [true]);
        // Once more: what is here is not paid for twice.
        stream(&space, &bytes(2, 9 * MB), announced).await.unwrap();
        assert_eq!((here(&space, &[&large]).await, used(&hub).await), (vec![false], 9 * MB as u64));
    }
}

#[tokio::test]
async fn eviction_is_in_the_exact_order_of_use() {
    let (hub, space, _directory) = limited(1000).await;
    let blobs: Vec<Bytes> = (0..10).map(|seed| bytes(seed, 100)).collect();
    for one in &blobs {
        put(&space, one).await.unwrap();
    }
    // Each way of use, in an order of their own, all within a second.
    here(&space, &[&blobs[0]]).await;
    tick();
    space.read(blob(&blobs[1]).digest, 0, Some(1)).await.unwrap();
    tick();
    space.read_small(&[blob(&blobs[2])]).await.unwrap();
    put(&space, &blobs[3]).await.unwrap();
    stream(&space, &blobs[4], true).await.unwrap();
    let mut order: Vec<usize> = vec![5, 6, 7, 8, 9, 0, 1, 2, 3, 4];
    let wanted: Vec<Blob> = order.iter().map(|index| blob(&blobs[*index])).collect();
    let (_, plan) = hub.plan("main", usize::MAX).await.unwrap();
    let planned: Vec<_> = plan.into_iter().map(|(_, victim)| victim).collect();
    assert_eq!(planned, wanted.into_iter().map(kernel::Victim::Lease).collect::<Vec<_>>());
    for seed in 100..110 {
        put(&space, &bytes(seed, 100)).await.unwrap();
        order.remove(0);
        let target = used(&hub).await;
        assert_eq!(target, 1000);
        let (_, plan) = hub.plan("main", usize::MAX).await.unwrap();
        let left: Vec<_> = plan.iter().take(order.len()).map(|(_, victim)| victim.clone()).collect();
        let wanted: Vec<_> = order.iter().map(|index| kernel::Victim::Lease(blob(&blobs[*index]))).collect();
        assert_eq!(left, wanted);
    }
}

#[tokio::test]
async fn a_blob_of_two_names_survives_the_eviction_of_one() {
    let (_hub, space, _directory) = limited(10_000).await;
    let (shared, one, two) = (bytes(1, 3000), bytes(2, 3000), bytes(3, 3000));
    artifact(&space, "one", &[&shared, &one]).await.unwrap();
    artifact(&space, "two", &[&shared, &two]).await.unwrap();
    put(&space, &bytes(4, 3000)).await.unwrap();
    assert_eq!(found(&space, &["one", "two"]).await, [false, true]);
    assert_eq!(here(&space, &[&shared, &one, &two]).await, [true, false, true]);
}

#[tokio::test]
async fn what_was_pulled_a_moment_ago_survives() {
    let (_hub, space, _directory) = limited(10_000).await;
    let (first, second) = (bytes(1, 4000), bytes(2, 4000));
    artifact(&space, "first", &[&first]).await.unwrap();
    artifact(&space, "second", &[&second]).await.unwrap();
    assert_eq!(found(&space, &["first"]).await, [true]);
    artifact(&space, "third", &[&bytes(3, 4000)]).await.unwrap();
    assert_eq!(found(&space, &["first", "second", "third"]).await, [true, false, true]);
    assert_eq!(here(&space, &[&first, &second]).await, [true, false]);
}

#[tokio::test]
async fn a_use_is_remembered_over_a_restart() {
    let directory = quick_dir();
    let (first, second) = (bytes(1, 400), bytes(2, 400));
    for life in 0..2 {
        let hub = hub_in(directory.path(), false, settings(1000)).await.unwrap();
        let space = main_of(&hub);
        if life == 0 {
            artifact(&space, "first", &[&first]).await.unwrap();
            put(&space, &second).await.unwrap();
            assert_eq!(found(&space, &["first"]).await, [true]);
            here(&space, &[&first]).await;
        } else {
            put(&space, &bytes(3, 400)).await.unwrap();
            assert_eq!(found(&space, &["first"]).await, [true]);
            assert_eq!(here(&space, &[&first, &second]).await, [true, false]);
        }
        hub.close().await;
    }
}

#[tokio::test]
async fn firm_names_never_go_and_the_write_is_refused() {
    let (hub, space, _directory) = limited(1000).await;
    let (firm, loose) = (bytes(1, 600), bytes(2, 300));
    put(&space, &firm).await.unwrap();
    bind(&space, "firm", &firm, KindId::BYTES, Retention::Firm).await.unwrap();
    put(&space, &loose).await.unwrap();
    assert!(put(&space, &bytes(3, 500)).await.unwrap_err().is_full());
    assert!(put(&space, &bytes(3, 500)).await.unwrap_err().is_full(), "also when nothing is left to look at");
    assert_eq!(here(&space, &[&firm]).await, [true]);
    put(&space, &bytes(4, 400)).await.unwrap();
    space.unbind(&name("firm"), When::Always).await.unwrap();
    put(&space, &bytes(3, 500)).await.unwrap();
    assert_eq!((here(&space, &[&firm]).await, used(&hub).await), (vec![false], 900));
}

#[tokio::test]
async fn a_name_whose_time_is_over_is_absent_at_once() {
    let (hub, space, _directory) = limited(1000).await;
    let content = bytes(1, 600);
    put(&space, &content).await.unwrap();
    bind(&space, "over", &content, KindId::BYTES, Retention::Until(Time::now())).await.unwrap();
    bind(&space, "soon", &content, KindId::BYTES, Retention::Until(Time(i64::MAX))).await.unwrap();
    assert_eq!(found(&space, &["over", "soon"]).await, [false, true]);
    let names: Vec<Name> = space.list("", None, 10).await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [name("soon")]);
    hub.sweep().await.unwrap();
    assert!(hub.peek("main", &name("over")).await.unwrap_err().is_absent(), "and gone with the next sweep");
    put(&space, &bytes(2, 500)).await.unwrap();
    assert_eq!(found(&space, &["soon"]).await, [false], "under pressure it goes before its time");
}

#[tokio::test]
async fn a_rebind_frees_what_only_the_old_pointer_held() {
    let (_hub, space, _directory) = limited(1000).await;
    let (old, new, both) = (bytes(1, 300), bytes(2, 300), bytes(3, 100));
    let list = artifact(&space, "name", &[&old, &both]).await.unwrap();
    // Everything is younger than the old pointer's blobs, which nothing but the name protects.
    artifact(&space, "name", &[&new, &both]).await.unwrap();
    put(&space, &bytes(4, 300)).await.unwrap();
    assert_eq!(found(&space, &["name"]).await, [true]);
    assert_eq!(here(&space, &[&old, &list, &new, &both]).await, [false, false, true, true]);
}

/// Waits until this fits, because what takes its room is being given back.
async fn fits(space: &Namespace, bytes: &Bytes) {
    timeout(Duration::from_secs(10), async { while put(space, bytes).await.is_err() {} })
        .await
        .expect("a step of the test");
}

#[tokio::test]
async fn what_a_vanished_upload_had_reserved_is_given_back() {
    let (_hub, space, _directory) = limited(2 * MB).await;
    for (seed, size) in [(1, Some(1_900_000)), (2, None)] {
        let mut upload = space.upload(Claim { size, ..Claim::default() }).await.unwrap();
        upload.append(bytes(seed, MB + 500_000)).await.unwrap();
        assert!(put(&space, &bytes(seed + 10, MB)).await.unwrap_err().is_full(), "it counts while it lasts");
        drop(upload);
        fits(&space, &bytes(seed + 20, 2 * MB)).await;
    }
}

#[tokio::test]
async fn parked_uploads_count_also_after_a_restart() {
    let directory = quick_dir();
    {
        let hub = hub_in(directory.path(), false, settings(1000)).await.unwrap();
        let space = main_of(&hub);
        let claim = Claim { size: Some(700), resume: Some("rests".into()), ..Claim::default() };
        let mut upload = space.upload(claim).await.unwrap();
        upload.append(bytes(1, 600)).await.unwrap();
        upload.park().await.unwrap();
        // It counts with what came, not with what was announced.
        assert!(put(&space, &bytes(2, 401)).await.unwrap_err().is_full());
        put(&space, &bytes(3, 300)).await.unwrap();
        hub.close().await;
    }
    let hub = hub_in(directory.path(), false, settings(1000)).await.unwrap();
    let space = main_of(&hub);
    assert!(put(&space, &bytes(2, 401)).await.unwrap_err().is_full());
    put(&space, &bytes(2, 400)).await.unwrap();
    drop(space.upload(Claim { resume: Some("rests".into()), ..Claim::default() }).await.unwrap());
    fits(&space, &bytes(4, 1000)).await;
}

#[tokio::test]
async fn within_the_grace_nothing_goes() {
    let grace = Duration::from_secs(3600);
    let (_hub, space, _directory) = with(Settings { grace, ..settings(1000) }).await;
    put(&space, &bytes(1, 600)).await.unwrap();
    assert!(put(&space, &bytes(2, 600)).await.unwrap_err().is_full());
    assert_eq!(here(&space, &[&bytes(1, 600)]).await, [true]);
}

#[tokio::test]
async fn collecting_goes_down_to_the_target_whatever_the_limit() {
    for limit in [1000, usize::MAX] {
        let (hub, space, _directory) = limited(limit).await;
        for seed in 0..10 {
            put(&space, &bytes(seed, 100)).await.unwrap();
        }
        assert_eq!(hub.collect("main", 2000).await.unwrap(), 1000);
        assert_eq!(hub.collect("main", 350).await.unwrap(), 300);
        assert_eq!(here(&space, &[&bytes(6, 100), &bytes(7, 100)]).await, [false, true]);
        assert_eq!(hub.collect("main", 0).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bind_relies_on_is_not_evicted_and_nobody_waits_for_ever() {
    let directory = quick_dir();
    let catalog = catalogs::Plan::new(directory.path().join("catalog.db")).open().unwrap();
    let gate = Gated::new(Arc::new(catalog));
    let hub = hub(gate.clone(), Memory::default(), settings(1000)).await.unwrap();
    let space = main_of(&hub);
    let (pinned, free, large) = (bytes(1, 600), bytes(2, 300), bytes(3, 700));
    put(&space, &pinned).await.unwrap();
    put(&space, &free).await.unwrap();
    let binding = bind(&space, "name", &pinned, KindId::BYTES, Retention::Loose);
    let pressure = async {
        gate.arrival().await;
        let refused = timeout(Duration::from_secs(10), put(&space, &large)).await.expect("it is answered");
        assert!(matches!(refused.unwrap_err().meaning(), Meaning::Busy(_)), "it may fit later");
        assert_eq!(here(&space, &[&pinned, &free]).await, [true, false]);
        gate.open();
    };
    let (bound, ()) = futures::join!(binding, pressure);
    bound.unwrap();
    // Now the name may go, and with it what it held, although it was passed over before.
    put(&space, &large).await.unwrap();
    assert_eq!(here(&space, &[&pinned, &large]).await, [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binds_and_writers_under_constant_eviction_end() {
    let (_hub, space, _directory) = limited(5000).await;
    let writer = |seed: u64| {
        let space = space.clone();
        async move {
            let mut bound = 0;
            for round in 0..60 {
                let parts: Vec<Bytes> = (0..4).map(|part| bytes(seed * 1000 + round * 10 + part, 300)).collect();
                let text = format!("{seed}/{}", round % 5);
                bound += u32::from(artifact(&space, &text, &parts.iter().collect::<Vec<_>>()).await.is_ok());
            }
            bound
        }
    };
    let all = futures::future::join_all((0..4).map(writer));
    let bound = timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    assert!(bound.iter().all(|bound| *bound > 5), "{bound:?}");
}

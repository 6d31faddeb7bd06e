//! Uploads that are broken off at any moment: what rests is what was acknowledged, or nothing rests.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt};
use kernel::{Claim, Namespace};
use model::{Meaning, Store};
use rand::RngExt;
use stores::Disk;
use suite::fault::Tripped;
use suite::sample::{blob, bytes, chance, hub, hub_in, main_of, quick_dir, read, settings};
use tempfile::TempDir;

const ID: &str = "upload";

fn claim() -> Claim {
    Claim { resume: Some(ID.into()), ..Claim::default() }
}

fn catalog(directory: &TempDir) -> catalogs::Sqlite {
    catalogs::Plan::new(directory.path().join("catalog.db")).open().expect("a step of the test")
}

/// Parks the beginning of these bytes.
async fn park(space: &Namespace, content: &Bytes) {
    let mut upload = space.upload(claim()).await.expect("a step of the test");
    upload.append(content.clone()).await.expect("a step of the test");
    upload.park().await.expect("a step of the test");
}

/// Brings what is missing of these bytes.
async fn go_on(space: &Namespace, content: &Bytes) {
    let mut upload = space.resume(ID).await.expect("a step of the test");
    upload.append(content.slice(upload.offset() as usize..)).await.expect("a step of the test");
    assert_eq!(upload.commit().await.expect("a step of the test"), blob(content));
    assert_eq!(read(space, blob(content).digest).await.expect("a step of the test"), *content);
}

#[tokio::test]
async fn a_resume_that_fails_leaves_what_rests() {
    let directory = quick_dir();
    let store = Tripped::new(Arc::new(Disk::open(directory.path()).unwrap()));
    let hub = hub(catalog(&directory), store.clone(), settings(u64::MAX)).await.unwrap();
    let (space, content) = (main_of(&hub), bytes(1, 600_000));
    park(&space, &content.slice(..400_000)).await;
    store.trip();
    assert!(space.resume(ID).await.is_err());
    hub.close().await;
    assert_eq!(space.progress(ID).await.unwrap(), Some(400_000));
    go_on(&space, &content).await;
}

#[tokio::test]
async fn a_resume_that_is_broken_off_leaves_what_rests() {
    let directory = quick_dir();
    let hub = hub_in(directory.path(), false, settings(u64::MAX)).await.unwrap();
    let (space, content) = (main_of(&hub), bytes(1, 6_000_000));
    park(&space, &content.slice(..5_000_000)).await;
    for polls in (0..17).map(|power| 1 << power) {
        let mut resume = Box::pin(space.resume(ID));
        for _ in 0..polls {
            if (&mut resume).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(resume);
        hub.close().await;
        assert_eq!(space.progress(ID).await.unwrap(), Some(5_000_000), "after {polls}");
    }
    go_on(&space, &content).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_broken_off_counts_wholly_or_not_at_all() {
    let directory = quick_dir();
    let hub = hub_in(directory.path(), false, settings(u64::MAX)).await.unwrap();
    let (space, mut kept) = (main_of(&hub), 0);
    for seed in 0..200 {
        let (content, mut dice) = (bytes(seed, 900_000), chance(seed));
        let live = dice.random();
        let mut upload = space.upload(Claim { live, ..claim() }).await.unwrap();
        if dice.random() {
            upload.append(content.slice(..300_000)).await.unwrap();
            upload.park().await.unwrap();
            upload = space.resume(ID).await.unwrap();
        }
        let pieces = dice.random_range(0..4);
        for _ in 0..pieces {
            let from = upload.offset() as usize;
            upload.append(content.slice(from..from + 100_000)).await.unwrap();
        }
        let from = upload.offset() as usize;
        let last = content.slice(from..from + dice.random_range(1..150_000));
        let _ = upload.append(last).now_or_never();
        drop(upload);
        hub.close().await;
        match space.progress(ID).await.unwrap() {
            Some(_) => {
                kept += 1;
                go_on(&space, &content).await;
            }
            None => assert_eq!(space.resume(ID).await.unwrap_err().meaning(), &Meaning::Absent),
        }
    }
    assert!(kept > 50, "{kept}");
    // A file may have been made just when its upload went; the next start removes it.
    drop((space, hub));
    let hub = hub_in(directory.path(), false, settings(u64::MAX)).await.unwrap();
    hub.clean_up().await.unwrap();
    assert_eq!(Disk::open(directory.path()).unwrap().staged().await.unwrap(), [], "staged bytes leaked");
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing_to_resume() {
    let directory = quick_dir();
    let hub = hub_in(directory.path(), false, settings(1_000_000)).await.unwrap();
    let (space, content) = (main_of(&hub), bytes(1, 600_000));
    for resumed in [false, true] {
        let mut upload = space.upload(claim()).await.unwrap();
        upload.append(content.clone()).await.unwrap();
        if resumed {
            upload.park().await.unwrap();
            upload = space.resume(ID).await.unwrap();
        }
        hub.set_limit("main", 1000);
        assert!(upload.commit().await.unwrap_err().is_full());
        hub.set_limit("main", 1_000_000);
        hub.close().await;
        assert_eq!(space.progress(ID).await.unwrap(), None);
        assert_eq!(space.resume(ID).await.unwrap_err().meaning(), &Meaning::Absent);
    }
    park(&space, &content.slice(..10)).await;
    go_on(&space, &content).await;
    let store = Disk::open(directory.path()).unwrap();
    assert_eq!(store.staged().await.unwrap(), []);
    assert_eq!(store.scan().try_collect::<Vec<_>>().await.unwrap().len(), 1, "the bytes of failed commits leaked");
}

#[tokio::test]
async fn a_row_without_its_bytes_is_dropped() {
    let directory = quick_dir();
    let hub = hub_in(directory.path(), false, settings(1_000_000)).await.unwrap();
    let (space, content) = (main_of(&hub), bytes(1, 600_000));
    park(&space, &content.slice(..400_000)).await;
    // What a crash leaves between the move of the bytes and the end of the row.
    for file in fs::read_dir(directory.path().join("staging")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_eq!(space.resume(ID).await.unwrap_err().meaning(), &Meaning::Absent);
    hub.close().await;
    assert_eq!(space.progress(ID).await.unwrap(), None);
    assert_eq!(Disk::open(directory.path()).unwrap().staged().await.unwrap(), []);
    let all = bytes(2, 999_999);
    space.put(vec![(blob(&all), all)]).await.unwrap().remove(0).unwrap();
}

#[tokio::test]
async fn an_upload_of_what_is_here_does_not_vouch_for_the_bytes_that_are_here() {
    let directory = quick_dir();
    let content = bytes(1, 100_000);
    {
        let hub = hub_in(directory.path(), false, settings(u64::MAX)).await.unwrap();
        main_of(&hub).put(vec![(blob(&content), content.clone())]).await.unwrap().remove(0).unwrap();
    }
    let store = Disk::open(directory.path()).unwrap();
    let places: Vec<_> = store.scan().try_collect().await.unwrap();
    store.remove(&places).await.unwrap();
    store.put(vec![(places[0], vec![0; 100_000].into())]).await.unwrap();
    let hub = hub_in(directory.path(), false, settings(u64::MAX)).await.unwrap();
    let space = main_of(&hub);
    for _ in 0..2 {
        let mut upload = space.upload(Claim::default()).await.unwrap();
        upload.append(content.clone()).await.unwrap();
        upload.commit().await.unwrap();
        match read(&space, blob(&content).digest).await {
            Ok(found) => assert!(found == content, "wrong bytes were served"),
            Err(error) => assert_eq!(error.meaning(), &Meaning::Lost),
        }
    }
    assert_eq!(read(&space, blob(&content).digest).await.unwrap(), content, "healed by the second upload");
}

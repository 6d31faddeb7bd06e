//! Every Store obeys the contract: `Memory` and `Disk`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use futures::TryStreamExt;
use model::Store;
use stores::{Disk, Memory};
use suite::contract::store;
use suite::sample::{descriptors, quick_dir};

/// Runs a sentence on each store and looks for what it left open.
macro_rules! sentences {
    ($($sentence:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $sentence() {
            store::$sentence(&Memory::default()).await;
            let directory = quick_dir();
            store::$sentence(&Disk::open(directory.path()).unwrap()).await;
            assert_eq!(descriptors(directory.path()), [""; 0], "files stayed open");
        }
    )*};
}

sentences!(put_and_get, places_never_collide, absent_and_lost, stages, resumes, discards);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sequences_equal_a_map() {
    let directory = quick_dir();
    let disk = Disk::open(directory.path()).unwrap();
    for seed in 0..200 {
        store::equals_a_map(&Memory::default(), seed).await;
        // One directory for all, so that what one sequence leaks the next one finds.
        store::equals_a_map(&disk, seed).await;
    }
    assert_eq!(descriptors(directory.path()), [""; 0], "files stayed open");
    assert_eq!(files(directory.path()), BTreeSet::new(), "files leaked");
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let directory = quick_dir();
    let disk = Disk::open(directory.path()).unwrap();
    let theirs = ["blobs/README", "blobs/5a/lost+found", "blobs/5a/5a.1.2", "staging/.nfs0001", "staging/1.x", "notes"];
    for path in theirs {
        fs::write(directory.path().join(path), "theirs").unwrap();
    }
    fs::create_dir(directory.path().join("blobs/5a").join(format!("{}.1", store::stranger()))).unwrap();
    store::empty(&disk).await;
    store::equals_a_map(&disk, 1).await;
    let disk = Disk::open(directory.path()).unwrap();
    assert_eq!(disk.scan().try_collect::<Vec<_>>().await.unwrap(), []);
    assert_eq!(files(directory.path()), theirs.map(String::from).into());
}

#[tokio::test]
async fn a_store_of_another_life_is_found_again() {
    let directory = quick_dir();
    let disk = Disk::open(directory.path()).unwrap();
    store::places_never_collide(&disk).await;
    let before: BTreeSet<_> = disk.scan().try_collect().await.unwrap();
    let after: BTreeSet<_> = Disk::open(directory.path()).unwrap().scan().try_collect().await.unwrap();
    assert_eq!(before, after);
    assert_eq!(after.len(), 2);
}

#[tokio::test]
async fn a_missing_shard_directory_is_made_again() {
    let directory = quick_dir();
    drop(Disk::open(directory.path()).unwrap());
    // What a crash in the middle of the first start leaves.
    for shard in ["00", "5a"] {
        fs::remove_dir(directory.path().join("blobs").join(shard)).unwrap();
    }
    let disk = Disk::open(directory.path()).unwrap();
    for seed in 0..10 {
        store::equals_a_map(&disk, seed).await;
    }
    assert!(directory.path().join("blobs/00").is_dir());
}

/// All files below a directory.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("a step of the test") {
            let path = entry.expect("a step of the test").path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.insert(path.strip_prefix(root).expect("a step of the test").display().to_string());
            }
        }
    }
    found
}

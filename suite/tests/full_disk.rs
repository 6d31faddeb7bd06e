//! A full disk with the catalog on it: writes fail cleanly, reads, collecting and unbinding still work, and all heals
//! when space returns. Nothing that was acknowledged is lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use kernel::{Claim, Hub, Namespace, Settings};
use model::{Blob, KindId, Meaning, Name, Pointer, When};
use suite::sample::{blob, bytes, hub_in, main_of, name, read, settings};
use suite::tornfs::{TornFs, available};
use suite::toy::Toy;
use tempfile::TempDir;

const MB: u64 = 1 << 20;
/// Enough for the catalog's ballast of 16 MiB, which wants four times that.
const LARGE: u64 = 96 * MB;

struct Small {
    // In this order: what is open on it goes before it is unmounted.
    hub: Hub,
    space: Namespace,
    fs: TornFs,
    directory: TempDir,
    held: BTreeMap<u64, Bytes>,
    names: BTreeMap<u64, Name>,
}

async fn open(fs: &TornFs, reserve: u64) -> Hub {
    let settings = Settings { disk_reserve: reserve, ..settings(u64::MAX) };
    hub_in(&fs.path().join("data"), true, settings).await.expect("opens")
}

impl Small {
    async fn new(capacity: u64, reserve: u64) -> Self {
        let directory = tempfile::tempdir().expect("a place to mount");
        let fs = TornFs::mount(directory.path()).expect("mounts");
        fs.set_capacity(Some(capacity));
        std::fs::create_dir(fs.path().join("data")).expect("there is room so far");
        let hub = open(&fs, reserve).await;
        let space = main_of(&hub);
        Self { hub, space, fs, directory, held: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Puts or uploads a blob and binds a firm name to it, so that it cannot be evicted.
    async fn write(&mut self, seed: u64, size: usize) -> model::Result<()> {
        let content = bytes(seed, size);
        if seed.is_multiple_of(2) {
            self.space.put(vec![(blob(&content), content.clone())]).await?.remove(0)?;
        } else {
            let mut upload = self.space.upload(Claim::default()).await?;
            upload.append(content.clone()).await?;
            upload.commit().await?;
        }
        self.held.insert(seed, content.clone());
        let (name, root) = (name(&format!("n/{seed}")), blob(&content));
        let pointer = Pointer { keep: model::Retention::Firm, ..Pointer::new(root, KindId::BYTES) };
        self.space.bind(vec![(name.clone(), pointer, When::Always)]).await?;
        self.names.insert(seed, name);
        Ok(())
    }

    /// Writes until nothing fits, of no size.
    async fn fill(&mut self) {
        let mut seed = self.held.keys().max().map_or(0, |last| last + 1);
        for size in [1 << 20, 100_000, 30_000, 1_000] {
            let mut failures = 0;
            while failures < 3 {
                if let Err(error) = self.write(seed, size).await {
                    assert!(error.is_full(), "{error:?}");
                    failures += 1;
                }
                seed += 1;
                assert!(seed < 100_000, "the disk is never full");
            }
        }
    }

    async fn all_is_there(&self) {
        for content in self.held.values() {
            assert_eq!(read(&self.space, blob(content).digest).await.expect("it was acknowledged"), *content);
        }
        for (seed, name) in &self.names {
            let row = self.space.find(name).await.expect("it was acknowledged");
            assert_eq!(row.pointer.blob, blob(&self.held[seed]));
        }
    }

    /// Unbinds every second name, and forgets what only it held.
    async fn unbind_half(&mut self) -> usize {
        let half: Vec<u64> = self.names.keys().copied().step_by(2).collect();
        for seed in &half {
            let name = self.names.remove(seed).expect("it was bound");
            self.space.unbind(&name, When::Always).await.expect("unbinding works on a full disk");
        }
        half.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_no_writes_and_all_else_works() {
    if !available() {
        return;
    }
    let mut small = Small::new(LARGE, 0).await;
    small.fill().await;
    assert!(small.held.len() > 20, "{}", small.held.len());
    small.all_is_there().await;
    let content = bytes(1 << 50, 2 << 20);
    let refused = small.space.put(vec![(blob(&content), content.clone())]).await;
    assert!(refused.and_then(|mut each| each.remove(0)).unwrap_err().is_full());
    let removed = small.unbind_half().await;
    assert!(removed > 10);
    let before = small.hub.plan("main", 0).await.unwrap().0;
    let target: u64 = small.names.keys().map(|seed| small.held[seed].len() as u64).sum();
    let left = small.hub.collect("main", target).await.expect("collecting works on a full disk");
    assert!(left <= target && left < before, "{left} of {before}, down to {target}");
    small.held.retain(|seed, _| small.names.contains_key(seed));
    small.all_is_there().await;
    // The freed space is there for others at once.
    small.space.put(vec![(blob(&content), content.clone())]).await.unwrap().remove(0).expect("it fits again");
    assert_eq!(small.hub.check("main").await.unwrap().damaged, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_heals_when_space_returns() {
    if !available() {
        return;
    }
    let mut small = Small::new(LARGE, 0).await;
    small.fill().await;
    // Others take what little is left, so that not even the catalog's log can grow.
    let used = LARGE - free(&small.fs);
    small.fs.set_capacity(Some(used));
    let failed = small.write(1 << 40, 10).await.unwrap_err();
    assert!(failed.is_full(), "{failed:?}");
    small.all_is_there().await;
    small.unbind_half().await;
    small.held.retain(|seed, _| small.names.contains_key(seed));
    small.fs.set_capacity(Some(2 * LARGE));
    let seed = (1 << 40) + 2;
    loop {
        // The hub asks the disk at most ten times a second.
        match small.write(seed, 1 << 20).await {
            Ok(()) => break,
            Err(error) => assert!(error.is_full(), "{error:?}"),
        }
    }
    small.all_is_there().await;
    assert!(small.hub.ready().is_ok());
    let Small { hub, space, fs, directory, held, names } = small;
    hub.close().await;
    drop((space, hub));
    let data = fs.path().join("data");
    suite::sample::released(&data).await;
    let hub = open(&fs, 0).await;
    let again = Small { space: main_of(&hub), hub, fs, directory, held, names };
    again.all_is_there().await;
    again.hub.clean_up().await.unwrap();
    let checked = again.hub.check("main").await.unwrap();
    assert_eq!((checked.damaged, checked.orphans), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reserve_is_left_to_the_catalog() {
    if !available() {
        return;
    }
    let mut small = Small::new(LARGE, 4 * MB).await;
    small.fill().await;
    let left = free(&small.fs);
    assert!(left > 2 * MB, "only {left} bytes are left of the reserve");
    assert!(small.hub.ready().is_err_and(|why| why.contains("disk")));
    let removed = small.unbind_half().await;
    assert!(removed > 10);
    small.held.retain(|seed, _| small.names.contains_key(seed));
    small.all_is_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loose_blobs_make_room_on_a_full_disk() {
    if !available() {
        return;
    }
    let small = Small::new(LARGE, 4 * MB).await;
    let contents: Vec<Bytes> = (0..200).map(|seed| bytes(seed, 1 << 20)).collect();
    for content in &contents {
        small.space.put(vec![(blob(content), content.clone())]).await.unwrap().remove(0).expect("the oldest go");
    }
    let digests: Vec<_> = contents.iter().map(|content| blob(content).digest).collect();
    let here: Vec<bool> = small.space.has(&digests).await.unwrap().iter().map(Option::is_some).collect();
    let first = here.iter().position(|here| *here).unwrap();
    assert!(here[first..].iter().all(|here| *here), "the youngest stay");
    assert!((100..180).contains(&first), "{first} went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_meets_a_full_disk_leaves_nothing() {
    if !available() {
        return;
    }
    let mut small = Small::new(LARGE, 0).await;
    small.fill().await;
    for resume in [None, Some("rests".to_owned())] {
        for size in [None, Some(40 << 20)] {
            let claim = Claim { size, resume: resume.clone(), ..Claim::default() };
            let failed = upload(&small.space, claim).await.unwrap_err();
            assert_eq!(failed.meaning(), &Meaning::Full, "{failed:?}");
            small.hub.close().await;
        }
    }
    assert_eq!(small.space.progress("rests").await.unwrap().unwrap_or(0), 0);
    small.all_is_there().await;
    let list = Bytes::from(Toy::list(&[(Blob { size: 1, ..blob(b"none") }, KindId::BYTES)]));
    assert!(small.space.put(vec![(blob(&list), list)]).await.unwrap().remove(0).is_err_and(|error| error.is_full()));
}

async fn upload(space: &Namespace, claim: Claim) -> model::Result<Blob> {
    let mut upload = space.upload(claim).await?;
    for piece in 0..40 {
        upload.append(bytes(piece, 1 << 20)).await?;
    }
    upload.commit().await
}

fn free(fs: &TornFs) -> u64 {
    let room = rustix::fs::statvfs(fs.path()).expect("it is mounted");
    room.f_bavail * room.f_frsize
}

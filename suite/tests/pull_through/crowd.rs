//! Many ask for the same at once.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use suite::registry::{Fault, Image, Registry, digest};

use crate::client::{Pull, ask};
use crate::stage::{Stage, bytes, path, pull};

const CLIENTS: usize = 100;
/// MiB of the layer: enough that all clients are there while it comes. `ENTREPOT_CROWD_MIB=1024` is the real thing.
const SIZE: usize = 24;
/// MiB that the hub may take whatever the layer's size is; a release build takes less than half of it.
const MEMORY: u64 = 320;

fn size() -> usize {
    std::env::var("ENTREPOT_CROWD_MIB").ok().and_then(|size| size.parse().ok()).unwrap_or(SIZE) << 20
}

/// Blocks that differ, quickly made.
fn noise(length: usize) -> Vec<u8> {
    let mut block = bytes(1 << 20, 3);
    let mut all = Vec::with_capacity(length);
    for number in 0..length.div_ceil(1 << 20) {
        block[..8].copy_from_slice(&number.to_le_bytes());
        all.extend_from_slice(&block[..block.len().min(length - all.len())]);
    }
    all
}

fn one(length: usize) -> (Registry, Image) {
    let registry = Registry::start();
    let layer = noise(length);
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&layer]);
    (registry, image)
}

/// Reads a body and compares it on its way; true when all of it was right and it ended.
fn is_right(pull: &mut Pull, wanted: &[u8]) -> bool {
    let (mut at, mut right) = (0, true);
    let whole = pull.rest(|piece| {
        right &= wanted.get(at..at + piece.len()) == Some(piece);
        at += piece.len();
    });
    assert!(right, "a byte before {at} is wrong");
    whole && at == wanted.len()
}

#[test]
fn a_hundred_clients_cause_one_fetch_of_each_blob_and_memory_stays_flat() {
    let (registry, image) = one(size());
    let mut stage = Stage::patiently_before(&registry);
    let (port, host, start) = (stage.port(), registry.host(), Barrier::new(CLIENTS));
    // Hashed once and not by each client, who compares all bytes with the right ones.
    let blobs = [&image.config, &image.layers[0]].map(|blob| (digest(blob), blob));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                start.wait();
                let manifest = ask(port, "GET", &path(&host, "app", "manifests/latest"), &[], &[]);
                assert_eq!((manifest.status, manifest.body), (200, image.manifest.clone()));
                for (digest, blob) in &blobs {
                    let address = path(&host, "app", &format!("blobs/{digest}"));
                    let mut pull = Pull::begin(port, "GET", &address, &[], &[]);
                    assert_eq!(pull.status, 200);
                    assert!(is_right(&mut pull, blob));
                }
            });
        }
    });
    println!("{CLIENTS} clients, {} MiB each: {:?}, VmHWM {} MiB", size() >> 20, begun.elapsed(), stage.peak());
    for (digest, _) in &blobs {
        assert_eq!(registry.count(&format!("GET /v2/app/blobs/{digest}")), 1);
    }
    assert_eq!(registry.count("GET /v2/app/manifests/"), 1);
    assert!(stage.peak() < MEMORY, "{} MiB", stage.peak());
    assert!(begun.elapsed() < Duration::from_secs(600));
}

#[test]
fn those_who_vanish_take_nothing_from_those_who_stay() {
    let (registry, image) = one(8 << 20);
    let layer = digest(&image.layers[0]);
    // The connection breaks three times on the way, so that the fetch lasts longer than those who vanish.
    registry.fail(&format!("GET /v2/app/blobs/{layer}"), Fault::Break(2 << 20), 3);
    let stage = Stage::patiently_before(&registry);
    let (port, host, start) = (stage.port(), registry.host(), Barrier::new(CLIENTS));
    let blob = path(&host, "app", &format!("blobs/{layer}"));
    assert_eq!(ask(port, "GET", &path(&host, "app", "manifests/latest"), &[], &[]).status, 200);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (start, blob, image) = (&start, &blob, &image);
            scope.spawn(move || {
                start.wait();
                let mut pull = Pull::begin(port, "GET", blob, &[], &[]);
                assert_eq!(pull.status, 200);
                if number % 2 == 0 {
                    assert!(pull.piece(1000).is_ok_and(|piece| image.layers[0].starts_with(&piece)));
                    return;
                }
                assert!(is_right(&mut pull, &image.layers[0]));
            });
        }
    });
    assert_eq!(registry.count(&format!("GET /v2/app/blobs/{layer}")), 4, "one fetch, continued three times");
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
}

#[test]
fn the_first_who_asks_may_vanish() {
    let (registry, image) = one(3 << 20);
    let layer = digest(&image.layers[0]);
    registry.fail(&format!("GET /v2/app/blobs/{layer}"), Fault::Break(1 << 20), 1);
    let stage = Stage::patiently_before(&registry);
    let (port, host) = (stage.port(), registry.host());
    let blob = path(&host, "app", &format!("blobs/{layer}"));
    assert_eq!(ask(port, "GET", &path(&host, "app", "manifests/latest"), &[], &[]).status, 200);
    drop(Pull::begin(port, "GET", &blob, &[], &[]));
    assert!(is_right(&mut Pull::begin(port, "GET", &blob, &[], &[]), &image.layers[0]));
    assert_eq!(registry.count(&format!("GET /v2/app/blobs/{layer}")), 2, "one fetch, continued once");
}

#[test]
fn a_range_of_what_is_just_being_fetched_is_right() {
    let (registry, image) = one(4 << 20);
    let layer = digest(&image.layers[0]);
    registry.fail(&format!("GET /v2/app/blobs/{layer}"), Fault::Break(1 << 20), 2);
    let stage = Stage::patiently_before(&registry);
    let (port, host) = (stage.port(), registry.host());
    let blob = path(&host, "app", &format!("blobs/{layer}"));
    assert_eq!(ask(port, "GET", &path(&host, "app", "manifests/latest"), &[], &[]).status, 200);
    std::thread::scope(|scope| {
        for (first, last) in [(0, 0), (5, 99), (1 << 20, (3 << 20) - 1), ((4 << 20) - 10, (4 << 20) - 1)] {
            let (blob, image) = (&blob, &image);
            scope.spawn(move || {
                let range = format!("bytes={first}-{last}");
                let mut pull = Pull::begin(port, "GET", blob, &[("Range", &range)], &[]);
                assert_eq!(pull.status, 206);
                assert!(is_right(&mut pull, &image.layers[0][first..=last]), "{range}");
            });
        }
    });
    assert_eq!(registry.count(&format!("GET /v2/app/blobs/{layer}")), 3, "one fetch, continued twice");
}

#[test]
fn wrong_bytes_end_badly_for_all_who_follow_them() {
    let (registry, image) = one(2 << 20);
    let layer = digest(&image.layers[0]);
    registry.fail(&format!("GET /v2/app/blobs/{layer}"), Fault::OtherBytes, 1000);
    let stage = Stage::patiently_before(&registry);
    let (port, host) = (stage.port(), registry.host());
    let blob = path(&host, "app", &format!("blobs/{layer}"));
    assert_eq!(ask(port, "GET", &path(&host, "app", "manifests/latest"), &[], &[]).status, 200);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let blob = &blob;
            scope.spawn(move || {
                let ranges = [("Range", "bytes=7-1000")];
                let headers = if number % 2 == 0 { &ranges[..] } else { &[] };
                let mut pull = Pull::begin(port, "GET", blob, headers, &[]);
                let whole = pull.rest(|_| {});
                assert!(pull.status >= 500 || !whole, "{}: wrong bytes end cleanly", pull.status);
            });
        }
    });
    assert!(stage.file(&image.layers[0]).is_none(), "nothing of it stays");
    registry.heal();
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
}

//! Store, catalog and hub on a file system that loses what was not synced: nothing acknowledged is lost, no wrong byte
//! is served, every name is whole; and without any one of the syncs something is.

use std::path::Path;
use std::time::Instant;

use kernel::Settings;
use rand::RngExt;
use suite::ledger::Ledger;
use suite::sample::{chance, hub_in, settings};
use suite::tornfs::{TornFs, available};

/// Too little for the catalog's ballast, enough for all else.
const CAPACITY: u64 = 60 << 20;
/// Things that are done between two crashes, at most.
const STEPS: usize = 25;
/// Lives of a data directory.
const LIVES: u64 = 3;

/// A fault, and what is done to make it matter.
#[derive(Clone, Copy, Default)]
struct Fault {
    skip: Option<&'static str>,
    /// The first power cut comes only after this many operations.
    steps: Option<usize>,
}

fn settled(limit: u64) -> Settings {
    Settings { cached: 100, ..settings(limit) }
}

/// Lives and dies some times; says what was found wrong.
async fn live(seed: u64, fault: Fault) -> Result<usize, String> {
    let mut dice = chance(seed);
    let limit = if seed % 4 == 3 { 1_500_000 } else { u64::MAX };
    let mut ledger = Ledger::new(limit != u64::MAX);
    let mut image = None;
    for life in 0..=LIVES {
        let mount = tempfile::tempdir().expect("a place to mount");
        let fs = match image.take() {
            None => TornFs::mount(mount.path()),
            Some(image) => suite::tornfs::Image::mount(image, mount.path()),
        };
        let fs = fs.expect("mounts");
        fs.set_capacity(Some(CAPACITY));
        let directory = mount.path().join("data");
        let began = |cause: &dyn std::fmt::Display| format!("life {life} does not begin: {cause}");
        if life > 0 {
            // What the last crash left is looked at without any fault.
            std::fs::create_dir_all(&directory).map_err(|cause| began(&cause))?;
            let hub = hub_in(&directory, true, settled(limit)).await.map_err(|error| began(&error))?;
            ledger.holds(&hub).await.map_err(|wrong| format!("life {life}: {wrong}"))?;
            hub.close().await;
            if life == LIVES {
                break;
            }
        }
        fs.skip_syncs(fault.skip);
        work(&fs, &directory, &mut ledger, &mut dice, (limit, fault)).await;
        image = Some(fs.crash(seed * 7 + life));
    }
    Ok(ledger.len())
}

/// Works until the power is cut; the cut comes in the middle of something, or after all was done.
async fn work(
    fs: &TornFs,
    directory: &Path,
    ledger: &mut Ledger,
    dice: &mut rand::rngs::StdRng,
    (limit, fault): (u64, Fault),
) {
    if fault.steps.is_none() && dice.random_bool(0.7) {
        fs.halt_after(dice.random_range(1..900));
    }
    if std::fs::create_dir_all(directory).is_err() {
        return;
    }
    let Ok(hub) = hub_in(directory, true, settled(limit)).await else { return };
    for _ in 0..fault.steps.unwrap_or_else(|| dice.random_range(1..STEPS)) {
        if ledger.step(&hub, dice).await.is_err() {
            return;
        }
    }
}

fn run(seed: u64, fault: Fault) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(live(seed, fault))
}

#[test]
fn nothing_that_was_acknowledged_is_lost_in_a_crash() {
    if !available() {
        return;
    }
    let seeds: u64 = std::env::var("ENTREPOT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let (began, mut kept) = (Instant::now(), 0);
    for seed in 0..seeds {
        kept += run(seed, Fault::default()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
    println!("{seeds} data directories of {LIVES} lives each kept {kept} things, in {:?}", began.elapsed());
    assert!(kept as u64 > seeds * 10);
}

/// The seeds that it took to find a loss, and what it was.
fn finds_a_loss(fault: Fault) {
    if !available() {
        return;
    }
    let skip = fault.skip.unwrap_or_default();
    for seed in 0..60 {
        if let Err(wrong) = run(seed, fault) {
            println!("without the sync of {skip}, seed {seed}: {wrong}");
            return;
        }
    }
    panic!("nobody missed the sync of {skip}");
}

#[test]
fn the_sync_of_a_blobs_bytes_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/blobs/*.*"), ..Fault::default() });
}

#[test]
fn the_sync_of_a_blobs_name_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/blobs/*/"), ..Fault::default() });
}

#[test]
fn the_sync_of_the_shards_names_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/blobs/"), ..Fault::default() });
}

#[test]
fn the_sync_of_a_parked_uploads_bytes_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/staging/*.*"), ..Fault::default() });
}

#[test]
fn the_sync_of_a_parked_uploads_name_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/staging/"), ..Fault::default() });
}

#[test]
fn the_sync_of_the_catalogs_log_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/catalog.db-wal"), ..Fault::default() });
}

#[test]
fn the_sync_of_the_catalogs_name_is_needed() {
    finds_a_loss(Fault { skip: Some("/data/"), ..Fault::default() });
}

#[test]
fn the_sync_of_the_data_directorys_name_is_needed() {
    finds_a_loss(Fault { skip: Some("/"), ..Fault::default() });
}

#[test]
fn the_sync_of_the_catalog_itself_is_needed_once_its_log_goes_round() {
    finds_a_loss(Fault { skip: Some("/data/catalog.db"), steps: Some(150) });
}

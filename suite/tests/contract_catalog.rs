//! Every Catalog obeys the contract: `Sqlite`, shared and exclusive.

use std::fs;
use std::path::Path;

use catalogs::Plan;
use rusqlite::Connection;
use suite::contract::catalog::{self, sequence};
use suite::sample::{quick_dir, released};
use tempfile::TempDir;

fn plan(directory: &TempDir, exclusive: bool) -> Plan {
    Plan { exclusive, ..Plan::new(directory.path().join("catalog.db")) }
}

/// Runs a sentence both ways.
macro_rules! sentences {
    ($($sentence:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $sentence() {
            for exclusive in [false, true] {
                let directory = quick_dir();
                let catalog = plan(&directory, exclusive).open().unwrap();
                catalog::$sentence(&catalog).await;
            }
        }
    )*};
}

sentences!(binds_are_atomic, refusals_keep_to_themselves, many_at_once, lists_are_ranges, large_nodes);

async fn sequences(exclusive: bool) {
    for seed in 0..200 {
        let directory = quick_dir();
        let catalog = plan(&directory, exclusive).open().expect("a step of the test");
        let shadow = sequence::run(&catalog, seed).await;
        drop(catalog);
        released(directory.path()).await;
        // Opened again it says the same.
        let catalog = plan(&directory, exclusive).open().expect("a step of the test");
        sequence::same(&catalog, &shadow, seed).await;
        drop(catalog);
        released(directory.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sequences_equal_maps() {
    sequences(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sequences_equal_maps_on_one_connection() {
    sequences(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_at_once_keep_the_sums() {
    let directory = quick_dir();
    let catalog = plan(&directory, false).open().unwrap();
    for seed in 0..20 {
        catalog::two_hubs(&catalog, seed).await;
    }
}

/// All files of the directory with their bytes.
fn snapshot(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries =
        fs::read_dir(directory).expect("a step of the test").map(|entry| entry.expect("a step of the test").path());
    let mut files: Vec<_> =
        entries.map(|path| (path.display().to_string(), fs::read(&path).expect("a step of the test"))).collect();
    files.sort_unstable();
    files
}

#[tokio::test]
async fn a_newer_catalog_is_refused_before_it_is_touched() {
    for exclusive in [false, true] {
        let directory = quick_dir();
        drop(plan(&directory, exclusive).open().unwrap());
        released(directory.path()).await;
        let file = directory.path().join("catalog.db");
        let connection = Connection::open(&file).unwrap();
        connection.pragma_update(None, "user_version", 1_000).unwrap();
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
        drop(connection);
        let before = snapshot(directory.path());
        let error = plan(&directory, exclusive).open().unwrap_err();
        assert!(error.text().contains("newer"), "{error}");
        assert!(before == snapshot(directory.path()), "it was touched");
    }
}

#[tokio::test]
async fn a_strangers_database_is_refused_before_it_is_touched() {
    for exclusive in [false, true] {
        let directory = quick_dir();
        let file = directory.path().join("catalog.db");
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch("CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)").unwrap();
        drop(connection);
        let before = snapshot(directory.path());
        let error = plan(&directory, exclusive).open().unwrap_err();
        assert!(error.text().contains("another program"), "{error}");
        assert!(before == snapshot(directory.path()), "it was touched");
        fs::write(&file, "no database at all, but a text of some length".repeat(100)).unwrap();
        let before = snapshot(directory.path());
        assert!(plan(&directory, exclusive).open().is_err());
        assert!(before == snapshot(directory.path()), "it was touched");
    }
}

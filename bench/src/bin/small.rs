//! Where small blobs lie, measured: as files, one or many at a time, and as rows of the catalog, one or many at a
//! time. All ways are durable when they are counted. `small DIR [COUNT]` writes below DIR.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use model::{Blob, Catalog, Change, Digest, Epoch, Location, NamespaceId, Outcome, Place, Store, Time};
use sha2::{Digest as _, Sha256};

/// Blobs of one batch.
const BATCH: usize = 500;

fn blobs(seed: u64, count: u64) -> Vec<(Blob, Bytes)> {
    let blob = |number: u64| {
        let bytes = Bytes::from((seed << 32 | number).to_le_bytes().repeat(128));
        (Blob { digest: Digest::new(Sha256::digest(&bytes).into()), size: 1024 }, bytes)
    };
    (0..count).map(blob).collect()
}

async fn files(store: &dyn Store, blobs: Vec<(Blob, Bytes)>, batch: usize, first: u64) -> anyhow::Result<()> {
    let at = |index: usize, digest| Location { digest, epoch: Epoch(1), counter: first + index as u64 };
    let located: Vec<_> =
        blobs.into_iter().enumerate().map(|(index, (blob, bytes))| (at(index, blob.digest), bytes)).collect();
    for part in located.chunks(batch) {
        store.put(part.to_vec()).await?;
    }
    Ok(())
}

async fn rows(
    catalog: &dyn Catalog,
    space: NamespaceId,
    blobs: Vec<(Blob, Bytes)>,
    batch: usize,
) -> anyhow::Result<()> {
    for part in blobs.chunks(batch) {
        let claim = |(blob, bytes): &(Blob, Bytes)| Change::Claim {
            space,
            blob: *blob,
            place: Place::Row(bytes.clone()),
            used: Time::now(),
            limit: u64::MAX,
            aliases: Vec::new(),
            source: None,
        };
        let outcomes = catalog.apply(part.iter().map(claim).collect()).await?;
        ensure!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Held { new: true, .. })), "not claimed");
    }
    Ok(())
}

async fn timed(name: &str, count: u64, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let began = Instant::now();
    work.await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{name:<34} {rate:>8.0} blobs/s");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().context("usage: small DIR [COUNT]")?);
    let count: u64 = match arguments.next() {
        Some(count) => count.to_string_lossy().parse()?,
        None => 20_000,
    };
    std::fs::create_dir_all(&directory)?;
    let store = stores::Disk::open(directory.join("store"))?;
    let catalog = catalogs::Plan::new(directory.join("catalog.db")).open()?;
    let space = catalog.namespace("main").await?.id;
    let few = count / 10;
    timed("a file each", few, files(&store, blobs(1, few), 1, 0)).await?;
    timed("files, 500 at a time", count, files(&store, blobs(2, count), BATCH, few)).await?;
    timed("a row and transaction each", few, rows(&catalog, space, blobs(3, few), 1)).await?;
    timed("rows, 500 in a transaction", count, rows(&catalog, space, blobs(4, count), BATCH)).await?;
    Ok(())
}

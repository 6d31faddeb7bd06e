//! A load generator for any server that speaks the remote execution APIs, or is a registry of images. It prints a line for each workload:
//! its name, the rate or time, and the CPU seconds that the server's process spent on it.

mod discard;
mod process;
mod registry;
mod wire;
mod work;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, Subcommand};

use crate::process::Watched;
use crate::work::Target;

/// Loads a content store and says how it does.
#[derive(Debug, Parser)]
struct Options {
    /// The server, such as http://127.0.0.1:9090
    #[arg(long)]
    target: String,
    /// Its process, whose CPU time and memory are read from /proc
    #[arg(long)]
    pid: u32,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// FindMissingBlobs, batches of 1 KiB blobs, ByteStream of 256 MiB, memory
    Mix,
    /// Fill with this many small blobs
    Fill { blobs: u64 },
    /// Wait until the server answers a FindMissingBlobs for blobs that were filled in
    Ready { blobs: u64 },
    /// What clients of a registry of images do, at HOST:PORT
    Registry {
        /// Only the reads, of a server of files that serves this directory
        #[arg(long)]
        files: Option<PathBuf>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let watched = Watched::new(options.pid);
    match options.what {
        What::Mix => mix(&options.target, &watched).await?,
        What::Fill { blobs } => {
            let target = Target::connect(&options.target).await?;
            measure(&watched, "fill", blobs, "blobs/s", target.fill(blobs)).await?;
        }
        What::Registry { files: None } => registry::registry(options.target.parse()?, &watched).await?,
        What::Registry { files: Some(root) } => registry::files(options.target.parse()?, &watched, &root).await?,
        What::Ready { blobs } => {
            let began = Instant::now();
            let target = Target::wait(&options.target).await?;
            target.expect_present(blobs).await?;
            println!("ready\t{:.3}\ts\t{:.2}", began.elapsed().as_secs_f64(), watched.cpu_seconds()?);
        }
    }
    println!("memory\t{:.1}\tMiB\t0", watched.memory_mib()?);
    Ok(())
}

async fn mix(address: &str, watched: &Watched) -> anyhow::Result<()> {
    let target = Target::connect(address).await?;
    let small = 40_000;
    let batches = target.batches(small);
    measure(watched, "batch write 1 KiB", small, "blobs/s", target.write(&batches)).await?;
    measure(watched, "batch read 1 KiB", small, "blobs/s", target.read(&batches)).await?;
    let asked = 200 * work::ASKED;
    measure(watched, "find, all present", asked, "digests/s", target.find(&batches, 200)).await?;
    measure(watched, "find, all missing", asked, "digests/s", target.find_missing(200)).await?;
    let rounds = 4;
    let (large, digests) = target.large(rounds);
    let mib = rounds * (work::LARGE >> 20);
    measure(watched, "ByteStream write 256 MiB", mib, "MiB/s", target.stream_in(&large, &digests)).await?;
    measure(watched, "ByteStream read 256 MiB", mib, "MiB/s", target.stream_out(&digests)).await?;
    Ok(())
}

async fn measure(
    watched: &Watched,
    name: &str,
    amount: u64,
    unit: &str,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (began, before) = (Instant::now(), watched.cpu_seconds()?);
    work.await?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), watched.cpu_seconds()? - before);
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
    let rate = amount as f64 / took;
    println!("{name}\t{rate:.0}\t{unit}\t{cpu:.2}");
    Ok(())
}

//! Writes to a data directory until it is killed, and prints what was acknowledged, a line each:
//! `blob SEED SIZE`, `name NAME SEED`. A name's list is made of its seed, see [`suite::written`].

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use kernel::Claim;
use model::{KindId, Pointer, When};
use suite::sample::{blob, bytes, hub_in, main_of, name, settings};
use suite::toy::Toy;
use suite::written::{PARTS, list_of, part_of, size_of};

/// Writers at a time.
const WRITERS: u64 = 6;

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let directory: PathBuf = words.next().unwrap_or_default().into();
    let from: u64 = words.next().unwrap_or_default().parse()?;
    let began = Instant::now();
    let hub = hub_in(&directory, false, settings(u64::MAX)).await?;
    say(&format!("ready {}", began.elapsed().as_micros()))?;
    hub.tidy();
    let space = main_of(&hub);
    let write = |writer: u64| {
        let space = space.clone();
        async move {
            for round in 0.. {
                let seed = from + round * WRITERS + writer;
                let content = bytes(seed, size_of(seed));
                if seed.is_multiple_of(2) {
                    space.put(vec![(blob(&content), content.clone())]).await?.remove(0)?;
                } else {
                    let mut upload = space.upload(Claim::default()).await?;
                    for piece in content.chunks(100_000) {
                        upload.append(content.slice_ref(piece)).await?;
                    }
                    upload.commit().await?;
                }
                say(&format!("blob {seed} {}", content.len()))?;
                if seed.is_multiple_of(3) {
                    let parts: Vec<_> = (0..PARTS).map(|part| part_of(seed, part)).collect();
                    let list = list_of(seed);
                    let all = parts.iter().chain([&list]).map(|part| (blob(part), part.clone())).collect();
                    for result in space.put(all).await? {
                        result?;
                    }
                    let pointer = Pointer::new(blob(&list), Toy::ID);
                    space.bind(vec![(name(&format!("n/{seed}")), pointer, When::Always)]).await?;
                    say(&format!("name n/{seed} {seed}"))?;
                    let moving = Pointer::new(blob(&content), KindId::BYTES);
                    space.bind(vec![(name("moving"), moving, When::Always)]).await?;
                }
            }
            anyhow::Ok(())
        }
    };
    futures::future::try_join_all((0..WRITERS).map(write)).await?;
    Ok(())
}

/// A line that is out once it is said.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

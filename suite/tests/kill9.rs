//! A process that writes to a data directory is killed, again and again: nothing that it acknowledged is lost, no
//! byte is wrong, every name is whole, and the next start serves at once.
//!
//! This alone proves little, because the page cache survives a kill; `crash.rs` is the other half.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kernel::Hub;
use model::{Catalog, Store};
use rand::RngExt;
use suite::sample::{blob, bytes, chance, hub_in, main_of, name, quick_dir, read, released, settings};
use suite::written::{PARTS, list_of, part_of, size_of};

/// Lives are checked a few at a time; each is checked.
const EVERY: u64 = 10;
/// The longest start that is let pass, on a machine that does other things besides.
const START: Duration = Duration::from_secs(5);

/// What was acknowledged.
#[derive(Default)]
struct Said {
    blobs: BTreeSet<u64>,
    names: BTreeSet<u64>,
    starts: Vec<Duration>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().expect("the writer says numbers");
        match words[..] {
            ["ready", micros] => self.starts.push(Duration::from_micros(number(micros))),
            ["blob", seed, size] => {
                assert_eq!(number(size), size_of(number(seed)) as u64);
                self.blobs.insert(number(seed));
            }
            ["name", _, seed] => drop(self.names.insert(number(seed))),
            _ => panic!("the writer said {line:?}"),
        }
    }
}

fn start(directory: &Path, from: u64) -> Child {
    let mut writer = Command::new(env!("CARGO_BIN_EXE_writer"));
    let writer = writer.arg(directory).arg(from.to_string()).stdout(Stdio::piped());
    writer.spawn().expect("the writer starts")
}

/// Lets a writer write so many lines, then kills it; what it said until then counts.
fn one_life(directory: &Path, from: u64, lines: usize, said: &mut Said) {
    let mut writer = start(directory, from);
    let mut out = BufReader::new(writer.stdout.take().expect("it is piped"));
    for line in out.by_ref().lines().take(lines) {
        said.hear(&line.expect("it writes until it is killed"));
    }
    // Not at the moment of an acknowledgement, but somewhere after one.
    let pause = Instant::now();
    while pause.elapsed() < Duration::from_micros(from % 3000) {
        std::hint::spin_loop();
    }
    writer.kill().expect("it lives");
    writer.wait().expect("it ended");
    // What was said before the kill and not heard yet; only the last line can be cut.
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    whole.lines().for_each(|line| said.hear(line));
}

async fn check(directory: &Path, said: &Said, since: (&BTreeSet<u64>, &BTreeSet<u64>)) {
    let hub: Hub = hub_in(directory, false, settings(u64::MAX)).await.expect("opens");
    let space = main_of(&hub);
    for seed in said.blobs.difference(since.0) {
        let content = bytes(*seed, size_of(*seed));
        let found = read(&space, blob(&content).digest).await;
        assert!(found.is_ok_and(|found| found == content), "blob {seed} was acknowledged");
    }
    for seed in said.names.difference(since.1) {
        let row = space.find(&name(&format!("n/{seed}"))).await.expect("the name was acknowledged");
        assert_eq!(row.pointer.blob, blob(&list_of(*seed)));
        for part in (0..PARTS).map(|part| part_of(*seed, part)).chain([list_of(*seed)]) {
            let found = read(&space, blob(&part).digest).await;
            assert!(found.is_ok_and(|found| found == part), "a part of name {seed}");
        }
    }
    hub.clean_up().await.expect("cleans up");
    let checked = hub.check("main").await.expect("checks");
    assert_eq!((checked.damaged, checked.orphans), (0, 0), "{checked:?}");
    let disk = stores::Disk::open(directory).expect("opens");
    assert_eq!(disk.staged().await.expect("lists"), [], "what dead epochs staged is gone");
    let files: Vec<_> = disk.scan().try_collect().await.expect("scans");
    hub.close().await;
    drop((space, hub));
    let catalog = catalogs::Plan::new(directory.join("catalog.db")).open().expect("opens");
    let placed = catalog.placed(files).await.expect("looks up");
    assert!(placed.iter().all(|placed| *placed), "what dead epochs left is gone");
    drop(catalog);
    released(directory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_nothing() {
    let rounds: u64 = std::env::var("ENTREPOT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let (began, mut said, mut dice) = (Instant::now(), Said::default(), chance(9));
    let mut directory = quick_dir();
    let (mut blobs, mut names) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..rounds {
        if round % (EVERY * 5) == 0 {
            // A directory grows without bounds, and each of its lives makes the check longer.
            directory = quick_dir();
            (blobs, names) = (said.blobs.clone(), said.names.clone());
        }
        one_life(
            directory.path(),
            (round + 1) * 1_000_000 + dice.random_range(0..3000),
            dice.random_range(1..40),
            &mut said,
        );
        if round % EVERY == EVERY - 1 || round + 1 == rounds {
            check(directory.path(), &said, (&blobs, &names)).await;
        }
    }
    said.starts.sort_unstable();
    let (middle, worst) = (said.starts[said.starts.len() / 2], said.starts[said.starts.len() - 1]);
    println!(
        "{rounds} kills in {:?}: {} blobs and {} names kept; ready after {middle:?}, at worst {worst:?}",
        began.elapsed(),
        said.blobs.len(),
        said.names.len(),
    );
    assert!(worst < START, "the slowest start took {worst:?}");
    assert!(said.blobs.len() as u64 > rounds);
}

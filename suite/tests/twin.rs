//! Any sequence of verbs on a real hub gives the answers of a hub made of maps.

use suite::sample::quick_dir;
use suite::twin::hub::Twin;
use suite::twin::real::{Real, Shelf};
use suite::twin::verb::{Dice, SLOTS, Verb};

/// Sequences of each store.
const SEEDS: u64 = 200;
/// Verbs of a sequence.
const VERBS: usize = 120;

/// Limits that make for no, some and constant eviction, with small blobs and with large ones; beyond a mebibyte
/// an upload of unknown size takes room in steps.
const LIMITS: [(u64, bool); 6] =
    [(u64::MAX, true), (700, false), (1_500, false), (180_000, true), (260_000, true), (2_300_000, true)];

/// Runs a sequence; says at which verb the two disagree.
async fn differ(on: Shelf, seed: u64) -> Option<String> {
    let (limit, large) = LIMITS[seed as usize % LIMITS.len()];
    let directory = quick_dir();
    let mut real = Real::new(directory.path().to_owned(), on, limit).await.expect("opens");
    let mut twin = Twin::new(limit);
    let mut dice = Dice::new(seed, large);
    let mut verbs = Vec::new();
    let last = [Verb::Plan(0), Verb::Plan(1), Verb::Sweep, Verb::Restart(None), Verb::Plan(0), Verb::Plan(1)];
    let mut last = last.into_iter();
    for step in 0.. {
        let verb = if step < VERBS { dice.verb() } else { last.next()? };
        // Only what lies in the store can be hurt there.
        let verb = match verb {
            Verb::Damage(digest) if !twin.stored(&digest) => continue,
            Verb::Restart(Some(digest)) if !twin.stored(&digest) => Verb::Restart(None),
            verb => verb,
        };
        let before = twin.clone();
        let wanted = twin.run(&verb);
        let found = real.run(&verb).await;
        verbs.push(format!("{step}: {verb:?} -> {wanted:?}"));
        if found != wanted {
            let story = verbs.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n");
            return Some(format!(
                "seed {seed}, limit {limit}, step {step}: found {found:?}\nafter\n{story}\nof {before:#?}"
            ));
        }
        for slot in 0..SLOTS {
            if let Some(content) = twin.content(slot) {
                real.content(slot, content);
            }
        }
    }
    None
}

async fn all(on: impl Fn() -> Shelf) {
    // One seed only, to look at: ENTREPOT_SEED.
    let one = std::env::var("ENTREPOT_SEED").ok().map(|seed| seed.parse::<u64>().expect("a seed is a number"));
    let seeds = one.map_or(0..SEEDS, |one| one..one + 1);
    let mut wrong = Vec::new();
    for seed in seeds {
        if let Some(difference) = differ(on(), seed).await {
            wrong.push((seed, difference));
        }
    }
    if let Some((_, first)) = wrong.first() {
        let seeds: Vec<u64> = wrong.iter().map(|(seed, _)| *seed).collect();
        panic!("{} of the sequences differ ({seeds:?}); the first:\n{first}", wrong.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sequences_in_memory() {
    all(|| Shelf::Memory(stores::Memory::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sequences_on_disk() {
    all(|| Shelf::Disk).await;
}

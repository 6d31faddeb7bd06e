//! Who asks for blobs, and what they do where the bytes are not what they should be.

use super::{Act, Stage, Step, mark, owns, settle};
use crate::interleave::catalog::{Blob, Change, Location, Outcome};
use crate::interleave::world::{Bytes, World};
use crate::interleave::{Rule, Rules};

/// Look up, open; where the bytes are not good, look up once more; mark, lose, drop the cache's entry.
pub(super) fn read(world: &mut World, act: &Act, blob: Blob, rules: Rules) -> Step {
    let place = |world: &World| {
        let row = world.catalog.rows[blob as usize].filter(|_| world.catalog.here(blob));
        row.and_then(|row| row.at)
    };
    match act.at {
        Stage::Begin => match place(world) {
            Some(at) => (Some(Stage::Opening { at }), "looks the row up"),
            None => (None, "answers: absent"),
        },
        Stage::Opening { at } => match world.store.get(&at) {
            Some(Bytes::Good) => (None, "answers with the bytes"),
            _ if rules.keep(Rule::LookOnceMore) => (Some(Stage::Troubled { at }), "finds no good bytes"),
            _ => lost(world, act, blob, at, rules),
        },
        Stage::Troubled { at } => match place(world) {
            Some(now) if now == at => lost(world, act, blob, at, rules),
            Some(now) => (Some(Stage::Opening { at: now }), "looks again: it lies elsewhere"),
            None => (None, "looks again, answers: absent"),
        },
        Stage::Losing { at } => {
            let before = world.catalog.rows[blob as usize].and_then(|row| row.at);
            let gone = world.apply(Change::Lose(at), rules) == Outcome::Done;
            if gone && before.is_some_and(|now| world.store.get(&now) == Some(&Bytes::Good)) {
                world.fault = Some("good bytes were marked as lost");
            }
            (Some(Stage::Settling { gone }), if gone { "says Lost" } else { "is refused" })
        }
        Stage::Settling { gone } => settle(world, act, blob, gone, rules),
        _ => (None, "ends"),
    }
}

fn lost(world: &mut World, act: &Act, blob: Blob, at: Location, rules: Rules) -> Step {
    if !world.store.contains_key(&at) {
        world.fault = Some("Lost was said of bytes that we removed ourselves");
    }
    mark(world, act, blob, Rule::MarkBeforeLose, rules);
    (Some(Stage::Losing { at }), "is sure that they are lost, marks")
}

/// Look up, read the first piece, read the last. The bytes may go in between only where the blob's row went before
/// the stream began.
pub(super) fn stream(world: &mut World, act: &Act, blob: Blob) -> Step {
    match act.at {
        Stage::Begin => {
            let row = world.catalog.rows[blob as usize].filter(|_| world.catalog.here(blob));
            let Some(at) = row.and_then(|row| row.at) else { return (None, "answers: absent") };
            let stream = world.streams;
            world.streams += 1;
            (Some(Stage::Streaming { at, stream }), "looks the row up, sends the first piece")
        }
        Stage::Streaming { at, .. } => {
            if !world.store.contains_key(&at) {
                world.fault = Some("bytes were removed under a reader within its time");
            }
            (None, "sends the last piece")
        }
        _ => (None, "ends"),
    }
}

/// The cache, else a touch, a look-up, and the cache is filled.
pub(super) fn has(world: &mut World, act: &mut Act, blob: Blob, rules: Rules) -> Step {
    let slot = blob as usize;
    let touch_first = rules.keep(Rule::TouchBeforeLook);
    match act.at {
        Stage::Begin if world.memory.cached[slot] && world.memory.marks[slot] == 0 => {
            world.memory.resting[slot] = true;
            act.stamped = true;
            present(world, act, blob);
            (None, "answers from the cache: present")
        }
        Stage::Begin => {
            let generation = world.memory.generation;
            let next =
                if touch_first { Stage::Touching { generation, present: true } } else { Stage::Looking { generation } };
            (Some(next), "does not trust the cache")
        }
        Stage::Touching { generation, present } => {
            world.apply(Change::Touch(blob), rules);
            act.stamped = true;
            let next =
                if touch_first { Stage::Looking { generation } } else { Stage::Answering { generation, present } };
            (Some(next), "touches")
        }
        Stage::Looking { generation } => {
            let present = world.catalog.here(blob);
            let next = if touch_first {
                Stage::Answering { generation, present }
            } else {
                Stage::Touching { generation, present }
            };
            (Some(next), "looks up")
        }
        Stage::Answering { present: false, .. } => (None, "answers: absent"),
        Stage::Answering { generation, .. } => {
            let unchanged = generation == world.memory.generation || !rules.keep(Rule::FillIfUnchanged);
            if unchanged && owns(world, act) {
                world.memory.cached[slot] = true;
            }
            present(world, act, blob);
            (None, "answers: present")
        }
        _ => (None, "ends"),
    }
}

/// A client hears "present" and relies on it until the horizon moves past its use.
fn present(world: &mut World, act: &Act, blob: Blob) {
    let leased = world.catalog.leases[blob as usize].is_some();
    if !act.honest {
        world.fault = Some("`has` said present of a blob that was absent since before it was asked");
    } else if act.stamped && !leased {
        world.fault = Some("`has` said present, but its touch came too late for the lease");
    }
    world.owed[blob as usize] |= act.stamped && leased;
}

/// Applies a resting touch, then takes it out of memory unless a later one rests there by now.
pub(super) fn flush(world: &mut World, act: &mut Act, blob: Blob, rules: Rules) -> Step {
    let slot = blob as usize;
    let rests = rules.keep(Rule::TouchRestsUntilApplied);
    match act.at {
        Stage::Begin if !world.memory.resting[slot] => (None, "finds no resting touch"),
        Stage::Begin => {
            world.memory.resting[slot] = rests;
            act.stamped = true;
            (Some(Stage::Flushing), "finds a resting touch")
        }
        Stage::Flushing => {
            if act.stamped {
                world.apply(Change::Touch(blob), rules);
            }
            (Some(Stage::Flushed), "applies the touch")
        }
        Stage::Flushed => {
            if act.stamped && owns(world, act) {
                world.memory.resting[slot] = false;
            }
            (None, "takes the touch out of memory")
        }
        _ => (None, "ends"),
    }
}

/// Drops an entry of the cache, of which nothing has become absent: the generation stays.
pub(super) fn evict(world: &mut World, blob: Blob, rules: Rules) -> Step {
    world.memory.cached[blob as usize] = false;
    world.memory.resting[blob as usize] &= rules.keep(Rule::TouchOutlivesEntry);
    (None, "the full cache drops an entry")
}

/// The bytes at the row's place rot.
pub(super) fn damage(world: &mut World, blob: Blob) -> Step {
    let at = world.catalog.rows[blob as usize].and_then(|row| row.at);
    if let Some(bytes) = at.and_then(|at| world.store.get_mut(&at)) {
        *bytes = Bytes::Damaged;
        world.orderly = false;
    }
    (None, "the bytes rot")
}

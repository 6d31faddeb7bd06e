//! How blobs, leases and names come and go.

use super::{Act, Stage, Step, mark, owns, settle};
use crate::interleave::catalog::{Blob, Change, Location, Outcome};
use crate::interleave::world::{Bytes, World};
use crate::interleave::{Rule, Rules};

/// Bytes at a fresh location, claim, answer, and the spare bytes go.
pub(super) fn upload(world: &mut World, act: &mut Act, blob: Blob, rules: Rules) -> Step {
    match act.at {
        Stage::Begin => {
            let at = world.fresh(blob, act.epoch, rules);
            if rules.keep(Rule::FlightUntilClaimed) {
                world.memory.flight.insert(at);
            }
            if rules.keep(Rule::BytesBeforeRow) {
                world.store.insert(at, Bytes::Good);
            }
            if !rules.keep(Rule::RowBeforeAnswer) {
                world.acknowledge(blob, true, rules);
            }
            (Some(Stage::Written { at, generation: world.memory.generation }), "writes its bytes")
        }
        Stage::Written { at, generation } => match world.apply(Change::Claim(at), rules) {
            Outcome::Held { spare } => {
                act.stamped = true;
                (Some(Stage::Claimed { at: Some(at), generation, spare }), "claims")
            }
            _ => {
                world.memory.flight.remove(&at);
                (None, "is refused: its epoch is dead")
            }
        },
        Stage::Claimed { at: Some(at), generation, spare } => {
            world.memory.flight.remove(&at);
            if !rules.keep(Rule::BytesBeforeRow) {
                world.store.insert(at, Bytes::Good);
            }
            answer(world, act, blob, generation, rules);
            (spare.then_some(Stage::Spare { at }), "answers: stored")
        }
        Stage::Spare { at } => {
            world.store.remove(&at);
            (None, "discards its spare bytes")
        }
        _ => (None, "ends"),
    }
}

/// A lease on what is Here.
pub(super) fn share(world: &mut World, act: &mut Act, blob: Blob, rules: Rules) -> Step {
    match act.at {
        Stage::Begin => match world.apply(Change::Hold(blob), rules) {
            Outcome::Absent => (None, "holds nothing: absent"),
            _ => {
                act.stamped = true;
                let generation = world.memory.generation;
                (Some(Stage::Claimed { at: None, generation, spare: false }), "holds")
            }
        },
        Stage::Claimed { generation, .. } => {
            answer(world, act, blob, generation, rules);
            (None, "answers: stored")
        }
        _ => (None, "ends"),
    }
}

fn answer(world: &mut World, act: &Act, blob: Blob, generation: u8, rules: Rules) {
    let unchanged = generation == world.memory.generation || !rules.keep(Rule::CommitFillsIfUnchanged);
    if owns(world, act) && unchanged {
        world.memory.cached[blob as usize] = true;
    }
    world.acknowledge(blob, act.stamped, rules);
}

/// Walk, open what is not open, name.
pub(super) fn bind(world: &mut World, act: &Act, root: Blob, rules: Rules) -> Step {
    match act.at {
        Stage::Begin => walk(world, root, Blob::ALL.map(|blob| world.catalog.lost(blob)), rules),
        Stage::Walking { lost } => walk(world, root, lost, rules),
        Stage::Counting { part, lost } => {
            let last = part + 1 == Blob::CHILDREN.len();
            match world.apply(Change::Open { part, last }, rules) {
                Outcome::Done if last => (Some(Stage::Naming { lost }), "counts the last part, opens"),
                Outcome::Done => (Some(Stage::Counting { part: part + 1, lost }), "counts a part"),
                Outcome::Closed => (Some(Stage::Walking { lost }), "finds an earlier part uncounted"),
                _ => (None, "answers: incomplete"),
            }
        }
        Stage::Naming { lost } => match world.apply(Change::Bind(root), rules) {
            Outcome::Done => {
                if root.closure().iter().any(|blob| lost[*blob as usize] && world.catalog.lost(*blob)) {
                    world.fault = Some("law 3: bound over a blob that was known to be lost all the while");
                }
                (None, "binds the name")
            }
            Outcome::Closed => (Some(Stage::Walking { lost }), "finds the node closed"),
            _ => (None, "answers: incomplete"),
        },
        _ => (None, "ends"),
    }
}

fn walk(world: &World, root: Blob, lost: [bool; 3], rules: Rules) -> Step {
    let meets_lost = root.closure().iter().any(|blob| world.catalog.lost(*blob));
    if !world.catalog.here(root) || rules.keep(Rule::LostIsAbsent) && meets_lost {
        return (None, "walks, answers: incomplete");
    }
    if root != Blob::Parent || world.catalog.node.open {
        return (Some(Stage::Naming { lost }), "walks, finds nothing to open");
    }
    (Some(Stage::Counting { part: 0, lost }), "walks, finds the node closed")
}

/// The name goes.
pub(super) fn unbind(world: &mut World, rules: Rules) -> Step {
    world.apply(Change::Unbind, rules);
    (None, "unbinds")
}

/// Mark, reap (in several changes where the node has several parts), drop the cache's entry.
pub(super) fn reap(world: &mut World, act: &Act, blob: Blob, rules: Rules) -> Step {
    match act.at {
        Stage::Begin => {
            let idle = world.catalog.leases[blob as usize].is_some_and(|lease| lease.held == 0 && !lease.fresh);
            if !idle {
                return (None, "finds no candidate");
            }
            if world.memory.resting[blob as usize] && rules.keep(Rule::RestingTouchSpares) {
                return (None, "marks, finds a resting touch, unmarks");
            }
            mark(world, act, blob, Rule::MarkBeforeReap, rules);
            (Some(Stage::Marked), "marks")
        }
        Stage::Marked => match world.apply(Change::Reap(blob), rules) {
            Outcome::More => (Some(Stage::Marked), "closes half of the node"),
            Outcome::Reaped => {
                if world.owed[blob as usize] {
                    world.fault = Some("a lease was reaped though its use after the horizon was answered");
                }
                world.acked[blob as usize] = false;
                (Some(Stage::Settling { gone: true }), "reaps")
            }
            _ => (Some(Stage::Settling { gone: false }), "is refused"),
        },
        Stage::Settling { gone } => settle(world, act, blob, gone, rules),
        _ => (None, "ends"),
    }
}

/// Doom, forget, and the bytes go.
pub(super) fn remove(world: &mut World, act: &Act, blob: Blob, rules: Rules) -> Step {
    match act.at {
        Stage::Begin => match world.apply(Change::Doom(blob), rules) {
            Outcome::Doomed { at, doom } => (Some(Stage::Doomed { at, doom, streams: world.streams }), "dooms"),
            _ => (None, "is refused"),
        },
        Stage::Doomed { at, doom, .. } => {
            if let (Some(at), false) = (at, rules.keep(Rule::RowBeforeBytes)) {
                world.store.remove(&at);
            }
            match world.apply(Change::Forget { blob, at, doom }, rules) {
                Outcome::Done => (Some(Stage::Forgotten { at }), "forgets"),
                _ => (None, "is refused"),
            }
        }
        Stage::Forgotten { at } => {
            at.map(|at| world.store.remove(&at));
            (None, "removes the bytes")
        }
        _ => (None, "ends"),
    }
}

/// List, tell what may be garbage, ask for rows, remove.
pub(super) fn scan(world: &mut World, act: &Act, rules: Rules) -> Step {
    let unplaced = |world: &World, mut list: Vec<Location>| {
        list.retain(|at| !world.catalog.placed(*at));
        list
    };
    let ended = |world: &World, mut list: Vec<Location>| {
        list.retain(|at| {
            let ours = at.epoch == act.epoch;
            let alive = at.epoch == world.catalog.live;
            !rules.keep(Rule::ScanSparesFlight) || if ours { !world.memory.flight.contains(at) } else { !alive }
        });
        list
    };
    let flight_first = rules.keep(Rule::FlightBeforeRow);
    match act.at.clone() {
        Stage::Begin => (Some(Stage::Listed(world.store.keys().copied().collect())), "lists all locations"),
        Stage::Listed(list) => {
            let left = if flight_first { ended(world, list) } else { unplaced(world, list) };
            let did = if flight_first { "tells what may be garbage" } else { "asks for rows" };
            (Some(Stage::Suspects { known: flight_first, left }), did)
        }
        Stage::Suspects { known, left } => {
            let left = if known { unplaced(world, left) } else { ended(world, left) };
            let did = if known { "asks for rows" } else { "tells what may be garbage" };
            (Some(Stage::Orphans(left)), did)
        }
        Stage::Orphans(list) => {
            world.store.retain(|at, _| !list.contains(at));
            (None, "removes orphans")
        }
        _ => (None, "ends"),
    }
}

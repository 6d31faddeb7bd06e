//! What must be true in every state, and what must be left when everything has come to rest.

use super::Rules;
use super::catalog::{Blob, Change, Outcome};
use super::world::World;

/// The law that a state breaks.
pub fn broken(world: &World) -> Option<&'static str> {
    let catalog = &world.catalog;
    if world.fault.is_some() {
        return world.fault;
    }
    for row in catalog.rows.iter().flatten() {
        if row.at.is_some_and(|at| !world.store.contains_key(&at)) {
            return Some("laws 1 and 5: a row says that bytes are where none are");
        }
    }
    for blob in Blob::ALL {
        let (row, lease) = (catalog.rows[blob as usize], catalog.leases[blob as usize]);
        if lease.is_some() && row.is_none() {
            return Some("law 4: a lease on a blob without a row");
        }
        if world.acked[blob as usize] && lease.is_none() {
            return Some("law 2: a blob whose commit was answered is gone");
        }
        if lease.map_or(0, |lease| lease.held) != edges(world, blob) {
            return Some("the held count of a lease is not the number of its edges");
        }
    }
    let held = |blob: &Blob| catalog.leases[*blob as usize].is_some();
    match catalog.name {
        Some(root) if !root.closure().iter().all(held) => Some("law 3: a name whose closure is not leased"),
        Some(Blob::Parent) if !catalog.node.open => Some("law 3: a name on a node that is not open"),
        _ => None,
    }
}

fn edges(world: &World, blob: Blob) -> u8 {
    let part = Blob::CHILDREN.iter().position(|child| *child == blob);
    let counted = part.is_some_and(|part| world.catalog.node.counted[part]);
    u8::from(world.catalog.name == Some(blob)) + u8::from(counted)
}

/// The law that is broken once nothing runs any more: what the sweeper leaves is what the name holds, and once
/// the name is gone it leaves nothing.
pub fn broken_at_rest(world: &World, rules: Rules) -> Option<&'static str> {
    let mut world = world.clone();
    if !world.memory.flight.is_empty() {
        return Some("a location is in flight for ever");
    }
    if world.memory.marks != [0; 3] {
        return Some("a mark stays for ever");
    }
    let orphans = world.store.keys().any(|at| !world.catalog.placed(*at));
    if world.orderly && orphans {
        return Some("bytes are left for the orphan scan, though nothing crashed");
    }
    sweep(&mut world, rules);
    if let Some(what) = left_over(&world) {
        return Some(what);
    }
    world.apply(Change::Unbind, rules);
    sweep(&mut world, rules);
    left_over(&world)
}

fn sweep(world: &mut World, rules: Rules) {
    world.tick();
    for blob in Blob::ALL {
        while world.apply(Change::Reap(blob), rules) == Outcome::More {}
        if let Outcome::Doomed { at, doom } = world.apply(Change::Doom(blob), rules)
            && world.apply(Change::Forget { blob, at, doom }, rules) == Outcome::Done
        {
            at.map(|at| world.store.remove(&at));
        }
    }
    let catalog = &world.catalog;
    world.store.retain(|at, _| catalog.placed(*at));
}

fn left_over(world: &World) -> Option<&'static str> {
    let catalog = &world.catalog;
    let wanted = catalog.name.map_or(&[][..], Blob::closure);
    for blob in Blob::ALL {
        let (row, lease) = (catalog.rows[blob as usize], catalog.leases[blob as usize]);
        if wanted.contains(&blob) && lease.is_none() {
            return Some("the sweeper took what a name holds");
        }
        if !wanted.contains(&blob) && (lease.is_some() || row.is_some()) {
            return Some("something that nothing holds survives the sweeper");
        }
    }
    let bytes = catalog.rows.iter().flatten().filter(|row| row.at.is_some()).count();
    let node = catalog.node.open || catalog.node.counted != [false, false];
    if world.store.len() != bytes || node && catalog.name != Some(Blob::Parent) {
        return Some("bytes or a node survive the sweeper");
    }
    None
}

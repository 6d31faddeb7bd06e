//! All there is: what is durable, what one process remembers, and what clients were told.

use std::collections::{BTreeMap, BTreeSet};

use super::act::Act;
use super::catalog::{Blob, Catalog, Change, Lease, Location, Node, Outcome, Row};
use super::{Rule, Rules};

/// What reading a location yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bytes {
    /// The blob.
    Good,
    /// Something else, by no fault of ours.
    Damaged,
}

/// What dies with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The existence cache: blobs known to be present.
    pub cached: [bool; 3],
    /// Blobs with a touch that the catalog has not seen yet.
    pub resting: [bool; 3],
    /// How many are about to make the blob absent.
    pub marks: [u8; 3],
    /// Counts dropped entries of the cache.
    pub generation: u8,
    /// Locations that are written and not yet claimed, of processes that still run.
    pub flight: BTreeSet<Location>,
}

/// A state of the search.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Durable.
    pub catalog: Catalog,
    /// Durable.
    pub store: BTreeMap<Location, Bytes>,
    /// Of the process that owns the data.
    pub memory: Memory,
    /// The next counter of a blob's locations.
    pub next: [u8; 3],
    /// Acts that have begun and not ended, sorted: their order says nothing.
    pub acts: Vec<Act>,
    /// Streams that began so far.
    pub streams: u8,
    /// What clients were told and may rely on: "stored", until the lease is reaped rightly.
    pub acked: [bool; 3],
    /// A use after the horizon was answered: the lease must not be reaped before the horizon moves.
    pub owed: [bool; 3],
    /// Nothing crashed, was taken over or damaged: nothing may be left for the orphan scan.
    pub orderly: bool,
    /// What a step saw go wrong.
    pub fault: Option<&'static str>,
}

impl World {
    /// Nothing stored.
    pub fn empty() -> World {
        World {
            catalog: Catalog::default(),
            store: BTreeMap::new(),
            memory: Memory::default(),
            next: [0; 3],
            acts: Vec::new(),
            streams: 0,
            acked: [false; 3],
            owed: [false; 3],
            orderly: true,
            fault: None,
        }
    }

    /// All three blobs committed and idle.
    pub fn idle() -> World {
        let mut world = World::empty();
        for blob in Blob::ALL {
            let at = world.fresh(blob, 0, Rules::ALL);
            world.store.insert(at, Bytes::Good);
            world.catalog.rows[blob as usize] = Some(Row { at: Some(at), doomed: false, dooms: 0 });
            world.catalog.leases[blob as usize] = Some(Lease { held: 0, fresh: false });
        }
        world.memory.cached = [true; 3];
        world.acked = [true; 3];
        world
    }

    /// Idle, and the node is open though no name holds it.
    pub fn open() -> World {
        let mut world = World::idle();
        world.catalog.node = Node { open: true, counted: [true, true] };
        for child in Blob::CHILDREN {
            world.catalog.leases[child as usize] = Some(Lease { held: 1, fresh: false });
        }
        world
    }

    /// Open, and the name points at the node.
    pub fn bound() -> World {
        let mut world = World::open();
        world.apply(Change::Bind(Blob::Parent), Rules::ALL);
        world
    }

    /// Idle, and nobody leases `Left` any more.
    pub fn bare() -> World {
        let mut world = World::idle();
        world.catalog.leases[Blob::Left as usize] = None;
        world.memory.cached[Blob::Left as usize] = false;
        world.acked[Blob::Left as usize] = false;
        world
    }

    /// Applies a change.
    pub fn apply(&mut self, change: Change, rules: Rules) -> Outcome {
        self.catalog.apply(change, rules)
    }

    /// A location for a new writing of a blob.
    pub fn fresh(&mut self, blob: Blob, epoch: u8, rules: Rules) -> Location {
        if !rules.keep(Rule::FreshLocations) {
            return Location { blob, epoch: 0, counter: 0 };
        }
        let counter = self.next[blob as usize];
        self.next[blob as usize] += 1;
        Location { blob, epoch, counter }
    }

    /// A client hears that a blob is stored. If the lease is gone again by then, it was reaped and the laws
    /// watched that; an answer before the claim has no such excuse.
    pub fn acknowledge(&mut self, blob: Blob, stamped: bool, rules: Rules) {
        if self.catalog.here(blob) || !rules.keep(Rule::RowBeforeAnswer) {
            self.acked[blob as usize] = true;
            self.owed[blob as usize] |= stamped;
        }
    }

    /// The process dies and another begins.
    pub fn crash(&mut self, rules: Rules) {
        self.acts.clear();
        self.memory = Memory::default();
        self.orderly = false;
        self.apply(Change::Begin, rules);
    }

    /// Another process begins and declares this one dead, whose acts nevertheless go on.
    pub fn take_over(&mut self, rules: Rules) {
        let flight = std::mem::take(&mut self.memory.flight);
        self.memory = Memory { flight, ..Memory::default() };
        self.orderly = false;
        self.apply(Change::Begin, rules);
    }

    /// The horizon moves past all uses so far.
    pub fn tick(&mut self) {
        self.catalog.leases.iter_mut().flatten().for_each(|lease| lease.fresh = false);
        self.memory.resting = [false; 3];
        self.owed = [false; 3];
        self.acts.iter_mut().for_each(|act| act.stamped = false);
    }
}

//! What happens in several steps, as step functions. A step is atomic: one `apply`, one look-up, one operation
//! of the store, or one touch of memory (which the process does under a lock).

use super::catalog::{Blob, Location};
use super::world::World;
use super::{Rule, Rules};

mod life;
mod lookup;

/// Something that a client, a task or the world does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Writes a blob and commits it.
    Upload(Blob),
    /// Commits a blob that is Here without writing it.
    Share(Blob),
    /// Binds the name to a blob.
    Bind(Blob),
    /// Unbinds the name.
    Unbind,
    /// Reaps an idle lease.
    Reap(Blob),
    /// Dooms, forgets and removes a blob that nobody leases.
    Remove(Blob),
    /// The same, but waits before it forgets until all streams have ended that began before its doom: the kernel
    /// waits for the longest that a read may take.
    RemovePatiently(Blob),
    /// Removes locations without a row.
    Scan,
    /// Reads a blob.
    Read(Blob),
    /// Reads a blob in pieces: its bytes must stay until it ends.
    Stream(Blob),
    /// Asks whether a blob is present.
    Has(Blob),
    /// Brings a resting touch to the catalog.
    Flush(Blob),
    /// The cache is full and drops an entry.
    Evict(Blob),
    /// Bytes rot.
    Damage(Blob),
    /// The horizon moves past all uses so far.
    Tick,
    /// The process dies at this point and starts again.
    Crash,
    /// Another process takes the data over while this one does not know yet.
    TakeOver,
}

/// How far an act is, with what it remembers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the step functions tell what each is")]
pub enum Stage {
    Begin,
    Written { at: Location, generation: u8 },
    Claimed { at: Option<Location>, generation: u8, spare: bool },
    Spare { at: Location },
    Walking { lost: [bool; 3] },
    Counting { part: usize, lost: [bool; 3] },
    Naming { lost: [bool; 3] },
    Marked,
    Settling { gone: bool },
    Doomed { at: Option<Location>, doom: u8, streams: u8 },
    Forgotten { at: Option<Location> },
    Listed(Vec<Location>),
    Suspects { known: bool, left: Vec<Location> },
    Orphans(Vec<Location>),
    Streaming { at: Location, stream: u8 },
    Opening { at: Location },
    Troubled { at: Location },
    Losing { at: Location },
    Touching { generation: u8, present: bool },
    Looking { generation: u8 },
    Answering { generation: u8, present: bool },
    Flushing,
    Flushed,
}

/// An act that is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Act {
    /// Who.
    pub role: Role,
    /// The process it runs in.
    pub epoch: u8,
    /// It stamped a use that is not before the horizon.
    pub stamped: bool,
    /// The blob it asks for was present at some time since it began.
    pub honest: bool,
    /// How far.
    pub at: Stage,
}

/// What a step leads to, and what it did.
pub(super) type Step = (Option<Stage>, &'static str);

/// Begins an act: takes its first step. Returns what it did.
pub fn begin(world: &mut World, role: Role, rules: Rules) -> &'static str {
    let honest = matches!(role, Role::Has(blob) if world.catalog.here(blob));
    let epoch = world.catalog.live;
    go(world, Act { role, epoch, stamped: false, honest, at: Stage::Begin }, rules)
}

/// Whether an act can go on, or waits for others.
pub fn may_advance(world: &World, act: &Act) -> bool {
    let (Role::RemovePatiently(_), Stage::Doomed { streams, .. }) = (act.role, &act.at) else { return true };
    !world.acts.iter().any(|other| matches!(other.at, Stage::Streaming { stream, .. } if stream < *streams))
}

/// Takes the next step of a running act. Returns what it did.
pub fn advance(world: &mut World, index: usize, rules: Rules) -> &'static str {
    let act = world.acts.remove(index);
    go(world, act, rules)
}

fn go(world: &mut World, mut act: Act, rules: Rules) -> &'static str {
    let (next, did) = match act.role {
        Role::Upload(blob) => life::upload(world, &mut act, blob, rules),
        Role::Share(blob) => life::share(world, &mut act, blob, rules),
        Role::Bind(root) => life::bind(world, &act, root, rules),
        Role::Unbind => life::unbind(world, rules),
        Role::Reap(blob) => life::reap(world, &act, blob, rules),
        Role::Remove(blob) => life::remove(world, &act, blob, rules),
        Role::RemovePatiently(blob) => life::remove(world, &act, blob, rules),
        Role::Scan => life::scan(world, &act, rules),
        Role::Read(blob) => lookup::read(world, &act, blob, rules),
        Role::Stream(blob) => lookup::stream(world, &act, blob),
        Role::Has(blob) => lookup::has(world, &mut act, blob, rules),
        Role::Flush(blob) => lookup::flush(world, &mut act, blob, rules),
        Role::Evict(blob) => lookup::evict(world, blob, rules),
        Role::Damage(blob) => lookup::damage(world, blob),
        Role::Tick => (None, {
            world.tick();
            "the horizon moves"
        }),
        Role::Crash => (None, {
            world.crash(rules);
            "the process dies and starts again"
        }),
        Role::TakeOver => (None, {
            world.take_over(rules);
            "another process declares this one dead"
        }),
    };
    if let Some(at) = next {
        world.acts.push(Act { at, ..act });
    }
    for act in &mut world.acts {
        act.honest |= matches!(act.role, Role::Has(blob) if world.catalog.here(blob));
    }
    world.acts.sort();
    did
}

/// Whether an act runs in the process whose memory is modelled. Of one that was taken over only the in-flight set is:
/// what else it remembers could mislead nobody but its own clients.
fn owns(world: &World, act: &Act) -> bool {
    act.epoch == world.catalog.live
}

/// Marks a blob as about to become absent.
fn mark(world: &mut World, act: &Act, blob: Blob, rule: Rule, rules: Rules) {
    if owns(world, act) && rules.keep(rule) {
        world.memory.marks[blob as usize] += 1;
    }
}

/// Drops the cache's entry if the blob became absent, then takes the mark off. A touch still rests where only the
/// bytes are gone and the lease is not.
fn settle(world: &mut World, act: &Act, blob: Blob, gone: bool, rules: Rules) -> Step {
    if owns(world, act) {
        let marks = &mut world.memory.marks[blob as usize];
        *marks = if rules.keep(Rule::MarksAreCounted) { marks.saturating_sub(1) } else { 0 };
        if gone {
            world.memory.cached[blob as usize] = false;
            world.memory.generation += 1;
            if matches!(act.role, Role::Reap(_)) || !rules.keep(Rule::TouchOutlivesEntry) {
                world.memory.resting[blob as usize] = false;
            }
        }
    }
    (None, if gone { "drops the cache's entry, unmarks" } else { "unmarks" })
}

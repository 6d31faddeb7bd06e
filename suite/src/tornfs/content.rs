//! The data of one file: what is read now, what is durable, and what was done in between.

use std::collections::BTreeMap;

use super::chance::Chance;

/// What the page cache writes back as one, but in no order.
const PAGE: usize = 4096;
/// What a device writes as one.
const SECTOR: usize = 512;
const SECTORS: usize = PAGE / SECTOR;

/// Something done to a file that no sync has made durable.
#[derive(Clone, Debug)]
enum Pending {
    Write { at: usize, bytes: Vec<u8> },
    Size(usize),
}

impl Pending {
    /// Does it to a whole file.
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Pending::Write { at, bytes } => {
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*at..end].copy_from_slice(bytes);
            }
            Pending::Size(size) => file.resize(*size, 0),
        }
    }
}

/// The data of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Allocated, though perhaps beyond the end.
    reserved: usize,
}

impl Content {
    /// What was durable before the machine started.
    pub(super) fn settled(bytes: Vec<u8>) -> Content {
        Content { now: bytes.clone(), durable: bytes, pending: Vec::new(), reserved: 0 }
    }

    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    /// Blocks that it occupies, in bytes.
    pub(super) fn cost(&self) -> u64 {
        cost(self.now.len().max(self.reserved))
    }

    /// Blocks that it would occupy with an end there.
    pub(super) fn cost_with(&self, end: usize) -> u64 {
        cost(self.now.len().max(self.reserved).max(end))
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.change(Pending::Write { at, bytes: bytes.to_vec() });
    }

    pub(super) fn set_size(&mut self, size: usize) {
        if size < self.now.len() {
            self.reserved = 0;
        }
        self.change(Pending::Size(size));
    }

    pub(super) fn reserve(&mut self, end: usize) {
        self.reserved = self.reserved.max(end);
    }

    pub(super) fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            pending.apply(&mut self.durable);
        }
    }

    fn change(&mut self, pending: Pending) {
        pending.apply(&mut self.now);
        self.pending.push(pending);
    }

    /// What a crash leaves of it.
    pub(super) fn survive(&self, chance: &mut Chance) -> Vec<u8> {
        let all = self.pending.len();
        // Whole files lost or kept are the cases that matter most between files; leave them a good share.
        match chance.up_to(3) {
            0 => self.durable.clone(),
            1 => self.now.clone(),
            _ if all == 0 => self.durable.clone(),
            _ => self.torn(chance),
        }
    }

    /// Each sector shows a moment of its past: the same one as its page, or one of its own where the page tore.
    fn torn(&self, chance: &mut Chance) -> Vec<u8> {
        let all = self.pending.len();
        let mut moments = BTreeMap::new();
        let mut survives = |step: usize, sector: usize| {
            let page = moments.entry(sector / SECTORS).or_insert_with(|| moments_of_page(all, chance));
            step < page[sector % SECTORS]
        };
        let mut file = self.durable.clone();
        let mut size = self.durable.len();
        let mut sizes = vec![size];
        for (step, pending) in self.pending.iter().enumerate() {
            match pending {
                Pending::Write { at, bytes } => {
                    let end = at + bytes.len();
                    size = size.max(end);
                    file.resize(file.len().max(end), 0);
                    for (from, to, sector) in sectors(*at, end) {
                        if survives(step, sector) {
                            file[from..to].copy_from_slice(&bytes[from - at..to - at]);
                        }
                    }
                }
                Pending::Size(cut) => {
                    size = *cut;
                    for (from, to, sector) in sectors(*cut, file.len()) {
                        if survives(step, sector) {
                            file[from..to].fill(0);
                        }
                    }
                }
            }
            sizes.push(size);
        }
        file.resize(sizes[chance.up_to(all)], 0);
        file
    }
}

fn moments_of_page(all: usize, chance: &mut Chance) -> [usize; SECTORS] {
    match chance.up_to(3) {
        0 => [0; SECTORS],
        1 => [all; SECTORS],
        2 => [chance.up_to(all); SECTORS],
        _ => std::array::from_fn(|_| chance.up_to(all)),
    }
}

/// The sectors that a range touches: from, to, which.
fn sectors(from: usize, to: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let last = to.div_ceil(SECTOR);
    (from / SECTOR..last).map(move |sector| (from.max(sector * SECTOR), to.min((sector + 1) * SECTOR), sector))
}

fn cost(bytes: usize) -> u64 {
    bytes.next_multiple_of(PAGE) as u64
}

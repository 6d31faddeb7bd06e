//! What can be done to a hub, and dice that choose from a small alphabet, so that things meet.

use bytes::Bytes;
use model::{Blob, Digest, KindId, Name, Retention, Time, When};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::sample::{blob, bytes, chance, name};
use crate::toy::Toy;

/// Slots for uploads: the first have ids under which they may rest.
pub const SLOTS: usize = 4;
/// How many slots have an id.
pub const NAMED: usize = 2;

/// A binding as a verb carries it.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The name.
    pub name: Name,
    /// What it points at.
    pub blob: Blob,
    /// As what.
    pub kind: KindId,
    /// Held beside it.
    pub also: Option<Blob>,
    /// How long.
    pub keep: Retention,
    /// The guard.
    pub when: When,
}

/// A verb; `usize` first is the namespace.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they are the verbs of the kernel")]
pub enum Verb {
    Has(usize, Vec<Digest>),
    Put(usize, Vec<Bytes>),
    PutWrong(usize, Blob, Bytes),
    Read(usize, Digest, u64),
    ReadSmall(usize, Vec<Blob>),
    Share(Vec<Digest>),
    Begin {
        slot: usize,
        content: Bytes,
        announced: bool,
    },
    Append {
        slot: usize,
        most: usize,
    },
    Park {
        slot: usize,
    },
    Resume {
        slot: usize,
    },
    Commit {
        slot: usize,
    },
    Drop {
        slot: usize,
    },
    Progress {
        slot: usize,
    },
    Bind(usize, Vec<Bound>),
    Find(usize, Name),
    Unbind(usize, Name, When),
    List(usize, String, Option<String>, usize),
    Collect(usize, u64),
    Sweep,
    Plan(usize),
    /// The bytes vanish from the store.
    Damage(Digest),
    /// The hub is closed and opened again; the bytes of a blob have rotted meanwhile.
    Restart(Option<Digest>),
}

/// The dice.
#[derive(Debug)]
pub struct Dice {
    chance: StdRng,
    contents: Vec<Bytes>,
}

/// Small leaves, leaves that are files, lists of them, and lists that no one can bind.
fn contents(large: bool) -> Vec<Bytes> {
    let mut contents: Vec<Bytes> = (0..7).map(|seed| bytes(seed, 20 + 30 * seed as usize)).collect();
    contents.push(Bytes::new());
    if large {
        contents.extend((7..10).map(|seed| bytes(seed, 60_000 + 10_000 * (seed as usize - 6))));
    }
    let leaf = |index: usize| (blob(&contents[index]), KindId::BYTES);
    let last = contents.len() - 1;
    let one = Bytes::from(Toy::list(&[leaf(0), leaf(1), leaf(0)]));
    let two = Bytes::from(Toy::list(&[leaf(2), leaf(last)]));
    let three = Bytes::from(Toy::list(&[leaf(3), leaf(7)]));
    let node = |bytes: &Bytes| (blob(bytes), Toy::ID);
    let both = Bytes::from(Toy::list(&[node(&one), node(&two), leaf(0)]));
    let deep = Bytes::from(Toy::list(&[node(&both), node(&three), (blob(&three), KindId::BYTES)]));
    let (small, _) = leaf(1);
    let wrong = Bytes::from(Toy::list(&[(Blob { size: small.size + 1, ..small }, KindId::BYTES)]));
    contents.extend([one, two, three, both, deep, wrong]);
    contents
}

impl Dice {
    /// Dice of this seed; with `large`, some blobs are files.
    #[must_use]
    pub fn new(seed: u64, large: bool) -> Self {
        Self { chance: chance(seed), contents: contents(large) }
    }

    /// All contents that may be.
    #[must_use]
    pub fn contents(&self) -> &[Bytes] {
        &self.contents
    }

    fn content(&mut self) -> Bytes {
        self.contents[self.chance.random_range(0..self.contents.len())].clone()
    }

    fn blob(&mut self) -> Blob {
        blob(&self.content())
    }

    /// One that is a file, where there are some.
    fn large(&mut self) -> Digest {
        let large: Vec<Digest> =
            self.contents.iter().filter(|bytes| bytes.len() > 65_536).map(|bytes| blob(bytes).digest).collect();
        if large.is_empty() { self.blob().digest } else { large[self.chance.random_range(0..large.len())] }
    }

    fn digests(&mut self) -> Vec<Digest> {
        (0..self.chance.random_range(1..4)).map(|_| self.blob().digest).collect()
    }

    fn name(&mut self) -> Name {
        name(["a", "a/b", "a/c", "b", "b\u{10ffff}"][self.chance.random_range(0..5)])
    }

    fn when(&mut self) -> When {
        match self.chance.random_range(0..6) {
            0 => When::Absent,
            1 => When::Is(self.blob().digest),
            _ => When::Always,
        }
    }

    fn bound(&mut self) -> Bound {
        let keep = [Retention::Firm, Retention::Until(Time(i64::MAX)), Retention::Until(Time(1))];
        let lists = self.contents.len() - 6;
        let index = self.chance.random_range(0..self.contents.len());
        let list = index >= lists && self.chance.random_bool(0.9);
        let rarely = self.chance.random_range(0..30) == 0;
        Bound {
            name: self.name(),
            blob: blob(&self.contents[index]),
            kind: if list || rarely { Toy::ID } else { KindId::BYTES },
            also: self.chance.random_bool(0.2).then(|| self.blob()),
            keep: keep.get(self.chance.random_range(0..12)).copied().unwrap_or(Retention::Loose),
            when: self.when(),
        }
    }

    /// The next verb.
    pub fn verb(&mut self) -> Verb {
        let space = usize::from(self.chance.random_bool(0.3));
        let slot = self.chance.random_range(0..SLOTS);
        match self.chance.random_range(0..100) {
            0..=11 => Verb::Has(space, self.digests()),
            12..=31 => Verb::Put(space, (0..self.chance.random_range(1..5)).map(|_| self.content()).collect()),
            32 => Verb::PutWrong(space, self.blob(), self.content()),
            33..=37 => {
                let digest = if self.chance.random() { self.large() } else { self.blob().digest };
                Verb::Read(space, digest, self.chance.random_range(0..60))
            }
            38..=40 => Verb::ReadSmall(space, (0..self.chance.random_range(1..4)).map(|_| self.blob()).collect()),
            41..=43 => Verb::Share(self.digests()),
            44..=47 => Verb::Begin { slot, content: self.content(), announced: self.chance.random() },
            48..=53 => Verb::Append { slot, most: self.chance.random_range(1..120_000) },
            54..=55 => Verb::Park { slot: slot % NAMED },
            56..=57 => Verb::Resume { slot: slot % NAMED },
            58..=61 => Verb::Commit { slot },
            62 => Verb::Drop { slot },
            63 => Verb::Progress { slot: slot % NAMED },
            64..=77 => {
                let mut list = vec![self.bound()];
                let other = self.bound();
                if self.chance.random_bool(0.2) && other.name != list[0].name {
                    list.push(other);
                }
                Verb::Bind(space, list)
            }
            78..=82 => Verb::Find(space, self.name()),
            83..=86 => Verb::Unbind(space, self.name(), self.when()),
            87..=88 => {
                let after = self.chance.random_bool(0.5).then(|| self.name().to_string());
                let prefix = ["", "a", "a/", "b\u{10ffff}"][self.chance.random_range(0..4)];
                Verb::List(space, prefix.into(), after, self.chance.random_range(1..7))
            }
            89..=90 => Verb::Collect(space, self.chance.random_range(0..3) * 400),
            91..=92 => Verb::Sweep,
            93..=94 => Verb::Plan(space),
            95..=97 => Verb::Damage(self.large()),
            _ => {
                let rotten = self.chance.random_bool(0.5).then(|| self.blob().digest);
                Verb::Restart(rotten)
            }
        }
    }
}

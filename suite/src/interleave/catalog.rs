//! The small catalog: one namespace, three blobs, one node, one name. Mirrors `model::Change`.

mod apply;

/// The blobs there are. `Parent` is a node whose Must links are `Left` (its part 0) and `Right` (its part 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blob {
    /// The node.
    Parent,
    /// Its first child.
    Left,
    /// Its second child.
    Right,
}

impl Blob {
    /// All of them.
    pub const ALL: [Blob; 3] = [Blob::Parent, Blob::Left, Blob::Right];
    /// The parts of the node.
    pub const CHILDREN: [Blob; 2] = [Blob::Left, Blob::Right];

    /// What must be held where this is bound: itself and its children.
    pub fn closure(self) -> &'static [Blob] {
        match self {
            Blob::Parent => &Blob::ALL,
            Blob::Left => &[Blob::Left],
            Blob::Right => &[Blob::Right],
        }
    }
}

/// Where the store keeps one writing of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The blob.
    pub blob: Blob,
    /// Who wrote it.
    pub epoch: u8,
    /// Which of the writings.
    pub counter: u8,
}

/// A blob's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Where it is; `None` when it is lost.
    pub at: Option<Location>,
    /// About to be forgotten.
    pub doomed: bool,
    /// How often it was doomed.
    pub dooms: u8,
}

/// A lease of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Counted edges into it.
    pub held: u8,
    /// Used after the reaper's horizon.
    pub fresh: bool,
}

/// The node of `Parent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// All of its children are counted.
    pub open: bool,
    /// Which of its parts are.
    pub counted: [bool; 2],
}

/// All that is durable and known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Catalog {
    /// By blob.
    pub rows: [Option<Row>; 3],
    /// By blob.
    pub leases: [Option<Lease>; 3],
    /// The one node.
    pub node: Node,
    /// What the one name points at.
    pub name: Option<Blob>,
    /// The live epoch; all below it are dead.
    pub live: u8,
}

/// What can happen. See `model::Change`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each mirrors the change of the same name")]
pub enum Change {
    Begin,
    Claim(Location),
    Hold(Blob),
    Touch(Blob),
    Open { part: usize, last: bool },
    Bind(Blob),
    Unbind,
    Reap(Blob),
    Doom(Blob),
    Forget { blob: Blob, at: Option<Location>, doom: u8 },
    Lose(Location),
}

/// What became of it. See `model::Outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each mirrors the outcome of the same name")]
pub enum Outcome {
    Done,
    Held {
        spare: bool,
    },
    Reaped,
    More,
    Doomed {
        at: Option<Location>,
        doom: u8,
    },
    Kept,
    Absent,
    Incomplete,
    /// The node is not as the walk saw it: walk again.
    Closed,
    Dead,
}

impl Catalog {
    /// Leased, and its bytes are Here: what `has` calls present.
    pub fn here(&self, blob: Blob) -> bool {
        self.leases[blob as usize].is_some() && self.rows[blob as usize].is_some_and(|row| row.at.is_some())
    }

    /// There is a row, and it says that the bytes are gone.
    pub fn lost(&self, blob: Blob) -> bool {
        self.rows[blob as usize].is_some_and(|row| row.at.is_none())
    }

    /// Whether a row says that its blob is there.
    pub fn placed(&self, at: Location) -> bool {
        self.rows[at.blob as usize].is_some_and(|row| row.at == Some(at))
    }
}

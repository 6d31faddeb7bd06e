//! What can happen to a catalog. A change is plain data and carries its own guard.

use bytes::Bytes;

use crate::{Blob, Digest, Epoch, Idle, KindId, Location, Name, NamespaceId, Pointer, Time, TokenRow, UploadRow};

/// Where the bytes of a claim are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here: they go into the catalog's own row, in the transaction of the claim.
    Row(Bytes),
    /// In the store, durable already (law 1).
    At(Location),
}

/// Compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whatever is there.
    Always,
    /// Only if the name is free.
    Absent,
    /// Only if the name points at this blob.
    Is(Digest),
}

/// An edge that a node counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Child {
    /// The blob.
    pub blob: Blob,
    /// Set when the child is itself a node that has to be open, as this kind.
    pub node: Option<KindId>,
}

/// One name of a `Bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The name.
    pub name: Name,
    /// What it is to point at.
    pub pointer: Pointer,
    /// The guard.
    pub when: When,
    /// What must be there for the name: the root and what stands beside it. Empty in a namespace with foreign closure.
    pub roots: Vec<Child>,
    /// The name counts its roots: they stay as long as it does.
    pub holds: bool,
}

/// A guarded change. Each is applied or refused alone: one that is refused never takes its neighbours with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new epoch; declares all others dead (the caller owns the data directory). → `Epoch`
    Begin,
    /// Blob row, lease and quota. Refused as `Full` beyond `limit`, as `Dead` when the place's epoch is dead.
    /// If the bytes are Here already, the claim is a hold and the outcome says that the fresh ones are spare.
    /// → `Held`
    Claim {
        /// Who is to have it.
        space: NamespaceId,
        /// The blob.
        blob: Blob,
        /// The fresh bytes.
        place: Place,
        /// Stamp of the use.
        used: Time,
        /// The namespace's limit in bytes.
        limit: u64,
        /// Digests of other algorithms: (algorithm, bytes).
        aliases: Vec<(String, Vec<u8>)>,
        /// Who promised it, if an upstream brought it: it may be demoted. `None` for what a client brought. What is
        /// held because a client brought it stays the client's.
        source: Option<String>,
    },
    /// A lease on a blob that is Here, as if its bytes had been brought. `Absent` when it is not. → `Held`
    Hold {
        /// Who is to have it.
        space: NamespaceId,
        /// The blob.
        blob: Blob,
        /// Stamp of the use.
        used: Time,
        /// The namespace's limit in bytes.
        limit: u64,
    },
    /// A lease on a blob that an upstream has. Costs no quota. A Held lease stays as it is. → `Done`
    Promise {
        /// Who.
        space: NamespaceId,
        /// The blob.
        blob: Blob,
        /// Upstream, name there and credential scope, as the upstream's owner writes them.
        source: String,
        /// Stamp.
        used: Time,
    },
    /// A Held lease with a source becomes Promised again, whatever keeps it. Once no namespace holds the blob any
    /// more, it is not Here, and its bytes can go. → `Freed`, or `Kept`
    Demote {
        /// Who.
        space: NamespaceId,
        /// The blob.
        digest: Digest,
    },
    /// Counts some children of a node (at most about a thousand a change) and, with `last`, opens it.
    /// Refused as `Incomplete` with those that are not there, as `Kept` when an earlier part is not counted (any
    /// more). → `Done`
    Open {
        /// Whose.
        space: NamespaceId,
        /// The blob that is the node.
        node: Digest,
        /// As what.
        kind: KindId,
        /// Which part of its children, from 0. A part that was counted before stays as it is.
        part: u32,
        /// The children of this part.
        children: Vec<Child>,
        /// This is the last part.
        last: bool,
    },
    /// Binds all of the names or none. Refused as `Incomplete` or `Conflict`. → `Fell`, with what the old pointers held
    Bind {
        /// Whose.
        space: NamespaceId,
        /// The names.
        list: Vec<Binding>,
        /// Stamp.
        at: Time,
        /// Who did it, for the journal.
        by: String,
    },
    /// Removes a name. `Absent`, or `Conflict` by its guard. → `Fell`
    Unbind {
        /// Whose.
        space: NamespaceId,
        /// The name.
        name: Name,
        /// The guard.
        when: When,
        /// Only if the name was not used after this.
        unused_since: Option<Time>,
        /// Stamp.
        at: Time,
        /// Who did it and why, for the journal.
        by: String,
    },
    /// Later stamps of use. Unknown rows are passed over. → `Done`
    Touch {
        /// Whose.
        space: NamespaceId,
        /// Uses of blobs.
        leases: Vec<(Digest, Time)>,
        /// Uses of names.
        names: Vec<(Name, Time)>,
    },
    /// Ends a lease that nothing holds and nobody used after `unused_since`, and closes its nodes; a node with
    /// very many children is closed in several changes (`More`). → `Reaped`, `More`, or `Kept`
    Reap {
        /// Whose.
        space: NamespaceId,
        /// The blob.
        digest: Digest,
        /// The guard.
        unused_since: Time,
    },
    /// Marks a blob that nobody leases. A lease takes the mark away. → `Done`, or `Kept`
    Doom {
        /// The blob.
        digest: Digest,
        /// The mark: a number, not 0, that no other doom has.
        mark: i64,
    },
    /// Removes the row of a blob that still has this mark: a mark that was taken away, even if another was set
    /// since, may stand for a reader that has begun in between. → `Forgot`, or `Kept`
    Forget {
        /// The blob.
        digest: Digest,
        /// The mark.
        mark: i64,
    },
    /// The bytes at this place are damaged: from now on the blob is absent. → `Done`, or `Kept` if it lies elsewhere
    Lose {
        /// The blob.
        digest: Digest,
        /// Which place; `None` for a row.
        at: Option<Location>,
        /// Stamp.
        now: Time,
    },
    /// Records that an upload rests. → `Done`
    Park(UploadRow),
    /// Takes a parked upload, by its space and id: whoever gets `Done` owns its bytes. → `Done`, or `Absent`
    Take {
        /// Whose.
        space: NamespaceId,
        /// Which.
        id: String,
    },
    /// Records a token, or changes it (a revocation is a token that ends). → `Done`
    Token {
        /// The token.
        token: TokenRow,
        /// Stamp.
        at: Time,
        /// Who did it, for the journal.
        by: String,
    },
    /// Drops journal entries before this time, at most a thousand. → `Done`
    TrimJournal {
        /// The horizon.
        before: Time,
    },
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so.
    Done,
    /// The new epoch.
    Epoch(Epoch),
    /// The namespace has the blob.
    Held {
        /// The lease is new (and was paid for).
        new: bool,
        /// The bytes were Here before: the fresh ones are spare.
        spare: bool,
    },
    /// The lease ended.
    Reaped {
        /// What that gave back to the namespace's quota.
        freed: u64,
        /// Leases that nothing holds any more because of this.
        fallen: Vec<Idle>,
        /// Nobody leases the blob any more.
        bare: bool,
    },
    /// Part of it was done; ask again. The leases that nothing holds any more because of this.
    More(Vec<Idle>),
    /// The name is gone. The leases that nothing holds any more because of this.
    Fell(Vec<Idle>),
    /// The row is gone; where the bytes are that it spoke of, `None` when they were in the row or nowhere.
    Forgot(Option<Location>),
    /// Bytes were given back.
    Freed {
        /// To the namespace's quota.
        bytes: u64,
        /// Where the bytes are that no row speaks of any more; `None` when they were in a row, or stay.
        gone: Option<Location>,
    },
    /// The guard said no: something holds it, used it, or moved it.
    Kept,
    /// It is not there.
    Absent,
    /// The names are not what the guard says.
    Conflict,
    /// These are not there (at most a thousand are listed).
    Incomplete(Vec<Digest>),
    /// The namespace's limit.
    Full,
    /// The epoch of the place is dead: its bytes may be gone.
    Dead,
}

//! Any sequence of verbs on a hub gives the answers that a hub made of maps gives.
//!
//! [`hub`] is the twin: maps, no cache, no list of candidates, nothing counted ahead. [`verb`] throws the dice,
//! [`real`] does the same on a real hub. Stamps of the twin are a count of moments; the driver lets the clock move on
//! between verbs, so that the order of stamps is the order of verbs.

pub mod hub;
pub mod real;
pub mod verb;

use model::{Blob, Digest, Meaning, Name};

/// What a verb answered, as far as both sides must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing more to say.
    Done,
    /// Of `has`.
    Sizes(Vec<Option<u64>>),
    /// One for each.
    Each(Vec<Result<(), Fault>>),
    /// The digest of the bytes that came.
    Bytes(Digest),
    /// One for each.
    EachBytes(Vec<Result<Digest, Fault>>),
    /// How far an upload is.
    Offset(Option<u64>),
    /// What was committed, or found.
    Blob(Blob),
    /// Names, with what they point at.
    Names(Vec<(Name, Blob)>),
    /// Bytes in use, and what would go, in order.
    Plan(u64, Vec<String>),
    /// It failed.
    Failed(Fault),
}

/// How it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// For want of these, in order.
    Incomplete(Vec<Digest>),
    /// Otherwise.
    Other(Meaning),
}

impl From<Meaning> for Fault {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Incomplete(mut missing) => {
                missing.sort_unstable();
                missing.dedup();
                Self::Incomplete(missing)
            }
            other => Self::Other(other),
        }
    }
}

impl From<Result<Answer, Fault>> for Answer {
    fn from(done: Result<Answer, Fault>) -> Self {
        done.unwrap_or_else(Answer::Failed)
    }
}

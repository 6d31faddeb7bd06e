//! An exhaustive search over a small model of the lifetime rules: one node with two children, one name, one
//! namespace, a catalog that applies guarded changes one at a time, a store, and the memory of one process.
//! Everything that takes more than one step in the kernel (commit, bind, reap, remove, scan, read, `has`) is an
//! [`Act`](act::Act) here; each step is one `apply`, one look-up, one store operation or one touch of memory,
//! and the search tries every order of them, with crashes in between.
//!
//! The semantics mirror `model::Change`; each guard is a [`Rule`] that can be dropped, and a rule that can be
//! dropped without a violation is not a rule. Not modelled: quota, promised leases, several namespaces.

pub mod act;
pub mod catalog;
pub mod explore;
pub mod law;
pub mod rule;
pub mod world;

pub use act::Role;
pub use catalog::Blob;
pub use explore::{Plot, Violation, explore};
pub use rule::{Rule, Rules};
pub use world::World;

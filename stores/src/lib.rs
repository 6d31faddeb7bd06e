//! Where bytes lie: [`Memory`] for tests and scratch hubs, [`Disk`] for a data directory.

mod disk;
mod memory;

pub use disk::Disk;
pub use memory::Memory;

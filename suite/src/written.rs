//! What the writer of the kill tests writes, by its seed, so that its reader knows the bytes.

use bytes::Bytes;
use model::KindId;

use crate::sample::{blob, bytes};
use crate::toy::Toy;

/// Parts of a name's list.
pub const PARTS: u64 = 3;

/// Small and large ones: rows, files, and files that arrive in pieces.
#[must_use]
pub fn size_of(seed: u64) -> usize {
    let size = [100, 5_000, 40_000, 80_000, 300_000][(seed % 5) as usize];
    size + seed as usize % 100
}

/// A part of a name.
#[must_use]
pub fn part_of(seed: u64, part: u64) -> Bytes {
    bytes(seed * 10 + part + (1 << 40), 2_000 + 33_000 * part as usize)
}

/// The list of a name.
#[must_use]
pub fn list_of(seed: u64) -> Bytes {
    let links: Vec<_> = (0..PARTS).map(|part| (blob(&part_of(seed, part)), KindId::BYTES)).collect();
    Toy::list(&links).into()
}

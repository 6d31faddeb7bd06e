//! Where `.filez` bytes are remembered: those that came with a push, and those that were rendered. They can be lost
//! at any time, because they can be rendered again.

use model::{Blob, Digest, KindId, Name, Pointer, Result};
use sha2::{Digest as _, Sha256};

/// Files up to this size (1 MiB) are rendered when they are asked for: that takes six milliseconds, and remembering
/// would cost a Name and a second blob for each of the many small files of an artifact.
pub(crate) const SMALL: u64 = 1 << 20;

/// The Name under which the `.filez` of a file object is remembered.
pub(crate) fn name(file: &Digest) -> Result<Name> {
    let inputs = [&b"ostree filez\n"[..], file.as_bytes()].concat();
    Name::new(format!("memo/{}", Digest::new(Sha256::digest(inputs).into())))
}

/// What it points at.
pub(crate) fn pointer(filez: Blob) -> Pointer {
    Pointer::new(filez, KindId::BYTES)
}

//! Bodies in pieces, for what is done with them here.

use futures::StreamExt as _;
use model::{Body, Chunks};
use server::Pieces;

/// Bytes of a piece: what is deflated in one go, and read from a file at a time.
const PIECE: usize = 1 << 20;

/// A body in pieces of at most 1 MiB.
pub(crate) fn pieces(body: Body) -> Chunks {
    Pieces::new(body, PIECE).boxed()
}

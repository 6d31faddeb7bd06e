//! ByteStream: large blobs in and out.

mod frames;
mod read;
mod write;

pub(crate) use read::read;
pub(crate) use write::{query_write_status, write};

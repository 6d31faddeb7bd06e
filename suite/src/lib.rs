//! Instruments that prove the laws, and the tests that use them. Nothing here is shipped.

pub mod interleave;
pub mod tornfs;

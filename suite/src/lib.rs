//! Instruments that prove the laws, and the tests that use them. Nothing here is shipped.

pub mod bst1;
pub mod clients;
pub mod contract;
pub mod fault;
pub mod hostile;
pub mod interleave;
pub mod layout;
pub mod ledger;
pub mod registry;
pub mod sample;
pub mod tornfs;
pub mod toy;
pub mod twin;
pub mod written;

//! The sentences that every implementation of a trait of the model obeys.

pub mod catalog;
pub mod store;

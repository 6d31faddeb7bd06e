//! What is known, kept. One implementation so far: [`Sqlite`], embedded, one writer that commits in groups.

mod sqlite;

pub use sqlite::{Plan, Sqlite};

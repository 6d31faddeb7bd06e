//! BuildStream 2.8.1 from PyPI against `bst-artifact-server` and `entrepot serve`.

mod access;
mod cases;
mod configuration;
mod cycle;
mod pair;
mod quota;
mod sources;
mod split;
mod stage;
mod units;

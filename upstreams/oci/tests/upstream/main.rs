//! The client against registries that behave, misbehave, and are real.

mod blobs;
mod dialects;
mod login;
mod manifests;
mod network;
mod real;
mod stage;

//! The real binary in front of registries that misbehave: what is pulled through it is right or is an error, at once or
//! within a bound, and everything that is here stays usable when the other side is not.

mod client;
mod cold;
mod crowd;
mod guard;
mod listing;
mod retention;
mod stage;
mod warm;

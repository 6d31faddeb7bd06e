//! Debian's `ostree` against a hub: it pulls what was pushed, and its `fsck` is the judge.

mod archive;
mod bad;
mod http;
mod kill9;
mod large;
mod pull;
mod push;
mod stage;

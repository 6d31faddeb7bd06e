//! Debian's OpenSSH client against the SSH listener: keys, commands, streams, refusals, crowds and bad manners.

mod crowd;
mod keys;
mod refusals;
mod stage;
mod streams;

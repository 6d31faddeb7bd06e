//! Debian's OpenSSH client against the SSH listener: keys, commands, streams, refusals, crowds and bad manners; and
//! against the product, with its own listener and behind Debian's sshd.

mod crowd;
mod keys;
mod pushes;
mod refusals;
mod served;
mod stage;
mod streams;

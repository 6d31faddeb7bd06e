//! Names and blobs of an upstream, at the kernel's own verbs: what is promised, fetched, given up and fetched again, and
//! what of all this touches what somebody has brought.

mod elsewhere;
mod fetching;
mod keeping;

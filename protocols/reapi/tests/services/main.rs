//! The services over a real kernel, one test for each row of the error table (specs, section 5) and each rule of
//! the sections around it. Requests go through the axum router, as the server sends them.

#[cfg(test)]
mod action_cache;
#[cfg(test)]
mod asset;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod bytestream;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod tree;

//! Other registries as an upstream: the client of the pull-through cache.
//!
//! | of | becomes |
//! |---|---|
//! | `resolve` a tag that is known | `HEAD manifests/<tag>`; the same digest is `Same`, all that is unclear a GET |
//! | `resolve` a tag or a manifest by digest | `GET manifests/<reference>`, bounded, hashed, read |
//! | `resolve` a blob | `HEAD blobs/<digest>`, else the head of a GET |
//! | `list` of tags | `GET tags/list`, page by page |
//! | `fetch` | `GET blobs/<digest>` (`manifests/` where it may be one), resumed by ranges |
//!
//! A name's first component is the registry's host ([`image::Entry`]). Redirects are followed here, so that
//! credentials go to their own host only and every hop passes the guard against private networks. Nothing is kept
//! here but tokens, credentials for a minute, and numbers.

mod challenge;
mod clock;
pub mod credential;
mod document;
mod failure;
mod fetch;
mod fifo;
mod guard;
mod kept;
mod listing;
mod pace;
mod plan;
mod registries;
mod registry;
mod resolve;
mod secret;
mod site;
mod token;
mod watch;

pub use challenge::{Challenge, challenges};
pub use pace::Pace;
pub use plan::{Entry, Plan};
pub use registries::Registries;
pub use secret::Secret;
pub use watch::{Limit, Outcome};

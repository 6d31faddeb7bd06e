//! Listeners: HTTP/1.1, HTTP/2 and gRPC on one port, with or without TLS; SSH on another; who asks; health, metrics
//! and a polite end.
//!
//! A request passes, in this order, through
//! `request.rs` (its id, its line in the log, its numbers, panics) → `origin.rs` (where it comes from) → limits →
//! `identity.rs` (a [`kernel::Caller`]) → [`prefixes`] (whose path is it) → a [`Protocol`]. All of it is one function,
//! `Service::answer`. What goes no further is refused in the form of the protocol whose path it is.
//!
//! An answer with the bytes of a blob is a [`Payload`], which ends cleanly only if it is whole. On plain HTTP/1.1 the
//! kernel sends it from its cache of files: `windows.rs` → `lane.rs` → hyper → `plain.rs`.
//!
//! The server knows no protocol and stores nothing. What it asks of the kernel is the trait [`Kernel`].

mod budget;
mod certificate;
mod clients;
mod connection;
pub mod control;
pub mod descriptor;
mod health;
mod htpasswd;
mod identity;
mod lane;
mod limits;
mod listener;
mod lock;
mod mapped;
mod metrics;
pub mod notify;
mod origin;
mod payload;
mod pem;
mod pieces;
mod plain;
pub mod prefixes;
mod protocol;
mod record;
mod refusal;
mod request;
mod server;
pub mod ssh;
mod tls;
mod watch;
mod windows;

pub use htpasswd::Htpasswd;
pub use identity::Access;
pub use limits::Limits;
pub use listener::{Listener, bind};
pub use lock::Lock;
pub use origin::{Network, Origin, Proxies};
pub use payload::Payload;
pub use pem::Pem;
pub use pieces::Pieces;
pub use prefixes::{Owned, Table};
pub use protocol::{Asked, Protocol};
pub use refusal::Refusal;
pub use request::RequestId;
pub use server::{Kernel, Server};
pub use tls::{Changes, Material, Tls};

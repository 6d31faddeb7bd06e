//! Listeners: HTTP/1.1, HTTP/2 and gRPC on one port, with or without TLS; SSH on another; who asks; health, metrics
//! and a polite end.
//!
//! A request passes, in this order, through
//! `request.rs` (its id, its line in the log, its numbers, panics) → limits → `identity.rs` (a [`kernel::Caller`])
//! → [`prefixes`] (whose path is it) → a [`Protocol`]. All of it is one function, `Service::answer`.
//!
//! The server knows no protocol and stores nothing. What it asks of the kernel is the trait [`Kernel`].

mod certificate;
mod clients;
mod connection;
pub mod control;
pub mod descriptor;
mod health;
mod htpasswd;
mod identity;
mod limits;
mod listener;
mod lock;
mod metrics;
pub mod notify;
mod origin;
mod pem;
pub mod prefixes;
mod protocol;
mod record;
mod refusal;
mod request;
mod server;
pub mod ssh;
mod tls;
mod watch;

pub use htpasswd::Htpasswd;
pub use identity::Access;
pub use limits::Limits;
pub use listener::{Listener, bind};
pub use lock::Lock;
pub use origin::{Network, Origin, Proxies};
pub use pem::Pem;
pub use prefixes::Owned;
pub use protocol::Protocol;
pub use request::RequestId;
pub use server::{Kernel, Server};
pub use tls::{Changes, Material, Tls};

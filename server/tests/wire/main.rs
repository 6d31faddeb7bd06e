//! The server on the wire: real sockets, real certificates made by `openssl`, and `curl` as the client.

mod certificates;
mod drain;
mod files;
mod http;
mod identity;
mod log;
mod proxy;
mod refusal;
mod stage;
mod tls;

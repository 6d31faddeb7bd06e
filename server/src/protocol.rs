//! What a wire protocol gives to the server.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use http::{Method, Uri};
use kernel::Hub;
use model::Kind;

use crate::origin::Origin;
use crate::refusal::Refusal;

/// A wire protocol: translates requests into the kernel's verbs, and nothing else.
///
/// Each request carries a [`kernel::Caller`], an [`crate::Origin`] and a [`crate::RequestId`] in its extensions.
pub trait Protocol: Send + Sync + fmt::Debug {
    /// Its name in the table of prefixes, in logs and in metrics.
    fn name(&self) -> &'static str;
    /// The kinds of blobs it brings; the hub is opened with those of all protocols.
    fn kinds(&self) -> Vec<Box<dyn Kind>>;
    /// What it serves. Its fallback answers the paths below its prefixes that it has no route for.
    fn routes(self: Arc<Self>, hub: Hub) -> Router;
    /// The paths that are its own, each with all below it: `/v2`, `/google.bytestream.ByteStream`. Requests for
    /// other paths never reach it.
    fn prefixes(&self) -> Vec<String>;
    /// The answer, in its own form, to a request for a path of its own that the server refuses before it would get
    /// there, or in which it panicked. `None` leaves it to the server: a status and a line of text. gRPC clients are
    /// answered by the server anyway.
    fn refuse(&self, refusal: &Refusal, asked: &Asked) -> Option<Response> {
        let _ = (refusal, asked);
        None
    }
}

/// What a refused request had asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Where it came from.
    pub origin: Origin,
}

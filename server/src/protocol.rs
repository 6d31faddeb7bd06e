//! What a wire protocol gives to the server.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use kernel::Hub;
use model::Kind;

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
}

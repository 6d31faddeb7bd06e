//! A registry of container images and other artifacts: the OCI distribution specification 1.1, as docker, containerd,
//! podman and others speak it. Wire → verbs:
//!
//! | wire | verbs |
//! |---|---|
//! | GET /v2/ | `may` |
//! | GET, HEAD manifests/TAG or DIGEST | `open` or `find` of `oci/<repo>:<tag>`, `oci/<repo>@<digest>` |
//! | PUT manifests/TAG or DIGEST | `find_all` of what it names, `put`, `bind` |
//! | DELETE manifests/TAG or DIGEST | `unbind` |
//! | GET, HEAD blobs/DIGEST | `open` or `find` of `oci/<repo>!<digest>` |
//! | DELETE blobs/DIGEST | `unbind` |
//! | POST blobs/uploads/ | `upload`, `pause`; with `mount`: `find`, `bind`; with `digest`: `append`, `commit` |
//! | PATCH blobs/uploads/ID | `resume`, `append`, `pause` |
//! | PUT blobs/uploads/ID | `resume`, `append`, `commit` |
//! | GET, DELETE blobs/uploads/ID | `progress`; `resume` and no more |
//! | GET tags/list, /v2/_catalog, referrers/DIGEST | `list` |
//! | GET /v2/token | `Hub::make_pass` |
//! | GET _entrepot/history/TAG | `list` of `oci/<repo>~<tag>/` |
//!
//! What comes from upstreams comes by the same verbs: the kernel asks them. A name that is in none of our repositories
//! is looked for at the upstream that it, the query's `ns`, or the configuration names; see [`place`].

mod blobs;
mod call;
mod history;
mod listing;
mod manifests;
mod pattern;
mod place;
mod push;
mod range;
mod referrers;
mod rollback;
mod route;
mod settings;
mod speak;
mod token;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use kernel::Hub;
use model::Kind;
use server::{Asked, Protocol, Refusal};

pub use pattern::Pattern;
pub use rollback::{Moved, Past, Tags};
pub use settings::{Keep, Rule, Settings};
pub use token::rfc3339;

use crate::call::Call;

/// The protocol.
#[derive(Clone, Debug, Default)]
pub struct Oci {
    settings: Arc<Settings>,
}

impl Oci {
    /// The protocol as the operator wants it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }
}

impl Protocol for Oci {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn kinds(&self) -> Vec<Box<dyn Kind>> {
        image::kinds()
    }

    fn prefixes(&self) -> Vec<String> {
        vec!["/v2".to_owned()]
    }

    fn routes(self: Arc<Self>, hub: Hub) -> Router {
        Router::new().fallback(move |request: Request| {
            let (hub, settings) = (hub.clone(), Arc::clone(&self.settings));
            async move { answer(hub, settings, request).await }
        })
    }

    fn refuse(&self, refusal: &Refusal, asked: &Asked) -> Option<Response> {
        Some(speak::refused(refusal, asked))
    }
}

async fn answer(hub: Hub, settings: Arc<Settings>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let call = match Call::new(hub, settings, &head) {
        Ok(call) => call,
        Err(refused) => return refused.answer(None),
    };
    match route::answer(&call, &head, body).await {
        Ok(response) => response,
        Err(refused) => refused.answer(Some(&call)),
    }
}

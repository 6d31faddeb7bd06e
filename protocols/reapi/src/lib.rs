//! The remote execution APIs: the content store, ByteStream, the action cache and remote assets, as BuildStream,
//! Bazel and others use them. Wire → verbs:
//!
//! | wire | verbs |
//! |---|---|
//! | Capabilities.GetCapabilities | `may` |
//! | CAS.FindMissingBlobs | `has` |
//! | CAS.BatchUpdateBlobs | `put` |
//! | CAS.BatchReadBlobs | `read_small` |
//! | CAS.GetTree | `read_small` of level after level |
//! | CAS.SplitBlob, SpliceBlob | not offered |
//! | ByteStream.Read | `read` |
//! | ByteStream.Write | `has`, else `upload` or `resume`, `append`, `commit` or `park` |
//! | ByteStream.QueryWriteStatus | `has`, else `progress` |
//! | ActionCache.GetActionResult | `find` of `ac/<hex>`, `read_small` |
//! | ActionCache.UpdateActionResult | `put`, `bind` |
//! | Fetch.FetchBlob, FetchDirectory | `find` of `asset/<hex>` |
//! | Push.PushBlob, PushDirectory | `bind` |

mod action_cache;
mod asset;
mod bytestream;
mod call;
mod capabilities;
mod cas;
mod digest;
mod fields;
mod kinds;
mod messages;
mod mount;
mod resource;
mod settings;
mod speak;
mod tree;

use std::sync::Arc;

use axum::Router;
use kernel::Hub;
use model::Kind;
use server::Protocol;

pub use kinds::{ACTION_RESULT, DIRECTORY, TREE};
pub use settings::{Settings, is_instance};

use crate::mount::Mount;

const CAPABILITIES: &str = "/build.bazel.remote.execution.v2.Capabilities";
const CAS: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage";
const ACTION_CACHE: &str = "/build.bazel.remote.execution.v2.ActionCache";
const BYTESTREAM: &str = "/google.bytestream.ByteStream";
const FETCH: &str = "/build.bazel.remote.asset.v1.Fetch";
const PUSH: &str = "/build.bazel.remote.asset.v1.Push";

/// The protocol.
#[derive(Clone, Debug, Default)]
pub struct Reapi {
    settings: Settings,
}

impl Reapi {
    /// The protocol as the operator wants it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

/// What REAPI's blobs mean: the kinds 0x0101 to 0x0103.
#[must_use]
pub fn kinds() -> Vec<Box<dyn Kind>> {
    kinds::all()
}

impl Protocol for Reapi {
    fn name(&self) -> &'static str {
        "reapi"
    }

    fn kinds(&self) -> Vec<Box<dyn Kind>> {
        kinds::all()
    }

    fn prefixes(&self) -> Vec<String> {
        [CAPABILITIES, CAS, ACTION_CACHE, BYTESTREAM, FETCH, PUSH].map(str::to_owned).to_vec()
    }

    /// Its methods; those of these services that are not offered answer `UNIMPLEMENTED`.
    fn routes(self: Arc<Self>, hub: Hub) -> Router {
        let mount = Mount { hub, settings: Arc::new(self.settings.clone()) };
        let mut router = Router::new()
            .route(&format!("{CAPABILITIES}/GetCapabilities"), mount.unary(capabilities::get))
            .route(&format!("{FETCH}/FetchBlob"), mount.unary(asset::fetch_blob))
            .route(&format!("{FETCH}/FetchDirectory"), mount.unary(asset::fetch_directory));
        if self.settings.push {
            router = router
                .route(&format!("{PUSH}/PushBlob"), mount.unary(asset::push_blob))
                .route(&format!("{PUSH}/PushDirectory"), mount.unary(asset::push_directory));
        }
        if !self.settings.index_only {
            router = router
                .route(&format!("{CAS}/FindMissingBlobs"), mount.unary(cas::find_missing))
                .route(&format!("{CAS}/BatchUpdateBlobs"), mount.unary(cas::batch_update))
                .route(&format!("{CAS}/BatchReadBlobs"), mount.unary(cas::batch_read))
                .route(&format!("{CAS}/GetTree"), mount.responses(tree::get))
                .route(&format!("{BYTESTREAM}/Read"), mount.framed(bytestream::read))
                .route(&format!("{BYTESTREAM}/Write"), mount.requests(bytestream::write))
                .route(&format!("{BYTESTREAM}/QueryWriteStatus"), mount.unary(bytestream::query_write_status))
                .route(&format!("{ACTION_CACHE}/GetActionResult"), mount.unary(action_cache::get))
                .route(&format!("{ACTION_CACHE}/UpdateActionResult"), mount.unary(action_cache::update));
        }
        for service in [CAPABILITIES, CAS, ACTION_CACHE, BYTESTREAM, FETCH, PUSH] {
            router = router.route(&format!("{service}/{{method}}"), mount::absent());
        }
        router
    }
}

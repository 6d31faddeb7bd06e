//! A hub of its own for each test.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::{Extension, Router};
use bazel_remote_apis::build::bazel::remote::asset::v1::fetch_client::FetchClient;
use bazel_remote_apis::build::bazel::remote::asset::v1::push_client::PushClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::action_cache_client::ActionCacheClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::batch_update_blobs_request::Request;
use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_client::CapabilitiesClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{BatchUpdateBlobsRequest, Digest};
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use kernel::{Caller, Grant, Hub, Rights};
use reapi::{Reapi, Settings};
use server::Protocol as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::{Code, Status};

/// A hub and one caller of it.
pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) hub: Hub,
    _dir: Arc<TempDir>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default(), u64::MAX).await
    }

    /// With a limit of the namespace `main`.
    pub(crate) async fn with(settings: Settings, limit: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let catalog = catalogs::Plan::new(dir.path().join("catalog")).open().unwrap();
        let store = stores::Disk::open(dir.path().join("blobs")).unwrap();
        let namespaces = vec![("main".into(), limit), ("team/a".into(), u64::MAX)];
        let kernel = kernel::Settings { namespaces, disk_reserve: 0, ..kernel::Settings::default() };
        let hub = Hub::open(Arc::new(catalog), Arc::new(store), reapi::kinds(), kernel).await.unwrap();
        let all = Caller::anonymous(vec![Grant::everywhere(Rights::PUSH)], false);
        Self { router: router(&hub, settings, Some(all)), hub, _dir: Arc::new(dir) }
    }

    /// The same hub, asked by somebody else.
    pub(crate) fn by(&self, caller: Option<Caller>, settings: Settings) -> Self {
        Self { router: router(&self.hub, settings, caller), hub: self.hub.clone(), _dir: Arc::clone(&self._dir) }
    }

    /// Stores these bytes.
    pub(crate) async fn put(&self, data: &[u8]) -> Digest {
        let request = BatchUpdateBlobsRequest { requests: vec![update(data)], ..Default::default() };
        let answer = self.cas().batch_update_blobs(request).await.unwrap().into_inner();
        assert_eq!(answer.responses[0].status.as_ref().map(|status| status.code), Some(0));
        digest(data)
    }

    pub(crate) fn capabilities(&self) -> CapabilitiesClient<Router> {
        CapabilitiesClient::new(self.router.clone())
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Router> {
        ContentAddressableStorageClient::new(self.router.clone()).max_decoding_message_size(16 << 20)
    }

    pub(crate) fn bytestream(&self) -> ByteStreamClient<Router> {
        ByteStreamClient::new(self.router.clone())
    }

    pub(crate) fn action_cache(&self) -> ActionCacheClient<Router> {
        ActionCacheClient::new(self.router.clone())
    }

    pub(crate) fn fetch(&self) -> FetchClient<Router> {
        FetchClient::new(self.router.clone())
    }

    pub(crate) fn push(&self) -> PushClient<Router> {
        PushClient::new(self.router.clone())
    }
}

fn router(hub: &Hub, settings: Settings, caller: Option<Caller>) -> Router {
    let router = Arc::new(Reapi::new(settings)).routes(hub.clone());
    match caller {
        Some(caller) => router.layer(Extension(caller)),
        None => router,
    }
}

pub(crate) fn settings() -> Settings {
    Settings { instances: BTreeMap::new(), ..Settings::default() }
}

pub(crate) fn digest(data: &[u8]) -> Digest {
    let hash = model::Digest::new(Sha256::digest(data).into()).to_string();
    Digest { hash, size_bytes: i64::try_from(data.len()).unwrap() }
}

pub(crate) fn update(data: &[u8]) -> Request {
    Request { digest: Some(digest(data)), data: data.to_vec(), compressor: 0 }
}

/// The status code of an answer.
pub(crate) fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len.div_ceil(32)).flat_map(|n| Sha256::digest(n.to_le_bytes())).take(len).collect()
}

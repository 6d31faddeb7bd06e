//! One store: what a registry was given is there for build caches by its digest, and the other way round.

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use re::content_addressable_storage_client::ContentAddressableStorageClient;
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use suite::clients::{Api, Hub, as_root, installed};
use suite::layout::{Layout, hex};
use tempfile::tempdir;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

/// Everybody reads images; alice pushes, and asks by digest alone; bob pushes images and knows no digests.
const CONFIGURATION: &str = r#"
[registry]
default_upstream = ""
[namespaces.main]
[[listen]]
address = "127.0.0.1:PORT"
anonymous = []
"#;

async fn cas(hub: &Hub) -> ContentAddressableStorageClient<Channel> {
    let channel = Channel::from_shared(format!("http://127.0.0.1:{}", hub.port())).expect("an address");
    ContentAddressableStorageClient::new(channel.connect().await.expect("a connection"))
}

fn bearing<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value: MetadataValue<_> = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A token with these grants, from the running hub.
fn token(root: &std::path::Path, grants: &str) -> String {
    let mut command = suite::clients::command();
    command.args(["token", "make", "test", "--data"]).arg(root.join("data"));
    for grant in grants.split(' ') {
        command.args(["--grant", grant]);
    }
    let done = command.output().expect("it runs");
    let said = String::from_utf8(done.stdout).expect("text");
    said.lines().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&done.stderr))).to_owned()
}

fn digest(value: &serde_json::Value) -> re::Digest {
    let hash = value["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    re::Digest { hash, size_bytes: value["size"].as_i64().expect("a size") }
}

#[tokio::test]
async fn a_layer_that_skopeo_pushed_is_found_by_its_digest() {
    if !(installed(&["skopeo", "busybox"]) && as_root()) {
        return;
    }
    let root = tempdir().expect("a directory");
    let hub = Hub::configured(root.path(), CONFIGURATION);
    let (alice, bob) = (token(root.path(), "push"), token(root.path(), "read,write:main:oci/"));
    let image = Layout::busybox("found");
    let station = suite::clients::Station::new();
    let address = format!("localhost:{}", hub.port());
    station.plain(&address);
    let from = format!("oci:{}:1", image.path().display());
    let push = format!("skopeo copy --preserve-digests --dest-creds any:{bob} {from} docker://{address}/team/app:1");
    station.run(&push).ok();
    let manifest = std::fs::read(image.file(&image.root())).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut asked: Vec<_> = manifest["layers"].as_array().expect("layers").iter().map(digest).collect();
    asked.push(digest(&manifest["config"]));
    let nowhere = re::Digest { hash: "5".repeat(64), size_bytes: 5 };
    asked.push(nowhere.clone());
    let mut cas = cas(&hub).await;
    let request = re::FindMissingBlobsRequest { blob_digests: asked.clone(), ..Default::default() };
    let missing = cas.find_missing_blobs(bearing(&alice, request.clone())).await.expect("an answer").into_inner();
    assert_eq!(missing.missing_blob_digests, std::slice::from_ref(&nowhere));
    let read = re::BatchReadBlobsRequest { digests: vec![asked[1].clone()], ..Default::default() };
    let read = cas.batch_read_blobs(bearing(&alice, read)).await.expect("an answer").into_inner();
    let bytes = std::fs::read(image.file(&manifest["layers"][1])).expect("a layer");
    assert_eq!(read.responses[0].data, bytes);
    // Who may not ask by digest alone learns nothing, not even by a push's reverse.
    let refused = cas.find_missing_blobs(bearing(&bob, request)).await.expect_err("no answer");
    assert!(matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::NotFound), "{refused}");
}

#[tokio::test]
async fn a_blob_of_a_build_becomes_a_layer_without_moving() {
    let root = tempdir().expect("a directory");
    let hub = Hub::configured(root.path(), CONFIGURATION);
    let (alice, bob) = (token(root.path(), "push"), token(root.path(), "read,write:main:oci/"));
    let api = Api::new(&hub.url());
    let (alices, bobs) = (api.user("any", &alice), api.user("any", &bob));
    let content = b"made by a build".repeat(10_000);
    let hash = hex(&Sha256::digest(&content));
    let size_bytes = i64::try_from(content.len()).expect("a size");
    let digest = Some(re::Digest { hash: hash.clone(), size_bytes });
    let request = re::batch_update_blobs_request::Request { digest, data: content, ..Default::default() };
    let request = re::BatchUpdateBlobsRequest { requests: vec![request], ..Default::default() };
    cas(&hub).await.batch_update_blobs(bearing(&alice, request)).await.expect("it is taken");
    let mount = format!("team/app/blobs/uploads/?mount=sha256:{hash}");
    let path = format!("team/app/blobs/sha256:{hash}");
    // Not there yet, and not for somebody who names a digest that others brought.
    assert_eq!(alices.get(&path).await.expect("an answer").0, StatusCode::NOT_FOUND);
    let answer = bobs.ask(Method::POST, &mount).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "bob has to send it");
    let answer = alices.ask(Method::POST, &mount).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let (status, bytes) = alices.get(&path).await.expect("an answer");
    assert_eq!((status, bytes.len()), (StatusCode::OK, usize::try_from(size_bytes).expect("a size")));
}

//! Remote Asset.

use bazel_remote_apis::build::bazel::remote::asset::v1::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest, Qualifier,
};
use bazel_remote_apis::build::bazel::remote::execution::v2::{Digest, Directory, DirectoryNode, FileNode};
use bazel_remote_apis::google::protobuf::Timestamp;
use prost::Message;
use tonic::{Code, Status};

use crate::rig::{Rig, code, digest, settings};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pushed(uris: &[&str], blob: &Digest) -> PushBlobRequest {
    PushBlobRequest { uris: texts(uris), blob_digest: Some(blob.clone()), ..Default::default() }
}

async fn push(rig: &Rig, request: PushBlobRequest) -> Code {
    code(rig.push().push_blob(request).await)
}

fn qualifiers(pairs: &[(&str, &str)]) -> Vec<Qualifier> {
    pairs.iter().map(|(name, value)| Qualifier { name: (*name).into(), value: (*value).into() }).collect()
}

async fn fetch_with(rig: &Rig, uris: &[&str], with: &[(&str, &str)]) -> Result<FetchBlobResponse, Status> {
    let request = FetchBlobRequest { uris: texts(uris), qualifiers: qualifiers(with), ..Default::default() };
    rig.fetch().fetch_blob(request).await.map(tonic::Response::into_inner)
}

async fn fetch(rig: &Rig, uris: &[&str]) -> Result<Digest, Code> {
    let answer = fetch_with(rig, uris, &[]).await.map_err(|status| status.code())?;
    assert_eq!(answer.status.unwrap_or_default().code, 0);
    Ok(answer.blob_digest.unwrap())
}

async fn tree(rig: &Rig) -> (Digest, Digest) {
    let file = FileNode { name: "f".into(), digest: Some(rig.put(b"file").await), ..Default::default() };
    let child = Directory { files: vec![file], ..Default::default() }.encode_to_vec();
    let node = DirectoryNode { name: "d".into(), digest: Some(digest(&child)) };
    let root = Directory { directories: vec![node], ..Default::default() }.encode_to_vec();
    rig.put(&root).await;
    (digest(&root), rig.put(&child).await)
}

#[tokio::test]
async fn the_probes_of_buildstream() {
    let rig = Rig::new().await;
    assert_eq!(code(rig.fetch().fetch_blob(FetchBlobRequest::default()).await), Code::InvalidArgument);
    assert_eq!(code(rig.fetch().fetch_directory(FetchDirectoryRequest::default()).await), Code::InvalidArgument);
    assert_eq!(code(rig.push().push_blob(PushBlobRequest::default()).await), Code::InvalidArgument);
    assert_eq!(code(rig.push().push_directory(PushDirectoryRequest::default()).await), Code::InvalidArgument);
    let pull = rig.by(None, settings());
    assert_eq!(code(pull.fetch().fetch_blob(FetchBlobRequest::default()).await), Code::Internal, "no caller");
}

#[tokio::test]
async fn what_was_pushed_is_fetched() {
    let rig = Rig::new().await;
    let (one, two) = (rig.put(b"one").await, rig.put(b"two").await);
    assert_eq!(push(&rig, pushed(&["strong", "weak"], &one)).await, Code::Ok);
    assert_eq!(fetch(&rig, &["strong"]).await, Ok(one.clone()));
    assert_eq!(push(&rig, pushed(&["weak"], &two)).await, Code::Ok);
    assert_eq!(fetch(&rig, &["strong"]).await, Ok(one), "each URI is an entry of its own");
    let answer = fetch_with(&rig, &["none", "weak", "strong"], &[]).await.unwrap();
    assert_eq!((answer.uri.as_str(), answer.blob_digest), ("weak", Some(two)));
    let status = fetch_with(&rig, &["none"], &[]).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "Asset not found"));
}

#[tokio::test]
async fn qualifiers_and_form_are_part_of_the_key() {
    let rig = Rig::new().await;
    let blob = rig.put(b"one").await;
    let with = qualifiers(&[("a", "1"), ("b", "2")]);
    assert_eq!(push(&rig, PushBlobRequest { qualifiers: with, ..pushed(&["u"], &blob) }).await, Code::Ok);
    let answer = fetch_with(&rig, &["u"], &[("b", "2"), ("a", "1")]).await.unwrap();
    assert_eq!(answer.qualifiers, qualifiers(&[("b", "2"), ("a", "1")]));
    for other in [&[][..], &[("a", "1")], &[("a", "1"), ("b", "2"), ("c", "3")], &[("a", "2"), ("b", "1")]] {
        assert_eq!(code(fetch_with(&rig, &["u"], other).await), Code::NotFound);
    }
    let with = qualifiers(&[("a", "1"), ("b", "2")]);
    let request = FetchDirectoryRequest { uris: texts(&["u"]), qualifiers: with, ..Default::default() };
    assert_eq!(code(rig.fetch().fetch_directory(request).await), Code::NotFound);
}

#[tokio::test]
async fn an_end_is_kept_and_told() {
    let rig = Rig::new().await;
    let blob = rig.put(b"one").await;
    let until = |seconds| PushBlobRequest { expire_at: Some(Timestamp { seconds, nanos: 0 }), ..pushed(&["u"], &blob) };
    assert_eq!(push(&rig, until(4_000_000_000)).await, Code::Ok);
    let answer = fetch_with(&rig, &["u"], &[]).await.unwrap();
    assert_eq!(answer.expires_at, Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }));
    assert_eq!(push(&rig, until(1000)).await, Code::Ok);
    assert_eq!(fetch(&rig, &["u"]).await, Err(Code::NotFound));
}

#[tokio::test]
async fn a_push_of_what_is_missing_is_a_failed_precondition() {
    let rig = Rig::new().await;
    let (blob, gone) = (rig.put(b"one").await, digest(b"gone"));
    let status = rig.push().push_blob(pushed(&["u"], &gone)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains(&gone.hash), "{}", status.message());
    let subject = format!("blobs/{}/4", gone.hash);
    assert!(status.details().windows(subject.len()).any(|window| window == subject.as_bytes()));
    let also = PushBlobRequest { references_blobs: vec![gone.clone()], ..pushed(&["u"], &blob) };
    assert_eq!(push(&rig, also).await, Code::FailedPrecondition);
    let also = PushBlobRequest { references_directories: vec![gone], ..pushed(&["u"], &blob) };
    assert_eq!(push(&rig, also).await, Code::FailedPrecondition);
    assert_eq!(fetch(&rig, &["u"]).await, Err(Code::NotFound));
}

#[tokio::test]

async fn a_push_with_the_wrong_size_is_a_failed_precondition() {
    let rig = Rig::new().await;
    let wrong = Digest { size_bytes: 9, ..rig.put(b"one").await };
    assert_eq!(push(&rig, pushed(&["u"], &wrong)).await, Code::FailedPrecondition);
}

#[tokio::test]
async fn a_directory_is_whole_or_refused() {
    let rig = Rig::new().await;
    let (root, child) = tree(&rig).await;
    let request = |digest: Digest| PushDirectoryRequest {
        uris: texts(&["u"]),
        root_directory_digest: Some(digest),
        ..Default::default()
    };
    assert_eq!(code(rig.push().push_directory(request(root.clone())).await), Code::Ok);
    let asked = FetchDirectoryRequest { uris: texts(&["u"]), ..Default::default() };
    let answer = rig.fetch().fetch_directory(asked).await.unwrap().into_inner();
    assert_eq!(answer.root_directory_digest, Some(root.clone()));
    assert_eq!(fetch(&rig, &["u"]).await, Err(Code::NotFound));

    let node = DirectoryNode { name: "d".into(), digest: Some(digest(b"no such directory")) };
    let torn = Directory { directories: vec![node], ..Default::default() }.encode_to_vec();
    let torn = rig.put(&torn).await;
    assert_eq!(code(rig.push().push_directory(request(torn)).await), Code::FailedPrecondition);
    let text = rig.put(b"this is no Directory").await;
    assert_eq!(code(rig.push().push_directory(request(text)).await), Code::InvalidArgument);
    assert_eq!(code(rig.push().push_directory(request(digest(b""))).await), Code::Ok, "the empty directory");

    let artifact = rig.put(b"artifact").await;
    let whole = PushBlobRequest { references_directories: vec![root, child], ..pushed(&["a"], &artifact) };
    assert_eq!(push(&rig, whole).await, Code::Ok);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let rig = Rig::new().await;
    let blob = rig.put(b"one").await;
    let bad = Digest { hash: "x".into(), size_bytes: 1 };
    let long = "x".repeat(100_000);
    for request in [
        PushBlobRequest { blob_digest: None, ..pushed(&["u"], &blob) },
        PushBlobRequest { references_blobs: vec![bad.clone()], ..pushed(&["u"], &blob) },
        PushBlobRequest { digest_function: 2, ..pushed(&["u"], &blob) },
        PushBlobRequest { instance_name: "x".into(), ..pushed(&["u"], &blob) },
        pushed(&["u"], &bad),
        pushed(&["u", ""], &blob),
        pushed(&[&long], &blob),
    ] {
        assert_eq!(push(&rig, request).await, Code::InvalidArgument);
    }
    assert_eq!(fetch(&rig, &[&long]).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn an_index_checks_nothing() {
    let rig = Rig::new().await;
    let index = reapi::Settings { index_only: true, ..settings() };
    let caller = kernel::Caller::anonymous(vec![kernel::Grant::everywhere(kernel::Rights::PUSH)], false);
    let rig = rig.by(Some(caller), index);
    let elsewhere = digest(b"elsewhere");
    let push_it = PushBlobRequest { references_directories: vec![digest(b"gone")], ..pushed(&["u"], &elsewhere) };
    assert_eq!(push(&rig, push_it).await, Code::Ok);
    assert_eq!(fetch(&rig, &["u"]).await, Ok(elsewhere));
}

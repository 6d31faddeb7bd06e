//! FindMissingBlobs, BatchUpdateBlobs, BatchReadBlobs.

use bazel_remote_apis::build::bazel::remote::execution::v2::batch_update_blobs_request::Request;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchReadBlobsRequest, BatchUpdateBlobsRequest, Digest, FindMissingBlobsRequest, SplitBlobRequest,
};
use tonic::Code;

use crate::rig::{Rig, code, digest, noise, settings, update};

async fn missing(rig: &Rig, blob_digests: Vec<Digest>) -> Result<Vec<Digest>, Code> {
    let request = FindMissingBlobsRequest { blob_digests, ..Default::default() };
    let answer = rig.cas().find_missing_blobs(request).await;
    answer.map(|answer| answer.into_inner().missing_blob_digests).map_err(|status| status.code())
}

async fn store(rig: &Rig, requests: Vec<Request>) -> Result<Vec<i32>, Code> {
    let request = BatchUpdateBlobsRequest { requests, ..Default::default() };
    let answer = rig.cas().batch_update_blobs(request).await.map_err(|status| status.code())?.into_inner();
    Ok(answer.responses.into_iter().map(|response| response.status.unwrap().code).collect())
}

async fn load(rig: &Rig, digests: Vec<Digest>) -> Result<Vec<(i32, Vec<u8>)>, Code> {
    let request = BatchReadBlobsRequest { digests, ..Default::default() };
    let answer = rig.cas().batch_read_blobs(request).await.map_err(|status| status.code())?.into_inner();
    Ok(answer.responses.into_iter().map(|response| (response.status.unwrap().code, response.data)).collect())
}

#[tokio::test]
async fn find_missing() {
    let rig = Rig::new().await;
    let here = rig.put(b"here").await;
    let there = digest(b"there");
    let other = |hash: &str| Digest { hash: hash.into(), size_bytes: 4 };
    let sized = |size_bytes| Digest { size_bytes, ..here.clone() };

    let empty = digest(b"");
    let found = missing(&rig, vec![here.clone(), there.clone(), empty.clone(), there.clone()]).await;
    assert_eq!(found, Ok(vec![there.clone(), there]), "duplicates are echoed, and the empty blob is always there");
    for absent in [other("abc"), other(&here.hash.to_uppercase()), other(&"g".repeat(64)), sized(5), sized(-1)] {
        assert_eq!(missing(&rig, vec![absent.clone()]).await, Ok(vec![absent]));
    }
    for refused in [other(""), other("../../../../etc/passwd")] {
        assert_eq!(missing(&rig, vec![refused]).await, Err(Code::InvalidArgument));
    }
    assert_eq!(missing(&rig, vec![]).await, Ok(vec![]));
}

#[tokio::test]
async fn find_missing_takes_seventy_thousand() {
    let rig = Rig::new().await;
    let digests: Vec<_> = (0..70_000_u32).map(|n| digest(&n.to_le_bytes())).collect();
    assert_eq!(missing(&rig, digests).await.map(|missing| missing.len()), Ok(70_000));
}

#[tokio::test]
async fn only_sha256_and_known_instances() {
    let rig = Rig::new().await;
    let ask = |instance_name: &str, digest_function| FindMissingBlobsRequest {
        instance_name: instance_name.into(),
        digest_function,
        ..Default::default()
    };
    for (instance, function, wanted) in [
        ("", 0, Code::Ok),
        ("", 1, Code::Ok),
        ("", 2, Code::InvalidArgument),
        ("", 99, Code::InvalidArgument),
        ("team/a", 0, Code::Ok),
        ("main", 0, Code::Ok),
        ("x", 0, Code::InvalidArgument),
        ("a/blobs/b", 0, Code::InvalidArgument),
    ] {
        assert_eq!(code(rig.cas().find_missing_blobs(ask(instance, function)).await), wanted, "{instance} {function}");
    }
    let status = rig.cas().find_missing_blobs(ask("x", 0)).await.unwrap_err();
    assert_eq!(status.message(), "Invalid instance name \"x\"");
}

#[tokio::test]
async fn batch_update_judges_each_blob() {
    let rig = Rig::new().await;
    let good = update(b"good");
    let of = |digest, data: &[u8]| Request { digest: Some(digest), data: data.to_vec(), compressor: 0 };
    let upper = Digest { hash: digest(b"a").hash.to_uppercase(), size_bytes: 1 };
    let requests = vec![
        of(digest(b"a"), b"b"),
        of(Digest { size_bytes: 2, ..digest(b"a") }, b"a"),
        of(Digest { hash: "../x".into(), size_bytes: 1 }, b"a"),
        of(upper, b"a"),
        Request { compressor: 1, ..update(b"a") },
        Request { digest: None, ..update(b"a") },
        good.clone(),
    ];
    assert_eq!(store(&rig, requests).await, Ok(vec![3, 3, 3, 3, 3, 3, 0]));
    assert_eq!(missing(&rig, vec![digest(b"a"), digest(b"good")]).await, Ok(vec![digest(b"a")]));
    assert_eq!(store(&rig, vec![]).await, Ok(vec![]), "an empty batch is how BuildStream 1 probes");
    assert_eq!(store(&rig, vec![good.clone(), good]).await, Ok(vec![0, 0]));
    assert_eq!(store(&rig, vec![update(&noise(5 << 20))]).await, Ok(vec![0]), "larger than advertised");
}

#[tokio::test]
async fn a_blob_larger_than_the_quota_is_resource_exhausted() {
    let rig = Rig::with(settings(), 1000).await;
    assert_eq!(store(&rig, vec![update(&noise(1001)), update(b"small")]).await, Ok(vec![8, 0]));
}

#[tokio::test]
async fn batch_read() {
    let rig = Rig::new().await;
    let here = rig.put(b"here").await;
    let wrong = Digest { size_bytes: 3, ..here.clone() };
    let bad = Digest { hash: "x".into(), size_bytes: 1 };
    let read = load(&rig, vec![here.clone(), digest(b"no"), wrong, digest(b""), bad, here]).await.unwrap();
    let (ok, none) = ((0, b"here".to_vec()), (5, vec![]));
    assert_eq!(read, [ok.clone(), none.clone(), none, (0, vec![]), (3, vec![]), ok]);
    assert_eq!(load(&rig, vec![]).await, Ok(vec![]));

    let size = |size_bytes| Digest { size_bytes, ..digest(b"no") };
    assert_eq!(load(&rig, vec![size(4_128_768)]).await, Ok(vec![(5, vec![])]));
    assert_eq!(load(&rig, vec![size(4_000_000), size(128_769)]).await, Err(Code::InvalidArgument));
    assert_eq!(load(&rig, vec![size(i64::MAX), size(i64::MAX), size(i64::MAX)]).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn chunking_is_not_offered() {
    let rig = Rig::new().await;
    assert_eq!(code(rig.cas().split_blob(SplitBlobRequest::default()).await), Code::Unimplemented);
}

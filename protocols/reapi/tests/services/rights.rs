//! Who may do what, and what is offered at all.

use bazel_remote_apis::build::bazel::remote::asset::v1::{FetchBlobRequest, PushBlobRequest};
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchReadBlobsRequest, BatchUpdateBlobsRequest, CacheCapabilities, FindMissingBlobsRequest, GetActionResultRequest,
    GetCapabilitiesRequest, UpdateActionResultRequest,
};
use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use futures::stream;
use kernel::{Caller, Grant, Rights};
use reapi::Settings;
use tonic::Code;

use crate::rig::{Rig, code, digest, settings};

fn anonymous(rights: Rights, may_login: bool) -> Option<Caller> {
    Some(Caller::anonymous(vec![Grant::everywhere(rights)], may_login))
}

async fn capabilities(rig: &Rig, instance_name: &str) -> Result<CacheCapabilities, Code> {
    let request = GetCapabilitiesRequest { instance_name: instance_name.into() };
    let answer = rig.capabilities().get_capabilities(request).await.map_err(|status| status.code())?.into_inner();
    assert_eq!(answer.low_api_version.map(|version| (version.major, version.minor)), Some((2, 0)));
    Ok(answer.cache_capabilities.unwrap())
}

/// The codes of empty or senseless reads and writes.
async fn probes(rig: &Rig) -> (Vec<Code>, Vec<Code>) {
    let name = format!("uploads/u/blobs/{}/3", digest(b"abc").hash);
    let write = WriteRequest { resource_name: name, data: b"abc".to_vec(), finish_write: true, ..Default::default() };
    let read = ReadRequest { resource_name: "blobs/abc/3".into(), ..Default::default() };
    let reads = vec![
        code(rig.cas().find_missing_blobs(FindMissingBlobsRequest::default()).await),
        code(rig.cas().batch_read_blobs(BatchReadBlobsRequest::default()).await),
        code(rig.bytestream().read(read).await),
        code(rig.fetch().fetch_blob(FetchBlobRequest::default()).await),
        code(rig.action_cache().get_action_result(GetActionResultRequest::default()).await),
    ];
    let writes = vec![
        code(rig.cas().batch_update_blobs(BatchUpdateBlobsRequest::default()).await),
        code(rig.bytestream().write(stream::iter([write])).await),
        code(rig.push().push_blob(PushBlobRequest::default()).await),
        code(rig.action_cache().update_action_result(UpdateActionResultRequest::default()).await),
    ];
    (reads, writes)
}

const READS: [Code; 5] = [Code::Ok, Code::Ok, Code::NotFound, Code::InvalidArgument, Code::InvalidArgument];

#[tokio::test]
async fn rights_come_before_arguments() {
    let rig = Rig::new().await;
    let by = |caller| rig.by(caller, settings());
    assert_eq!(probes(&by(anonymous(Rights::PULL, false))).await, (READS.into(), vec![Code::PermissionDenied; 4]));
    assert_eq!(probes(&by(anonymous(Rights::PULL, true))).await, (READS.into(), vec![Code::Unauthenticated; 4]));
    let (reads, writes) = probes(&by(anonymous(Rights::NONE, true))).await;
    assert!(reads.into_iter().chain(writes).all(|code| code == Code::Unauthenticated));
    let (reads, writes) = probes(&by(Some(Caller::known("token:x", vec![])))).await;
    assert!(reads.into_iter().chain(writes).all(|code| code == Code::PermissionDenied));
    let (reads, writes) = probes(&by(None)).await;
    assert!(reads.into_iter().chain(writes).all(|code| code == Code::Internal));
}

#[tokio::test]
async fn a_hidden_instance_is_an_unknown_one() {
    let rig = Rig::new().await;
    let here = Grant { namespace: "main".into(), ..Grant::everywhere(Rights::PUSH) };
    let rig = rig.by(Some(Caller::known("token:x", vec![here])), settings());
    for instance in ["team/a", "nowhere"] {
        for right in ["read", "write"] {
            let answer = match right {
                "read" => {
                    let request = FindMissingBlobsRequest { instance_name: instance.into(), ..Default::default() };
                    rig.cas().find_missing_blobs(request).await.map(|_| ())
                }
                _ => {
                    let request = BatchUpdateBlobsRequest { instance_name: instance.into(), ..Default::default() };
                    rig.cas().batch_update_blobs(request).await.map(|_| ())
                }
            };
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert_eq!(status.message(), format!("Invalid instance name \"{instance}\""));
        }
    }
}

#[tokio::test]
async fn a_pull_instance_takes_nothing() {
    let rig = Rig::new().await;
    let rig = rig.by(anonymous(Rights::PUSH, false), Settings { push: false, ..settings() });
    let (reads, writes) = probes(&rig).await;
    assert_eq!(reads, READS);
    let denied = Code::PermissionDenied;
    assert_eq!(writes, [denied, denied, Code::Unimplemented, denied], "Push is not there at all");
    assert!(!capabilities(&rig, "").await.unwrap().action_cache_update_capabilities.unwrap().update_enabled);
}

#[tokio::test]
async fn an_index_has_no_storage() {
    let rig = Rig::new().await;
    let rig = rig.by(anonymous(Rights::PUSH, false), Settings { index_only: true, ..settings() });
    let (none, bad) = (Code::Unimplemented, Code::InvalidArgument);
    assert_eq!(probes(&rig).await, (vec![none, none, none, bad, none], vec![none, none, bad, none]));
    assert!(capabilities(&rig, "").await.is_ok());
}

#[tokio::test]
async fn capabilities_are_true_for_the_caller() {
    let rig = Rig::new().await;
    let updates = |cache: &CacheCapabilities| cache.action_cache_update_capabilities.unwrap().update_enabled;
    let all = capabilities(&rig, "").await.unwrap();
    assert!(updates(&all));
    assert_eq!((all.max_batch_total_size_bytes, all.digest_functions.clone()), (1_048_576, vec![1]));
    assert!(all.supported_compressors.is_empty() && !all.split_blob_support && !all.splice_blob_support);
    let pull = rig.by(anonymous(Rights::PULL, false), settings());
    assert!(!updates(&capabilities(&pull, "").await.unwrap()));
    assert_eq!(capabilities(&rig, "nowhere").await, Err(Code::InvalidArgument));
}

//! ActionCache.

use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionResult, Digest, Directory, FileNode, GetActionResultRequest, OutputDirectory, OutputFile, Tree,
    UpdateActionResultRequest,
};
use prost::Message;
use tonic::Code;

use crate::rig::{Rig, code, digest};

async fn get(rig: &Rig, action: &[u8]) -> Result<ActionResult, Code> {
    let request = GetActionResultRequest {
        action_digest: Some(digest(action)),
        inline_stdout: true,
        inline_stderr: true,
        ..Default::default()
    };
    let answer = rig.action_cache().get_action_result(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.code())
}

fn updated(action: &[u8], result: ActionResult) -> UpdateActionResultRequest {
    let action_digest = Some(digest(action));
    UpdateActionResultRequest { action_digest, action_result: Some(result), ..Default::default() }
}

async fn update(rig: &Rig, action: &[u8], result: ActionResult) -> Code {
    code(rig.action_cache().update_action_result(updated(action, result)).await)
}

fn file(digest: Digest) -> ActionResult {
    let output = OutputFile { path: "../../x".into(), digest: Some(digest), ..Default::default() };
    ActionResult { output_files: vec![output], exit_code: 1, ..Default::default() }
}

#[tokio::test]
async fn a_result_comes_back() {
    let rig = Rig::new().await;
    assert_eq!(get(&rig, b"action").await, Err(Code::NotFound));
    let mut result = file(rig.put(b"output").await);
    result.stdout_digest = Some(rig.put(b"said").await);
    result.stderr_digest = Some(digest(b""));
    assert_eq!(update(&rig, b"action", result.clone()).await, Code::Ok);
    let told = ActionResult { stdout_raw: b"said".to_vec(), ..result };
    assert_eq!(get(&rig, b"action").await, Ok(told), "with its output, since that was asked for");
    let other = ActionResult { exit_code: 0, ..Default::default() };
    assert_eq!(update(&rig, b"action", other.clone()).await, Code::Ok);
    assert_eq!(get(&rig, b"action").await, Ok(other), "an entry may be replaced");
}

#[tokio::test]
async fn outputs_must_be_there() {
    let rig = Rig::new().await;
    assert_eq!(update(&rig, b"action", file(digest(b"gone"))).await, Code::FailedPrecondition);
    let node = FileNode { name: "f".into(), digest: Some(digest(b"file")), ..Default::default() };
    let root = Directory { files: vec![node], ..Default::default() };
    let tree = Tree { root: Some(root.clone()), children: vec![] };
    let tree_digest = Some(rig.put(&tree.encode_to_vec()).await);
    let root_directory_digest = Some(rig.put(&root.encode_to_vec()).await);
    let of = |tree_digest, root_directory_digest| {
        let path = "../../../buildstream-install".into();
        let output = OutputDirectory { path, tree_digest, root_directory_digest, ..Default::default() };
        ActionResult { output_directories: vec![output], ..Default::default() }
    };
    let results = [of(tree_digest, None), of(None, root_directory_digest)];
    for result in results.clone() {
        assert_eq!(update(&rig, b"action", result).await, Code::FailedPrecondition, "its file is not here");
    }
    rig.put(b"file").await;
    for result in results {
        assert_eq!(update(&rig, b"action", result).await, Code::Ok);
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let rig = Rig::new().await;
    let bad = Digest { hash: "x".into(), size_bytes: 1 };
    assert_eq!(update(&rig, b"action", file(bad.clone())).await, Code::InvalidArgument);
    assert_eq!(update(&rig, b"action", file(Digest::default())).await, Code::InvalidArgument);
    let plain = updated(b"action", ActionResult::default());
    for request in [
        UpdateActionResultRequest { action_result: None, ..plain.clone() },
        UpdateActionResultRequest { action_digest: None, ..plain.clone() },
        UpdateActionResultRequest { action_digest: Some(bad), ..plain.clone() },
        UpdateActionResultRequest { digest_function: 2, ..plain.clone() },
        UpdateActionResultRequest { instance_name: "x".into(), ..plain },
    ] {
        assert_eq!(code(rig.action_cache().update_action_result(request).await), Code::InvalidArgument);
    }
    let none = GetActionResultRequest::default();
    assert_eq!(code(rig.action_cache().get_action_result(none).await), Code::InvalidArgument);
}

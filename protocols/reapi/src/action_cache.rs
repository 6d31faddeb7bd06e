//! ActionCache. An entry is the Name `ac/<hex of the action's digest>`; its blob is the ActionResult, encoded.

use bazel_remote_apis::build::bazel::remote::execution::v2::{
    self as re, ActionResult, GetActionResultRequest, UpdateActionResultRequest,
};
use bytes::Bytes;
use kernel::{Namespace, Rights};
use model::{Blob, Digest, Error, Name, Pointer, Result, When};
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::call::Call;
use crate::digest::{blob, only_sha256};
use crate::kinds::ACTION_RESULT;
use crate::speak::Answer;

/// Most bytes of output that are put into the result itself when the client asks for it.
const MOST_INLINE: i64 = 1 << 20;

/// `GetActionResult`. That all outputs are there needs no check: while the Name is bound they are held.
pub(crate) async fn get(call: Call, request: GetActionResultRequest) -> Answer<ActionResult> {
    let namespace = call.enter(&request.instance_name, Rights::READ)?;
    only_sha256(request.digest_function)?;
    let action = blob(request.action_digest.as_ref(), "the action digest")?;
    let row = namespace.find(&name(action.digest)?).await?;
    let bytes = one(&namespace, row.pointer.blob).await?;
    let mut result = ActionResult::decode(bytes)
        .map_err(|cause| Error::broken("a stored action result cannot be read").because(cause))?;
    if request.inline_stdout && result.stdout_raw.is_empty() {
        result.stdout_raw = inline(&namespace, result.stdout_digest.as_ref()).await?;
    }
    if request.inline_stderr && result.stderr_raw.is_empty() {
        result.stderr_raw = inline(&namespace, result.stderr_digest.as_ref()).await?;
    }
    Ok(result)
}

/// `UpdateActionResult`. An output that is missing is a failed precondition.
pub(crate) async fn update(call: Call, request: UpdateActionResultRequest) -> Answer<ActionResult> {
    let namespace = call.enter(&request.instance_name, Rights::WRITE)?;
    only_sha256(request.digest_function)?;
    let action = blob(request.action_digest.as_ref(), "the action digest")?;
    let result = request.action_result.ok_or_else(|| Error::malformed("the action result is missing"))?;
    let bytes = Bytes::from(result.encode_to_vec());
    let stored = Blob { digest: Digest::new(Sha256::digest(&bytes).into()), size: bytes.len() as u64 };
    let name = name(action.digest)?;
    for put in namespace.put(vec![(stored, bytes)]).await? {
        put?;
    }
    namespace.bind(vec![(name, Pointer::new(stored, ACTION_RESULT), When::Always)]).await?;
    Ok(result)
}

fn name(action: Digest) -> Result<Name> {
    Name::new(format!("ac/{action}"))
}

/// One blob that a Name holds.
async fn one(namespace: &Namespace, blob: Blob) -> Result<Bytes> {
    let read = namespace.read_small(&[blob]).await?.pop();
    read.unwrap_or_else(|| Err(Error::broken("a read got no answer")))
}

/// The output, if it is small enough; inlining is a favour.
async fn inline(namespace: &Namespace, output: Option<&re::Digest>) -> Result<Vec<u8>> {
    match output.filter(|digest| digest.size_bytes <= MOST_INLINE) {
        Some(digest) => Ok(one(namespace, blob(Some(digest), "an output")?).await?.into()),
        None => Ok(Vec::new()),
    }
}

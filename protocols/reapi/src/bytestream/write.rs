//! ByteStream.Write and QueryWriteStatus.
//!
//! The resource name is the id of the upload: what a broken stream brought is parked, and a stream that begins
//! where it stopped goes on with it.

use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, QueryWriteStatusResponse, WriteResponse};
use kernel::{Claim, Namespace, Rights, Upload};
use model::{Blob, Error, Result};
use tonic::codec::Streaming;

use crate::call::Call;
use crate::messages::WriteRequest;
use crate::resource::Resource;
use crate::speak::Answer;

/// `Write`. A blob that is there already is answered as soon as it is named, the rest of the stream unread.
pub(crate) async fn write(call: Call, mut messages: Streaming<WriteRequest>) -> Answer<WriteResponse> {
    let first = messages.message().await?.ok_or_else(|| Error::malformed("the stream is empty"))?;
    let name = first.resource_name.clone();
    let resource = Resource::to_write(&name)?;
    let namespace = call.enter(resource.instance, Rights::WRITE)?;
    let blob = wanted(&resource)?;
    if holds(&namespace, blob).await? {
        return Ok(WriteResponse { committed_size: signed(blob.size) });
    }
    let mut upload = open(&namespace, &name, blob, first.write_offset).await?;
    if let Err(refusal) = receive(&mut upload, first, &mut messages).await {
        // Parked before the answer and not by the drop after it, so that the client can go on at once.
        if let Err(error) = upload.park().await {
            tracing::warn!(%error, "an upload that broke off cannot be resumed");
        }
        return Err(refusal);
    }
    let committed = upload.commit().await?;
    Ok(WriteResponse { committed_size: signed(committed.size) })
}

/// Takes all messages. A stream that ends without `finish_write`, or goes on after it, is an error.
async fn receive(upload: &mut Upload, first: WriteRequest, messages: &mut Streaming<WriteRequest>) -> Answer<()> {
    let name = first.resource_name.clone();
    let mut message = Some(first);
    while let Some(next) = message {
        let finish = next.finish_write;
        take(upload, &name, next).await?;
        message = messages.message().await?;
        match (finish, &message) {
            (true, None) => return Ok(()),
            (true, Some(_)) => return Err(Error::malformed("a message came after finish_write").into()),
            (false, _) => {}
        }
    }
    Err(Error::malformed("the stream ended without finish_write; it can be resumed").into())
}

/// `QueryWriteStatus`.
pub(crate) async fn query_write_status(
    call: Call,
    request: QueryWriteStatusRequest,
) -> Answer<QueryWriteStatusResponse> {
    let resource = Resource::to_write(&request.resource_name)?;
    let namespace = call.enter(resource.instance, Rights::WRITE)?;
    let blob = wanted(&resource)?;
    if holds(&namespace, blob).await? {
        return Ok(QueryWriteStatusResponse { committed_size: signed(blob.size), complete: true });
    }
    let offset = namespace.progress(&request.resource_name).await?;
    let offset = offset.ok_or_else(|| Error::absent("nothing was written under this name"))?;
    Ok(QueryWriteStatusResponse { committed_size: signed(offset), complete: false })
}

fn wanted(resource: &Resource<'_>) -> Result<Blob> {
    resource.blob().ok_or_else(|| Error::malformed("the hash in the resource name is no SHA-256"))
}

/// Whether the blob is there, for a caller who may know: one who may only write sends it again.
async fn holds(namespace: &Namespace, blob: Blob) -> Result<bool> {
    if namespace.may(Rights::DIGEST).is_err() {
        return Ok(false);
    }
    Ok(namespace.has(&[blob.digest]).await?.first() == Some(&Some(blob.size)))
}

/// Begins at offset 0, whatever was parked; goes on at any other.
async fn open(namespace: &Namespace, name: &str, blob: Blob, offset: i64) -> Result<Upload> {
    if offset == 0 {
        let (size, digest, resume) = (Some(blob.size), Some(blob.digest), Some(name.to_owned()));
        return namespace.upload(Claim { size, digest, resume, ..Claim::default() }).await;
    }
    match namespace.resume(name).await {
        Err(error) if error.is_absent() => {
            Err(Error::malformed(format!("nothing was written under this name: begin at offset 0, not {offset}")))
        }
        other => other?.expect(Claim { digest: Some(blob.digest), size: Some(blob.size), ..Claim::default() }),
    }
}

/// Takes one message. Only the first must carry the name.
async fn take(upload: &mut Upload, name: &str, message: WriteRequest) -> Result<()> {
    if !message.resource_name.is_empty() && message.resource_name != name {
        return Err(Error::malformed("the resource name changed within the stream"));
    }
    let offset = upload.offset();
    if u64::try_from(message.write_offset).ok() != Some(offset) {
        return Err(Error::malformed(format!("the write offset is {}, but {offset} is next", message.write_offset)));
    }
    if !message.data.is_empty() {
        upload.append(message.data).await?;
    }
    Ok(())
}

/// Sizes are below 2^63: names and the catalog have no others.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

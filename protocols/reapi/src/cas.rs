//! ContentAddressableStorage, save for GetTree.

use bazel_remote_apis::build::bazel::remote::execution::v2::batch_update_blobs_response::Response;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchReadBlobsRequest, BatchUpdateBlobsResponse, Digest, FindMissingBlobsRequest, FindMissingBlobsResponse,
    compressor,
};
use kernel::Rights;
use model::{Blob, Error, Result};

use crate::call::Call;
use crate::digest::{asked, blob, only_sha256};
use crate::messages::{BatchReadBlobsResponse, BatchUpdateBlobsRequest, Piece, Update};
use crate::speak::{Answer, fine, inline};

/// Most bytes that a batch may ask for: what fits a client's 4 MiB with 64 KiB for the rest of the message.
/// More than is advertised, because the server that we replace allows it.
const MOST_READ: u64 = (4 << 20) - (64 << 10);

/// `FindMissingBlobs`. BuildStream takes any error here for a bug, so that what can be answered is answered: a
/// hash that is no SHA-256, and a size that is not the blob's, are missing.
pub(crate) async fn find_missing(call: Call, request: FindMissingBlobsRequest) -> Answer<FindMissingBlobsResponse> {
    let namespace = call.enter(&request.instance_name, Rights::DIGEST)?;
    only_sha256(request.digest_function)?;
    let mut missing_blob_digests = Vec::new();
    let (mut possible, mut digests) = (Vec::new(), Vec::new());
    for message in request.blob_digests {
        match asked(&message.hash)? {
            Some(digest) => {
                possible.push(message);
                digests.push(digest);
            }
            None => missing_blob_digests.push(message),
        }
    }
    let sizes = namespace.has(&digests).await?;
    let lacking = possible.into_iter().zip(sizes).filter(|(message, size)| !is_size(message, *size));
    missing_blob_digests.extend(lacking.map(|(message, _)| message));
    Ok(FindMissingBlobsResponse { missing_blob_digests })
}

fn is_size(digest: &Digest, size: Option<u64>) -> bool {
    size.is_some() && u64::try_from(digest.size_bytes).ok() == size
}

/// `BatchUpdateBlobs`. Each blob succeeds or fails by itself.
pub(crate) async fn batch_update(call: Call, request: BatchUpdateBlobsRequest) -> Answer<BatchUpdateBlobsResponse> {
    let namespace = call.enter(&request.instance_name, Rights::WRITE)?;
    only_sha256(request.digest_function)?;
    let checked: Vec<Result<Blob>> = request.requests.iter().map(announced).collect();
    let (mut digests, mut blobs) = (Vec::new(), Vec::new());
    for (update, blob) in request.requests.into_iter().zip(&checked) {
        digests.push(update.digest);
        if let Ok(blob) = blob {
            blobs.push((*blob, update.data));
        }
    }
    let mut stored = namespace.put(blobs).await?.into_iter();
    let outcome = |checked: Result<Blob>| {
        let stored = checked.and_then(|_| stored.next().unwrap_or_else(|| Err(Error::broken("a write got no answer"))));
        stored.map_or_else(|error| inline(&error, &[]), |()| fine())
    };
    let statuses: Vec<_> = checked.into_iter().map(outcome).collect();
    let respond = |(digest, status)| Response { digest, status: Some(status) };
    Ok(BatchUpdateBlobsResponse { responses: digests.into_iter().zip(statuses).map(respond).collect() })
}

/// The blob that an update says it brings.
fn announced(update: &Update) -> Result<Blob> {
    if update.compressor != i32::from(compressor::Value::Identity) {
        return Err(Error::malformed("compression is not offered"));
    }
    let blob = blob(update.digest.as_ref(), "the digest")?;
    if blob.size == update.data.len() as u64 {
        Ok(blob)
    } else {
        Err(Error::mismatch(format!("{} bytes came for blob {blob}", update.data.len())))
    }
}

/// `BatchReadBlobs`. A blob of another size is not found.
pub(crate) async fn batch_read(call: Call, request: BatchReadBlobsRequest) -> Answer<BatchReadBlobsResponse> {
    let namespace = call.enter(&request.instance_name, Rights::DIGEST)?;
    only_sha256(request.digest_function)?;
    let asked: Vec<Result<Blob>> = request.digests.iter().map(|digest| blob(Some(digest), "the digest")).collect();
    let blobs: Vec<Blob> = asked.iter().flatten().copied().collect();
    let sum = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
    if sum > MOST_READ {
        return Err(Error::malformed(format!("{sum} bytes are more than the {MOST_READ} of one batch")).into());
    }
    let mut read = namespace.read_small(&blobs).await?.into_iter();
    let mut responses = Vec::with_capacity(asked.len());
    for (digest, asked) in request.digests.into_iter().zip(asked) {
        let bytes = asked.and_then(|_| read.next().unwrap_or_else(|| Err(Error::broken("a read got no answer"))));
        let (data, status) = match bytes {
            Ok(bytes) => (bytes, fine()),
            Err(error) => (bytes::Bytes::new(), inline(&error, &[])),
        };
        responses.push(Piece { digest: Some(digest), data, status: Some(status) });
    }
    Ok(BatchReadBlobsResponse { responses })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::Meaning;

    #[test]
    fn an_update_is_checked_before_it_is_stored() {
        let digest = Some(crate::digest::message(Blob::EMPTY));
        let update = Update { digest, ..Update::default() };
        assert_eq!(announced(&update).unwrap(), Blob::EMPTY);
        let meaning = |update: Update| announced(&update).unwrap_err().meaning().clone();
        assert_eq!(meaning(Update { compressor: 1, ..update.clone() }), Meaning::Malformed);
        assert_eq!(meaning(Update { data: Bytes::from_static(b"x"), ..update.clone() }), Meaning::Mismatch);
        assert_eq!(meaning(Update::default()), Meaning::Malformed);
    }

    #[test]
    fn a_size_must_be_right() {
        let digest = |size_bytes| Digest { size_bytes, ..Digest::default() };
        assert!(is_size(&digest(3), Some(3)));
        assert!(!is_size(&digest(3), Some(4)) && !is_size(&digest(3), None) && !is_size(&digest(-1), Some(u64::MAX)));
        assert!(!is_size(&digest(-1), None));
    }
}

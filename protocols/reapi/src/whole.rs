//! Small blobs read whole.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use kernel::Namespace;
use model::{Blob, Error, Result};

use crate::pieces::Pieces;

/// Largest blob that the kernel's bulk read gives.
const SMALL: u64 = 4 << 20;

/// Largest blob that is read whole at all: that of the kinds that are answered as messages.
const WHOLE: u64 = 16 << 20;

/// Reads blobs, each with its own result, in order. One of another size is `Absent`. The sizes bound what is
/// read: they are compared before anything is.
pub(crate) async fn read(namespace: &Namespace, blobs: &[Blob]) -> Result<Vec<Result<Bytes>>> {
    let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
    let sizes = namespace.has(&digests).await?;
    let held = |index: usize| sizes[index] == Some(blobs[index].size);

    let small = |index: &usize| held(*index) && blobs[*index].size <= SMALL;
    let wanted: Vec<_> = (0..blobs.len()).filter(small).map(|index| digests[index]).collect();
    let mut found = namespace.read_small(&wanted).await?.into_iter();

    let mut results = Vec::with_capacity(blobs.len());
    for (index, blob) in blobs.iter().enumerate() {
        results.push(match held(index) {
            false => Err(Error::absent(format!("blob {blob} is not here"))),
            true if blob.size <= SMALL => found.next().unwrap_or_else(|| Err(Error::broken("a read came back short"))),
            true => large(namespace, *blob).await,
        });
    }
    Ok(results)
}

async fn large(namespace: &Namespace, blob: Blob) -> Result<Bytes> {
    if blob.size > WHOLE {
        return Err(Error::too_big(format!("blob {blob} is too large to be answered in one message")));
    }
    let (_, body) = namespace.read(blob.digest, 0, None).await?;
    let mut pieces = Pieces::new(body);
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.freeze())
}

//! Small blobs read whole.

use bytes::Bytes;
use kernel::Namespace;
use model::{Blob, Error, Result};

/// Reads blobs of at most 16 MiB, each with its own result, in order. One of another size is `Absent`. The sizes
/// bound what is read, for they are compared before anything is.
pub(crate) async fn read(namespace: &Namespace, blobs: &[Blob]) -> Result<Vec<Result<Bytes>>> {
    let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
    let sizes = namespace.has(&digests).await?;
    let held: Vec<bool> = blobs.iter().zip(sizes).map(|(blob, size)| size == Some(blob.size)).collect();
    let wanted: Vec<_> = digests.iter().zip(&held).filter(|(_, held)| **held).map(|(digest, _)| *digest).collect();
    let mut found = namespace.read_small(&wanted).await?.into_iter();
    let mut result = |(blob, held): (&Blob, bool)| {
        let absent = || Err(Error::absent(format!("blob {blob} is not here")));
        if held { found.next().unwrap_or_else(absent) } else { absent() }
    };
    Ok(blobs.iter().zip(held).map(&mut result).collect())
}

//! Bodies on their way to a client. One of known length that ends before it is an error, never a clean end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::Body as HttpBody;
use bytes::Bytes;
use futures::{StreamExt, stream};
use model::{Body, Chunks, Error, Result, Span};
use tokio::task::spawn_blocking;

/// Bytes of one read of a file.
const PIECE: u64 = 1 << 20;

/// A body in pieces of at most 1 MiB, or as they come.
pub(crate) fn pieces(body: Body) -> Chunks {
    match body {
        Body::Bytes(bytes) => stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed(),
        Body::Stream { chunks, .. } => chunks,
        Body::File { file, span } => stream::try_unfold((file, span), |(file, Span { offset, len })| async move {
            let now = len.min(PIECE);
            if now == 0 {
                return Ok(None);
            }
            let from = Arc::clone(&file);
            let bytes = spawn_blocking(move || read_at(&from, offset, now)).await;
            let bytes = bytes.map_err(|cause| Error::broken("read a blob").because(cause))??;
            Ok(Some((bytes, (file, Span { offset: offset + now, len: len - now }))))
        })
        .boxed(),
    }
}

fn read_at(file: &File, offset: u64, len: u64) -> Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes.into()),
        Err(cause) => Err(Error::lost("a stored file is shorter than its blob").because(cause)),
    }
}

/// What is sent to a client. With a size the connection is broken off unless exactly that many bytes come.
pub(crate) fn respond(body: Body, size: Option<u64>) -> HttpBody {
    if let Body::Bytes(bytes) = body {
        return HttpBody::from(bytes);
    }
    let pieces = pieces(body);
    let Some(size) = size else { return HttpBody::from_stream(pieces) };
    let counted = stream::try_unfold((pieces, size), |(mut pieces, left)| async move {
        match pieces.next().await {
            Some(piece) => {
                let piece = piece?;
                let left = left.checked_sub(piece.len() as u64).ok_or_else(|| Error::lost("a blob is too long"))?;
                Ok::<_, Error>(Some((piece, (pieces, left))))
            }
            None if left == 0 => Ok(None),
            None => Err(Error::lost("a blob is shorter than it was said to be")),
        }
    });
    HttpBody::from_stream(counted)
}

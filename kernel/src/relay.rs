//! What an upstream sends goes straight to one who asks, because there is no room to keep it.
//!
//! It is hashed as it passes, and the last piece of what was asked for is held back until the whole was found right.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use model::{Blob, Body, Chunks, Digest, Error, Result, Span};
use sha2::{Digest as _, Sha256};

use crate::hub::Hub;

/// A blob on its way.
struct Relay {
    hub: Hub,
    blob: Blob,
    span: Span,
    chunks: Chunks,
    hash: Sha256,
    /// Bytes that have come.
    at: u64,
    /// The last piece of the span so far.
    held: Option<Bytes>,
    over: bool,
}

/// A part of what is sent.
pub(crate) fn body(hub: Hub, sent: Body, blob: Blob, span: Span) -> Result<Body> {
    let chunks = match sent {
        Body::Bytes(bytes) => stream::iter([Ok(bytes)]).boxed(),
        Body::Stream { chunks, .. } => chunks,
        Body::File { .. } => return Err(Error::broken("an upstream gave a file")),
    };
    let relay = Relay { hub, blob, span, chunks, hash: Sha256::new(), at: 0, held: None, over: false };
    let chunks =
        stream::try_unfold(relay, |mut relay| async { Ok(relay.next().await?.map(|piece| (piece, relay))) }).boxed();
    Ok(Body::Stream { size: Some(span.len), chunks })
}

impl Relay {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.over {
            match self.chunks.try_next().await {
                Ok(Some(chunk)) => {
                    self.hash.update(&chunk);
                    let piece = self.cut(chunk);
                    if piece.is_empty() {
                        continue;
                    }
                    if let Some(before) = self.held.replace(piece) {
                        return Ok(Some(before));
                    }
                }
                Ok(None) => {
                    self.over = true;
                    let done = self.check();
                    self.hub.metrics().fetched(done.as_ref().map(|()| self.blob.size));
                    done?;
                    return Ok(self.held.take());
                }
                Err(error) => {
                    self.hub.metrics().fetched(Err(&error));
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// What of the next bytes is in the span.
    fn cut(&mut self, mut chunk: Bytes) -> Bytes {
        let begin = self.at;
        self.at += chunk.len() as u64;
        let within = |at: u64| usize::try_from(at.clamp(begin, self.at) - begin).unwrap_or(0);
        chunk.truncate(within(self.span.end()));
        chunk.split_off(within(self.span.offset).min(chunk.len()))
    }

    fn check(&mut self) -> Result<()> {
        let found = Digest::new(std::mem::take(&mut self.hash).finalize().into());
        if self.at == self.blob.size && found == self.blob.digest {
            return Ok(());
        }
        Err(Error::upstream(format!("the upstream sent other bytes: {found} instead of {}", self.blob.digest)))
    }
}

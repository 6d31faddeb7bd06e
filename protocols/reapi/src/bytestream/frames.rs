//! The responses of ByteStream.Read as a body: framed by hand, so that the bytes of a blob go from the store to
//! the socket without a copy. An RPC ends well only if all bytes were delivered.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use http_body::Frame;
use model::{Body, Error};
use server::Pieces;
use tonic::Status;

use crate::speak::Refusal;

/// Most bytes in a piece. Clients take messages of at most 4 MiB; larger pieces than this cost memory for each
/// reader and save nothing that could be measured (`docs/decisions/0004-hand-framed-messages.md`).
const PIECE: usize = 1 << 20;

/// A body of `ReadResponse` messages, one for each piece, and trailers.
pub(crate) struct Frames {
    pieces: Pieces,
    /// Bytes that are still to come.
    rest: u64,
    next: Next,
}

enum Next {
    /// The first piece, or if there is none one empty message, as clients expect for an empty blob.
    First,
    Piece,
    /// The bytes whose header was just sent.
    Payload(Bytes),
    Trailers(Status),
    Nothing,
}

impl Frames {
    /// Sends this body, which must have `len` bytes.
    pub(crate) fn new(body: Body, len: u64) -> Self {
        Self { pieces: Pieces::new(body, PIECE), rest: len, next: Next::First }
    }

    /// What to do with the next piece: the header to send now, if any, and what comes then.
    fn piece(&mut self, piece: Option<model::Result<Bytes>>, first: bool) -> (Option<Bytes>, Next) {
        match piece {
            Some(Ok(bytes)) => match self.rest.checked_sub(bytes.len() as u64) {
                Some(rest) => {
                    self.rest = rest;
                    (Some(header(bytes.len())), Next::Payload(bytes))
                }
                None => (None, Next::Trailers(unequal())),
            },
            Some(Err(error)) => (None, Next::Trailers(Refusal::from(error).into())),
            None if self.rest > 0 => (None, Next::Trailers(unequal())),
            None => (first.then(|| header(0)), Next::Trailers(Status::ok(""))),
        }
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let first = match &self.next {
                Next::First => true,
                Next::Piece => false,
                Next::Payload(_) | Next::Trailers(_) | Next::Nothing => break,
            };
            let piece = ready!(self.pieces.poll_next_unpin(cx));
            let (now, next) = self.piece(piece, first);
            self.next = next;
            if let Some(header) = now {
                return Poll::Ready(Some(Ok(Frame::data(header))));
            }
        }
        Poll::Ready(match mem::replace(&mut self.next, Next::Nothing) {
            Next::Payload(bytes) => {
                self.next = Next::Piece;
                Some(Ok(Frame::data(bytes)))
            }
            Next::Trailers(status) => Some(Ok(Frame::trailers(trailers(&status)))),
            Next::First | Next::Piece | Next::Nothing => None,
        })
    }
}

fn unequal() -> Status {
    Refusal::from(Error::broken("a stored blob did not have the length that it should")).into()
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        // Only a message or details that no header can hold lead here, and both are encoded.
        headers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    headers
}

/// What stands before `len` bytes of a blob: the gRPC header (not compressed, length of the message), and
/// unless it is empty the key of `ReadResponse.data` (field 10, of bytes) and its length.
fn header(len: usize) -> Bytes {
    let mut field = BytesMut::with_capacity(16);
    if len > 0 {
        field.put_u8(10 << 3 | 2);
        let mut rest = len;
        while rest >= 0x80 {
            field.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        field.put_u8(rest as u8);
    }
    let mut header = BytesMut::with_capacity(16);
    header.put_u8(0);
    // A piece is far smaller than 4 GiB.
    header.put_u32((field.len() + len) as u32);
    header.unsplit(field);
    header.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bazel_remote_apis::google::bytestream::ReadResponse;
    use futures::stream;
    use http_body_util::BodyExt;
    use prost::Message;

    /// The messages and the status code.
    async fn sent(body: Body, len: u64) -> (Vec<Vec<u8>>, String) {
        let collected = Frames::new(body, len).collect().await.unwrap();
        let status = collected.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned();
        let bytes = collected.to_bytes();
        let (mut rest, mut messages) = (&bytes[..], Vec::new());
        while let [0, a, b, c, d, after @ ..] = rest {
            let (message, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            messages.push(ReadResponse::decode(message).unwrap().data);
            rest = after;
        }
        assert!(rest.is_empty());
        (messages, status)
    }

    #[tokio::test]
    async fn bytes_arrive_in_messages_that_clients_can_take() {
        let content: Vec<u8> = (0..2_500_000_u32).map(|n| n as u8).collect();
        let (messages, status) = sent(Body::Bytes(content.clone().into()), 2_500_000).await;
        assert_eq!((messages.len(), status.as_str()), (3, "0"));
        assert_eq!(messages.concat(), content);
        for len in [1, 127, 128, 20_000] {
            assert_eq!(sent(Body::Bytes(vec![7; len].into()), len as u64).await, (vec![vec![7; len]], "0".into()));
        }
    }

    #[tokio::test]
    async fn an_empty_blob_is_one_empty_message() {
        assert_eq!(sent(Body::Bytes(Bytes::new()), 0).await, (vec![vec![]], "0".into()));
    }

    #[tokio::test]
    async fn nothing_ends_well_that_is_not_whole() {
        let stream = |items| Body::Stream { size: None, chunks: stream::iter(items).boxed() };
        let abc = || Ok(Bytes::from_static(b"abc"));
        let (messages, status) = sent(stream(vec![abc(), Err(Error::lost("gone"))]), 6).await;
        assert_eq!((messages.concat(), status.as_str()), (b"abc".to_vec(), "5"));
        assert_eq!(sent(stream(vec![abc()]), 4).await.1, "13");
        assert_eq!(sent(stream(vec![abc()]), 2).await, (vec![], "13".into()));
        assert_eq!(sent(stream(vec![]), 1).await, (vec![], "13".into()));
    }
}

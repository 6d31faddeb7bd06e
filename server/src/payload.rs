//! The bytes of a blob as the body of an answer: it ends cleanly only if every byte that was promised was delivered
//! and right. Whatever else happens is an error, for which hyper resets the connection (HTTP/1.1) or the stream
//! (HTTP/2), so that no client takes a part for the whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::StreamExt;
use http_body::{Frame, SizeHint};
use model::{Body, Error, Meaning, Result};

use crate::lane::Lane;
use crate::pieces::{INLINE, Pieces};
use crate::windows::Windows;

/// Most bytes in a piece that is read into memory for a body. Blobs up to this size cost one hop to the pool of
/// blocking threads. Larger pieces save little CPU and cost memory for each slow reader.
const PIECE: usize = 256 << 10;

/// The body of an answer, made from a [`model::Body`].
///
/// With a known length it has a `Content-Length`, and the last piece is held back until the source ended well:
/// what is found to be wrong at the end of a stream, such as its digest, still resets the connection. Without one
/// it is chunked (HTTP/1.1) and has no end if the source has none.
///
/// A file on a plain HTTP/1.1 connection is sent by the kernel from its page cache (`sendfile(2)`); everywhere else
/// it is read in pieces. Where it is sent is found out when it is, so that protocols need not know.
pub struct Payload {
    source: Source,
    /// Bytes that are still to be handed out, where that is known.
    rest: Option<u64>,
    /// The last piece, until the source has ended.
    held: Option<Bytes>,
    state: State,
}

enum Source {
    /// Nobody has asked yet.
    Body(Body),
    Pieces(Pieces),
    Windows(Windows),
}

impl Source {
    fn begin(body: Body) -> Self {
        match (body, Lane::current()) {
            (Body::File { file, span }, Some(lane)) if span.len > INLINE => {
                Self::Windows(Windows::new(lane, file, span, PIECE))
            }
            (body, _) => Self::Pieces(Pieces::new(body, PIECE)),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            match self {
                Self::Pieces(pieces) => return pieces.poll_next_unpin(cx),
                Self::Windows(windows) => return windows.poll_next(cx),
                Self::Body(body) => {
                    let body = std::mem::replace(body, Body::Bytes(Bytes::new()));
                    *self = Self::begin(body);
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Sending,
    /// The first thing to say is that the source has another length.
    Unequal,
    Over,
}

impl Payload {
    /// Exactly `len` bytes from `body`.
    #[must_use]
    pub fn new(body: Body, len: u64) -> Self {
        let unequal = body.size().is_some_and(|size| size != len);
        let state = if unequal { State::Unequal } else { State::Sending };
        Self { source: Source::Body(body), rest: Some(len), held: None, state }
    }

    /// All bytes of `body`, however many they are.
    #[must_use]
    pub fn whole(body: Body) -> Self {
        let rest = body.size();
        Self { source: Source::Body(body), rest, held: None, state: State::Sending }
    }

    /// [`Payload::new`] as an answer's body.
    pub fn response_body(body: Body, len: u64) -> axum::body::Body {
        axum::body::Body::new(Self::new(body, len))
    }

    /// What to do with the next piece; `None` is to ask for another one.
    fn take(&mut self, piece: Option<Result<Bytes>>) -> Option<Option<Result<Bytes>>> {
        let Some(rest) = self.rest else { return Some(piece) };
        let held = self.held.as_ref().map_or(0, Bytes::len) as u64;
        match piece {
            Some(Ok(bytes)) => match (rest - held).checked_sub(bytes.len() as u64) {
                None => Some(Some(Err(unequal()))),
                Some(0) => {
                    self.held = Some(bytes);
                    None
                }
                Some(_) => Some(Some(Ok(bytes))),
            },
            Some(Err(error)) => Some(Some(Err(error))),
            None if rest > held => Some(Some(Err(unequal()))),
            None => Some(self.held.take().map(Ok)),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.state {
            State::Sending => {}
            State::Unequal => return Poll::Ready(Some(Err(unequal()))),
            State::Over => return Poll::Ready(None),
        }
        loop {
            let piece = ready!(self.source.poll_next(cx));
            if let Some(now) = self.take(piece) {
                return Poll::Ready(now);
            }
        }
    }
}

impl http_body::Body for Payload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.poll_piece(cx)) {
            Some(Ok(bytes)) => {
                self.rest = self.rest.map(|rest| rest.saturating_sub(bytes.len() as u64));
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => {
                self.state = State::Over;
                report(&error);
                Some(Err(error))
            }
            None => {
                self.state = State::Over;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Over || (self.state == State::Sending && self.rest == Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("rest", &self.rest).field("state", &self.state).finish_non_exhaustive()
    }
}

/// The client sees no more than a reset, so the log has to say why.
fn report(error: &Error) {
    match error.meaning() {
        Meaning::Broken => tracing::error!(%error, "an answer was cut short"),
        _ => tracing::warn!(%error, "an answer was cut short"),
    }
}

fn unequal() -> Error {
    Error::broken("a stored blob did not have the length that it should")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body::Body as _;
    use std::fs::File;
    use std::io::Write;
    use std::sync::Arc;

    /// The bytes that came, and whether they ended cleanly.
    async fn sent(mut payload: Payload) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        loop {
            let hint = payload.size_hint().exact();
            assert_eq!(hint, payload.rest);
            match std::future::poll_fn(|cx| Pin::new(&mut payload).poll_frame(cx)).await {
                Some(Ok(frame)) => bytes.extend(frame.into_data().expect("data")),
                Some(Err(_)) => {
                    let after = std::future::poll_fn(|cx| Pin::new(&mut payload).poll_frame(cx)).await;
                    assert!(after.is_none(), "nothing comes after an error");
                    return (bytes, false);
                }
                None => return (bytes, true),
            }
        }
    }

    fn chunks(size: Option<u64>, items: Vec<Result<Bytes>>) -> Body {
        Body::Stream { size, chunks: stream::iter(items).boxed() }
    }

    fn abc() -> Result<Bytes> {
        Ok(Bytes::from_static(b"abc"))
    }

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn what_was_promised_arrives() {
        let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let span = model::Span { offset: 7, len: 600_000 };
        let body = Body::File { file: file(&content), span };
        assert!(sent(Payload::new(body, 600_000)).await == (content[7..600_007].to_vec(), true));
        assert!(sent(Payload::new(Body::Bytes(content.clone().into()), 700_000)).await == (content, true));
        assert_eq!(sent(Payload::new(chunks(None, vec![abc(), abc()]), 6)).await, (b"abcabc".to_vec(), true));
        assert_eq!(sent(Payload::new(Body::Bytes(Bytes::new()), 0)).await, (vec![], true));
        assert!(Payload::new(Body::Bytes(Bytes::new()), 0).is_end_stream());
    }

    #[tokio::test]
    async fn nothing_ends_cleanly_that_is_not_whole() {
        let ended = async |body, len| sent(Payload::new(body, len)).await;
        assert_eq!(ended(chunks(None, vec![abc()]), 4).await, (b"abc".to_vec(), false));
        assert_eq!(ended(chunks(None, vec![abc(), abc()]), 5).await, (b"abc".to_vec(), false));
        assert_eq!(ended(chunks(None, vec![abc(), abc()]), 3).await, (vec![], false));
        assert_eq!(ended(chunks(None, vec![]), 1).await, (vec![], false));
        assert_eq!(ended(chunks(Some(4), vec![abc()]), 3).await, (vec![], false));
        assert_eq!(ended(Body::Bytes(Bytes::from_static(b"abc")), 2).await, (vec![], false));
        let span = model::Span::whole(4);
        assert_eq!(ended(Body::File { file: file(b"abc"), span }, 4).await, (vec![], false));
    }

    #[tokio::test]
    async fn what_is_wrong_at_the_end_keeps_the_last_piece_back() {
        let wrong = || Err(Error::mismatch("the digest is another"));
        let (bytes, clean) = sent(Payload::new(chunks(None, vec![abc(), abc(), wrong()]), 6)).await;
        assert_eq!((bytes, clean), (b"abc".to_vec(), false));
    }

    #[tokio::test]
    async fn a_length_that_nobody_knows() {
        assert_eq!(Payload::whole(chunks(None, vec![])).size_hint().exact(), None);
        assert_eq!(Payload::whole(chunks(Some(3), vec![abc()])).size_hint().exact(), Some(3));
        assert_eq!(sent(Payload::whole(chunks(None, vec![abc(), abc()]))).await, (b"abcabc".to_vec(), true));
        let (bytes, clean) = sent(Payload::whole(chunks(None, vec![abc(), Err(Error::lost("gone"))]))).await;
        assert_eq!((bytes, clean), (b"abc".to_vec(), false));
    }
}

//! HTTP/1.1 connections that stay open, and bodies that cost no copy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Pieces of a body, with their length or without: a client that does not know it sends chunks (RFC 9112, section 7.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    /// In reverse order.
    rest: Vec<Bytes>,
    length: Option<u64>,
}

impl Pieces {
    pub(crate) fn new(pieces: &[Bytes], known: bool) -> Self {
        let length = known.then(|| pieces.iter().map(|piece| piece.len() as u64).sum());
        Self { rest: pieces.iter().rev().cloned().collect(), length }
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), rest: if bytes.is_empty() { Vec::new() } else { vec![bytes] } }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.rest.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A connection.
pub(crate) struct Wire {
    address: SocketAddr,
    sender: SendRequest<Pieces>,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address, sender: connect(address).await? })
    }

    /// Asks; anything but the expected status is an error.
    pub(crate) async fn ask(
        &mut self,
        (method, path): (Method, &str),
        body: impl Into<Pieces>,
        kind: Option<&str>,
        expected: StatusCode,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method.clone()).uri(path).header(header::HOST, "localhost");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body.into())?;
        if self.sender.ready().await.is_err() {
            // A server may end a connection that was used often.
            self.sender = connect(self.address).await?;
        }
        let answer = self.sender.send_request(request).await.with_context(|| format!("{method} {path}"))?;
        let (head, mut body) = answer.into_parts();
        let body = match body.frame().await {
            None => Bytes::new(),
            Some(first) => {
                let first = first?.into_data().unwrap_or_default();
                let more = body.collect().await?.to_bytes();
                if more.is_empty() { first } else { [first, more].concat().into() }
            }
        };
        ensure!(head.status == expected, "{method} {path} gave {} and {body:?}", head.status);
        Ok(Answer { headers: head.headers, body })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a client: there is nothing to drain")]
async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Pieces>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

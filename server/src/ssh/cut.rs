//! A stream that can be cut from outside: russh's loop has no other end than that of its stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A stream until its token is cancelled, and then an error on both sides.
pub(super) struct Cut<S> {
    stream: S,
    /// One for each side, because each may wait in a task of its own.
    reading: Pin<Box<WaitForCancellationFutureOwned>>,
    writing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Cut<S> {
    pub(super) fn new(stream: S, token: &CancellationToken) -> Self {
        let wait = || Box::pin(token.clone().cancelled_owned());
        Self { stream, reading: wait(), writing: wait() }
    }

    fn writes(&mut self, cx: &mut Context<'_>) -> io::Result<&mut S> {
        match self.writing.as_mut().poll(cx) {
            Poll::Ready(()) => Err(cut()),
            Poll::Pending => Ok(&mut self.stream),
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut")
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.reading.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(cut())),
            Poll::Pending => Pin::new(&mut self.stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.writes(cx)?).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.writes(cx)?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.writes(cx)?).poll_shutdown(cx)
    }
}

//! What a client sends on one channel, between russh and whoever reads it.
//!
//! russh reads the socket and writes it in one loop, and opens the client's window as soon as bytes arrive. Two things
//! follow. A reader that is slow must stop that loop, because nothing else bounds what we keep: so at [`FULL`] bytes
//! the channel is not read. But a reader that is slow *because it waits to write* would stop the very loop that it
//! waits for: so while somebody waits to write, the loop is let go on, up to [`STUCK`] bytes. By then the client has
//! sent far more than lies on the line between the two, so that it does not read what we write, and the session ends.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Kept for a reader that is slow: what flows in a few milliseconds.
const FULL: usize = 1 << 20;
/// Kept for a reader that waits to write. An answer to what we wrote may be behind the client's window (8 MiB), its
/// own buffers and those of two kernels (some 6 MiB each at most).
const STUCK: usize = 24 << 20;

/// The channel's bytes on their way to a reader.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Held for a few instructions only.
    queue: Mutex<Queue>,
    /// Told when there is room again, or somebody waits to write.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Why nothing more comes.
    end: Option<End>,
    reader: Option<Waker>,
    /// How many wait to write.
    writers: usize,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The client said that it is done.
    Clean,
    /// The connection is gone.
    Gone,
    /// It sends and does not read.
    Stuck,
}

impl Inbound {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), changed: Notify::new() })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        work(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn close(&self, end: End) {
        let reader = self.with(|queue| {
            queue.end.get_or_insert(end);
            queue.reader.take()
        });
        reader.into_iter().for_each(Waker::wake);
    }

    /// Empties the channel until it ends or `cut`. Runs in a task of its own, from the moment that the channel opens.
    pub(super) async fn fill(self: Arc<Self>, mut channel: ChannelReadHalf, cut: CancellationToken) {
        let end = tokio::select! {
            end = self.take(&mut channel) => end,
            () = cut.cancelled() => End::Gone,
        };
        self.close(end);
    }

    async fn take(&self, channel: &mut ChannelReadHalf) -> End {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => {
                    let (ended, reader) = self.with(|queue| {
                        let ended = queue.end.is_some();
                        if !ended {
                            queue.bytes += data.len();
                            queue.pieces.push_back(data);
                        }
                        (ended, queue.reader.take())
                    });
                    reader.into_iter().for_each(Waker::wake);
                    if ended {
                        continue; // Bytes after the end of the stream mean nothing (RFC 4254, section 5.3).
                    }
                    if self.room().await.is_err() {
                        return End::Stuck;
                    }
                }
                // The channel stays open for what we have to say.
                Some(ChannelMsg::Eof) => self.close(End::Clean),
                Some(ChannelMsg::Close) | None => return End::Gone,
                Some(_) => {}
            }
        }
    }

    /// Waits until more can be kept.
    async fn room(&self) -> Result<(), ()> {
        loop {
            let (bytes, writers) = self.with(|queue| (queue.bytes, queue.writers));
            match (bytes, writers) {
                (..FULL, _) => return Ok(()),
                (FULL..STUCK, 1..) => return Ok(()),
                (STUCK.., 1..) => return Err(()),
                (_, 0) => self.changed.notified().await,
            }
        }
    }
}

/// What the client sends, for whoever runs its command. Waiting longer than the limit for a byte is an error.
#[derive(Debug)]
pub(super) struct Input {
    inbound: Arc<Inbound>,
    patience: Duration,
    idle: Option<Pin<Box<Sleep>>>,
}

impl Input {
    pub(super) fn new(inbound: Arc<Inbound>, patience: Duration) -> Self {
        Self { inbound, patience, idle: None }
    }
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let found = self.inbound.with(|queue| {
            if let Some(piece) = queue.pieces.front_mut() {
                let length = piece.len().min(buf.remaining());
                buf.put_slice(&piece.split_to(length));
                if !piece.has_remaining() {
                    queue.pieces.pop_front();
                }
                queue.bytes -= length;
                return Some(Ok(()));
            }
            match queue.end {
                Some(End::Clean) => Some(Ok(())),
                Some(End::Gone) => Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the client is gone"))),
                Some(End::Stuck) => {
                    Some(Err(io::Error::other("the client sends on and on and does not read what it is sent")))
                }
                None => {
                    queue.reader = Some(cx.waker().clone());
                    None
                }
            }
        });
        if let Some(found) = found {
            self.inbound.changed.notify_one();
            self.idle = None;
            return Poll::Ready(found);
        }
        let patience = self.patience;
        let idle = self.idle.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        ready!(idle.as_mut().poll(cx));
        let text = format!("nothing came from the client for {} seconds", patience.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

/// What the client is sent, as output or errors of its command.
pub(super) struct Output {
    writer: Pin<Box<dyn AsyncWrite + Send + Sync>>,
    inbound: Arc<Inbound>,
    waiting: bool,
}

impl Output {
    pub(super) fn new(writer: impl AsyncWrite + Send + Sync + 'static, inbound: Arc<Inbound>) -> Self {
        Self { writer: Box::pin(writer), inbound, waiting: false }
    }

    fn waits(&mut self, waiting: bool) {
        if std::mem::replace(&mut self.waiting, waiting) != waiting {
            self.inbound.with(|queue| if waiting { queue.writers += 1 } else { queue.writers -= 1 });
            self.inbound.changed.notify_one();
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let written = self.writer.as_mut().poll_write(cx, buf);
        self.waits(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.writer.as_mut().poll_flush(cx);
        self.waits(flushed.is_pending());
        flushed
    }

    /// The end is said once for output and errors together, with the exit status.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.waits(false);
    }
}

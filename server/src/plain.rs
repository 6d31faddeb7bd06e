//! A TCP connection without TLS. What it is given to write that is a window of a file (`lane.rs`) is sent by the
//! kernel from the file's page cache with `sendfile(2)`, without a copy into this process or out of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::lane::Lane;

/// Most bytes sent from files before other tasks of the thread get their turn: about a millisecond of a core.
const TURN: usize = 4 << 20;

/// The connection.
pub(crate) struct Plain {
    stream: TcpStream,
    lane: Arc<Lane>,
    /// Bytes sent from files since the last turn of others.
    turn: usize,
}

impl Plain {
    pub(crate) fn new(stream: TcpStream, lane: Arc<Lane>) -> Self {
        Self { stream, lane, turn: 0 }
    }

    /// Writes once to the socket as soon as it takes something.
    fn poll_once(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.stream.poll_write_ready(cx)?.is_pending() {
                self.turn = 0;
                return Poll::Pending;
            }
            let written = self.stream.try_io(Interest::WRITABLE, || {
                loop {
                    match write(&self.stream) {
                        Err(Errno::INTR) => {}
                        other => return other.map_err(io::Error::from),
                    }
                }
            });
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Sends these bytes if they are a window of a file; `None` if they are not, or the file system cannot.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        let Some((file, offset)) = self.lane.find(bytes) else { return Poll::Ready(None) };
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let send = |stream: &TcpStream| {
            let mut offset = offset;
            sendfile(stream, &*file, Some(&mut offset), bytes.len())
        };
        match ready!(self.poll_once(cx, send)) {
            Ok(0) => Poll::Ready(Some(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a stored file became shorter while it was sent",
            )))),
            Ok(sent) => {
                self.turn += sent;
                self.lane.sent.inc_by(sent as u64);
                Poll::Ready(Some(Ok(sent)))
            }
            // Every byte is in memory too.
            Err(error) if is_unable(&error) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

fn is_unable(error: &io::Error) -> bool {
    let unable = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| unable.contains(&errno))
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.lane.is_empty() {
            return Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        }
        // Nothing would be written of nothing, which reads as a connection that takes no more.
        let begin = bufs.iter().position(|buf| !buf.is_empty()).unwrap_or(bufs.len());
        let bufs = bufs.get(begin..).unwrap_or_default();
        let Some(first) = bufs.first() else { return Poll::Ready(Ok(0)) };
        if let Some(sent) = ready!(this.poll_send(cx, first)) {
            return Poll::Ready(sent);
        }
        // What is not from a file, up to where a file follows, which the kernel may put into the same packet.
        let follows = bufs.iter().skip(1).position(|buf| this.lane.find(buf).is_some()).map(|at| at + 1);
        let now = bufs.get(..follows.unwrap_or(bufs.len())).unwrap_or_default();
        let more = if follows.is_some() { SendFlags::MORE } else { SendFlags::empty() };
        let write =
            |stream: &TcpStream| sendmsg(stream, now, &mut SendAncillaryBuffer::default(), more | SendFlags::NOSIGNAL);
        this.poll_once(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

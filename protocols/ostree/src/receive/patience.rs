//! A reader that gives up when nothing comes for too long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// The reader. Its time runs only while somebody waits for bytes.
#[derive(Debug)]
pub(crate) struct Patient<R> {
    input: R,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<R> Patient<R> {
    pub(crate) fn new(input: R, idle: Duration) -> Self {
        Self { input, idle, timer: Box::pin(sleep(idle)), waiting: false }
    }

    /// From now on it waits this long.
    pub(crate) fn patience(&mut self, idle: Duration) {
        self.idle = idle;
        self.waiting = false;
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Patient<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.input).poll_read(cx, buffer) {
            self.waiting = false;
            return Poll::Ready(read);
        }
        if !self.waiting {
            let end = Instant::now() + self.idle;
            self.timer.as_mut().reset(end);
            self.waiting = true;
        }
        self.timer.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")))
    }
}

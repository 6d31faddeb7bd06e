//! A file in pieces for a plain HTTP/1.1 connection: what is in the page cache as windows that the kernel sends from
//! there, what is not as memory, read in the pool of blocking threads.

use std::fs::File;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::StreamExt;
use model::{Body, Result, Span};

use crate::lane::Lane;
use crate::pieces::Pieces;

/// Bytes of a window. Mapping costs microseconds, so that more saves nothing that could be measured; and what was
/// handed to the connection counts as sent in the log, so that less is nearer to the truth.
const WINDOW: u64 = 1 << 20;
/// Bytes to read from a disk before looking again whether its cache runs ahead by now.
const COLD: u64 = 4 << 20;

/// The pieces.
pub(crate) struct Windows {
    lane: Arc<Lane>,
    file: Arc<File>,
    rest: Span,
    /// What is being read into memory, in pieces of this many bytes.
    cold: Pieces,
    piece: usize,
}

impl Windows {
    pub(crate) fn new(lane: Arc<Lane>, file: Arc<File>, span: Span, piece: usize) -> Self {
        Self { lane, file, rest: span, cold: Pieces::new(Body::Bytes(Bytes::new()), piece), piece }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if let Some(piece) = ready!(self.cold.poll_next_unpin(cx)) {
                if piece.is_err() {
                    self.rest.len = 0;
                }
                return Poll::Ready(Some(piece));
            }
            if self.rest.len == 0 {
                return Poll::Ready(None);
            }
            // What cannot be mapped can be read, or fails there with a better error.
            let len = self.rest.len.min(WINDOW);
            let window = self.lane.window(&self.file, self.rest.offset, len as usize).unwrap_or_default();
            if let Some(window) = window {
                self.advance(len);
                return Poll::Ready(Some(Ok(window)));
            }
            let span = self.advance(self.rest.len.min(COLD));
            self.cold = Pieces::new(Body::File { file: Arc::clone(&self.file), span }, self.piece);
        }
    }

    /// Takes `len` bytes from the front.
    fn advance(&mut self, len: u64) -> Span {
        let Span { offset, len: rest } = self.rest;
        self.rest = Span { offset: offset + len, len: rest - len };
        Span { offset, len }
    }
}

//! A Body cut into pieces of a bounded size, pulled by whoever sends them.

use std::fmt;
use std::fs::File;
use std::io::IoSliceMut;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use model::{Body, Chunks, Error, Result, Span};
use rustix::buffer::spare_capacity;
use rustix::io::ReadWriteFlags;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::budget::Share;

/// Most bytes that are read at once where they are asked for, if they are in the page cache: copying them is cheaper
/// than going to another thread and back, and holds up no one. They are no more than what each reader may have in
/// memory anyway (`budget.rs`).
pub(crate) const INLINE: u64 = 64 << 10;

/// A Body in pieces of bounded size, none empty. Ends after the first error.
///
/// A file is read in the runtime's pool of blocking threads, one piece ahead of the reader, so that disk and network
/// work at once; one that fits a piece costs one hop.
pub struct Pieces {
    source: Source,
    /// Most bytes in a piece.
    most: usize,
}

enum Source {
    Bytes(Bytes),
    File(Ahead),
    Stream { rest: Bytes, chunks: Chunks },
}

impl Pieces {
    /// The bytes of `body` in pieces of at most `most` bytes, and of one byte if that is zero.
    #[must_use]
    pub fn new(body: Body, most: usize) -> Self {
        let source = match body {
            Body::Bytes(bytes) => Source::Bytes(bytes),
            Body::File { file, span } => Source::File(Ahead::new(file, span)),
            Body::Stream { chunks, .. } => Source::Stream { rest: Bytes::new(), chunks },
        };
        Self { source, most: most.max(1) }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let most = self.most;
        let next = match &mut self.source {
            Source::Bytes(rest) => cut(rest, most).map(Ok),
            Source::File(ahead) => ready!(ahead.poll_next(cx, most)),
            Source::Stream { rest, chunks } => loop {
                if let Some(piece) = cut(rest, most) {
                    break Some(Ok(piece));
                }
                match ready!(chunks.poll_next_unpin(cx)) {
                    Some(Ok(chunk)) => *rest = chunk,
                    Some(Err(error)) => break Some(Err(error)),
                    None => break None,
                }
            },
        };
        if matches!(next, Some(Err(_))) {
            self.source = Source::Bytes(Bytes::new());
        }
        Poll::Ready(next)
    }
}

/// Takes a piece from the front.
fn cut(rest: &mut Bytes, most: usize) -> Option<Bytes> {
    let len = rest.len().min(most);
    (len > 0).then(|| rest.split_to(len))
}

/// Reads a file one piece ahead of its reader, so that disk and network work at once.
struct Ahead {
    file: Arc<File>,
    rest: Span,
    running: Option<JoinHandle<Result<Bytes>>>,
    share: Share,
}

impl Ahead {
    fn new(file: Arc<File>, rest: Span) -> Self {
        Self { file, rest, running: None, share: Share::new() }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Result<Bytes>>> {
        if self.running.is_none() {
            if let Some(bytes) = self.inline(most) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            ready!(self.start(cx, most));
        }
        let Some(running) = &mut self.running else { return Poll::Ready(None) };
        let read = ready!(Pin::new(running).poll(cx));
        self.running = None;
        let piece = read.unwrap_or_else(|cause| Err(Error::broken("a read did not finish").because(cause)));
        if piece.is_ok() {
            // If there is room to. Else the next poll waits for it.
            let _ = self.start(cx, most);
        }
        Poll::Ready(Some(piece))
    }

    /// All of it, if it is little and there.
    fn inline(&mut self, most: usize) -> Option<Bytes> {
        let Span { offset, len } = self.rest;
        if len == 0 || len > INLINE.min(most as u64) {
            return None;
        }
        let mut bytes = vec![0; len as usize];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let read = rustix::io::preadv2(&self.file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()?;
        (read as u64 == len).then(|| {
            self.rest.len = 0;
            bytes.into()
        })
    }

    fn start(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        let Span { offset, len } = self.rest;
        if len > 0 {
            let leave = ready!(self.share.poll_leave(cx, len.min(most as u64) as usize));
            let now = leave.bytes() as u64;
            self.rest = Span { offset: offset + now, len: len - now };
            let file = Arc::clone(&self.file);
            self.running = Some(spawn_blocking(move || Ok(leave.hold(read_at(&file, offset, now as usize)?))));
        }
        Poll::Ready(())
    }
}

/// Reads exactly `len` bytes at `offset`; a file that is shorter than its blob is `Lost`.
fn read_at(file: &File, mut offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match rustix::io::pread(file, spare_capacity(&mut bytes), offset) {
            Ok(0) => return Err(Error::lost("a stored file is shorter than its blob")),
            Ok(read) => offset += read as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(Error::io("cannot read a stored file", cause.into())),
        }
    }
    // The allocator may have given more room than asked for.
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use model::Meaning;
    use std::io::Write;

    const PIECE: usize = 1 << 20;

    async fn all(body: Body) -> Vec<Result<Bytes>> {
        Pieces::new(body, PIECE).collect().await
    }

    fn file(content: &[u8], span: Span) -> Body {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Body::File { file: Arc::new(file), span }
    }

    #[tokio::test]
    async fn a_file_is_read_in_order_and_no_further() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let body = file(&content, Span { offset: 7, len: 2_500_000 });
        let pieces: Vec<_> = all(body).await.into_iter().map(|piece| piece.unwrap()).collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [1 << 20, 1 << 20, 2_500_000 - (2 << 20)]);
        assert_eq!(pieces.concat(), content[7..2_500_007]);
        assert!(all(file(b"abc", Span { offset: 3, len: 0 })).await.is_empty());
    }

    #[tokio::test]
    async fn a_short_file_is_lost() {
        let pieces = all(file(b"abc", Span::whole(4))).await;
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ref().unwrap_err().meaning(), &Meaning::Lost);
    }

    #[tokio::test]
    async fn chunks_are_cut_and_an_error_ends_them() {
        let big = Bytes::from(vec![1; PIECE + 1]);
        let items = vec![Ok(Bytes::new()), Ok(big), Err(Error::lost("gone")), Ok(Bytes::from_static(b"never"))];
        let pieces = all(Body::Stream { size: None, chunks: stream::iter(items).boxed() }).await;
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.as_ref().map(Bytes::len).ok()).collect();
        assert_eq!(lengths, [Some(1 << 20), Some(1), None]);
    }
}

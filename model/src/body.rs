//! Bytes on their way. The fast path is a variant, never a downcast.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{Result, Span};

/// A stream that ends cleanly only if every byte it promised was delivered and right.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

/// Bytes that somebody wants to read: pulled by the reader, never pushed.
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// A range of an open file whose bytes never change. The reader may use `pread`, `mmap` or `sendfile`.
    File {
        /// The open file; stays readable when the name is unlinked.
        file: Arc<File>,
        /// Which bytes of the file.
        span: Span,
    },
    /// Bytes that arrive.
    Stream {
        /// Length, where it is known.
        size: Option<u64>,
        /// The bytes.
        chunks: Chunks,
    },
}

impl Body {
    /// Number of bytes, where it is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { span, .. } => Some(span.len),
            Self::Stream { size, .. } => *size,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self {
            Self::Bytes(_) => "Bytes",
            Self::File { .. } => "File",
            Self::Stream { .. } => "Stream",
        };
        write!(f, "Body::{form}({:?})", self.size())
    }
}

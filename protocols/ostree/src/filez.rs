//! The content of a `.filez`: one raw deflate stream (RFC 1951, no zlib or gzip around it).

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use model::{Error, Result};

/// Bytes that are inflated or deflated in one go: about a millisecond of work.
pub(crate) const PIECE: usize = 256 << 10;

/// Ends a deflate stream whose blocks all were flushed: one empty last block of fixed codes.
pub(crate) const END: &[u8] = &[0x03, 0x00];

/// Inflates to a size that is known, and no further.
pub(crate) struct Inflate {
    state: Decompress,
    left: u64,
    ended: bool,
}

impl Inflate {
    /// For content of this size.
    pub(crate) fn new(size: u64) -> Self {
        Self { state: Decompress::new(false), left: size, ended: false }
    }

    /// Takes from `input` and gives at most [`PIECE`] bytes. Ask again until both the input is used up and nothing
    /// comes any more.
    ///
    /// # Errors
    /// `Mismatch` when it is no deflate stream, is longer than announced, or goes on after its end.
    pub(crate) fn step(&mut self, input: &mut &[u8]) -> Result<Vec<u8>> {
        if self.ended {
            return if input.is_empty() {
                Ok(Vec::new())
            } else {
                Err(Error::mismatch("a file object has bytes after the end of its content"))
            };
        }
        let mut output = Vec::with_capacity(PIECE);
        let before = self.state.total_in();
        let status = self
            .state
            .decompress_vec(input, &mut output, FlushDecompress::None)
            .map_err(|_| Error::mismatch("the content of a file object is not deflated"))?;
        let taken = usize::try_from(self.state.total_in() - before).unwrap_or(usize::MAX);
        *input = input.get(taken..).unwrap_or_default();
        self.left = self
            .left
            .checked_sub(output.len() as u64)
            .ok_or_else(|| Error::mismatch("the content of a file object is larger than its header says"))?;
        self.ended = status == Status::StreamEnd;
        Ok(output)
    }

    /// Checks that it came to its end.
    ///
    /// # Errors
    /// `Mismatch` when content is missing.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.ended && self.left == 0 {
            return Ok(());
        }
        Err(Error::mismatch("the content of a file object is smaller than its header says, or cut off"))
    }
}

/// Deflates one piece so that it stands for itself: pieces that are deflated apart, on several cores, and put
/// together with [`END`] behind them are one stream.
pub(crate) fn deflate(piece: &[u8]) -> Result<Bytes> {
    // Level 1 is three times as fast as 6 for a quarter more bytes, and it is done while a client waits.
    let mut state = Compress::new(Compression::fast(), false);
    let mut output = Vec::with_capacity(piece.len() + (piece.len() >> 10) + 64);
    loop {
        let taken = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let rest = piece.get(taken..).unwrap_or_default();
        state
            .compress_vec(rest, &mut output, FlushCompress::Sync)
            .map_err(|cause| Error::broken("cannot deflate").because(cause))?;
        // A flush is complete when it leaves room.
        if output.len() < output.capacity() && state.total_in() == piece.len() as u64 {
            return Ok(output.into());
        }
        output.reserve(4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inflate(mut input: &[u8], size: u64, step: usize) -> Result<Vec<u8>> {
        let mut inflate = Inflate::new(size);
        let mut output = Vec::new();
        while !input.is_empty() {
            let (mut now, rest) = input.split_at(input.len().min(step));
            input = rest;
            loop {
                let piece = inflate.step(&mut now)?;
                if piece.is_empty() && now.is_empty() {
                    break;
                }
                output.extend(piece);
            }
        }
        inflate.finish().map(|()| output)
    }

    fn whole(content: &[u8], piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in content.chunks(piece) {
            all.extend_from_slice(&deflate(piece).unwrap());
        }
        [&all, END].concat()
    }

    #[test]
    fn an_empty_file_is_two_bytes() {
        assert_eq!(whole(&[], 1), [3, 0]);
        assert_eq!(inflate(&[3, 0], 0, 1).ok(), Some(Vec::new()));
    }

    #[test]
    fn a_bomb_stops_at_the_size_that_was_announced() {
        let bomb = whole(&vec![0; 64 << 20], 1 << 20);
        assert!(bomb.len() < 1 << 20);
        let mut inflate = Inflate::new(1000);
        let mut input = &bomb[..];
        assert!(inflate.step(&mut input).is_err());
    }

    #[test]
    fn what_is_short_or_goes_on_is_refused() {
        let good = whole(b"some content", 100);
        assert!(inflate(&good, 12, 3).is_ok());
        assert!(inflate(&good, 13, 100).is_err() && inflate(&good, 11, 100).is_err());
        assert!(inflate(&good[..good.len() - 1], 12, 100).is_err());
        assert!(inflate(&[&good[..], b"x"].concat(), 12, 100).is_err());
        assert!(inflate(b"\xff\xff\xff\xff", 12, 100).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_one_stream(content in proptest::collection::vec(any::<u8>(), 0..5000), piece in 1_usize..3000, step in 1_usize..3000) {
            prop_assert_eq!(inflate(&whole(&content, piece), content.len() as u64, step).unwrap(), content);
        }
    }
}

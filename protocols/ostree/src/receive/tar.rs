//! The tar stream of a push (POSIX.1-2001 pax, GNU): names, sizes and types of entries, and nothing else of their
//! headers. Reads no byte beyond the stream's end, where the next message begins.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use model::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

const BLOCK: usize = 512;
/// A stream is padded to a multiple of this many bytes, counted from its first (twenty blocks, tar's default).
const RECORD: u64 = 20 * 512;
/// The largest extended header: what comes is a time, and at most a size and a name.
const EXTENDED: u64 = 64 << 10;

/// An entry of the stream; its bytes are what the [`Tar`] reads next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as it stands there.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// A plain file, not a link, a directory, or anything else.
    pub plain: bool,
}

/// The stream. As a reader it gives the bytes of the current entry.
#[derive(Debug)]
pub struct Tar<R> {
    input: R,
    /// Bytes that were read of the stream.
    at: u64,
    /// Bytes that the current entry still has.
    left: u64,
    /// Zeros after it.
    padding: u64,
}

impl<R: AsyncRead + Unpin> Tar<R> {
    /// A stream that begins here.
    pub fn new(input: R) -> Self {
        Self { input, at: 0, left: 0, padding: 0 }
    }

    /// The next entry; `None` once the whole stream is read, down to its padding. What is left of the entry before is
    /// passed over.
    ///
    /// # Errors
    /// `Malformed` for what is no tar, `Upstream` when the stream is cut off.
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        let (mut long_name, mut long_size) = (None, None);
        loop {
            let rest = self.left + self.padding;
            self.skip(rest).await?;
            let mut block = [0; BLOCK];
            self.left = BLOCK as u64;
            self.read_exact(&mut block).await.map_err(cut_off)?;
            if block == [0; BLOCK] {
                // A second block of zeros, and what fills the record.
                let end = (self.at + BLOCK as u64).next_multiple_of(RECORD);
                self.skip(end - self.at).await?;
                return Ok(None);
            }
            let header = Header::read(&block)?;
            let (size, kind) = (header.size, header.kind);
            match kind {
                b'x' | b'L' | b'K' if size <= EXTENDED => {
                    self.enter(size);
                    let mut bytes = Vec::new();
                    self.read_to_end(&mut bytes).await.map_err(cut_off)?;
                    if bytes.len() as u64 != size {
                        return Err(cut_off(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    match kind {
                        b'x' => extended(&bytes, &mut long_name, &mut long_size)?,
                        b'L' => long_name = Some(text(&bytes)?),
                        _ => {}
                    }
                }
                b'g' if size <= EXTENDED => self.enter(size),
                b'x' | b'L' | b'K' | b'g' => {
                    return Err(Error::malformed("an extended header of the tar stream is too long"));
                }
                kind => {
                    let size = long_size.unwrap_or(size);
                    self.enter(size);
                    let plain = matches!(kind, b'0' | 0);
                    return Ok(Some(Entry { name: long_name.unwrap_or(header.name), size, plain }));
                }
            }
        }
    }

    fn enter(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    async fn skip(&mut self, size: u64) -> Result<()> {
        self.left = size;
        let skipped = tokio::io::copy(self, &mut tokio::io::sink()).await.map_err(cut_off)?;
        self.padding = 0;
        if skipped == size { Ok(()) } else { Err(cut_off(std::io::ErrorKind::UnexpectedEof.into())) }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Tar<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.remaining());
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.input).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.left -= read as u64;
        self.at += read as u64;
        Poll::Ready(Ok(()))
    }
}

fn cut_off(cause: std::io::Error) -> Error {
    Error::upstream("the tar stream was cut off").because(cause)
}

fn broken() -> Error {
    Error::malformed("what should be a tar stream is none")
}

fn text(bytes: &[u8]) -> Result<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    str::from_utf8(&bytes[..end]).map(ToOwned::to_owned).map_err(|_| broken())
}

struct Header {
    name: String,
    size: u64,
    kind: u8,
}

impl Header {
    fn read(block: &[u8; BLOCK]) -> Result<Self> {
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        if number(&block[148..156])? != sum {
            return Err(broken());
        }
        let mut name = text(&block[..100])?;
        if &block[257..263] == b"ustar\0" && block[345] != 0 {
            name = format!("{}/{name}", text(&block[345..500])?);
        }
        Ok(Self { name, size: number(&block[124..136])?, kind: block[156] })
    }
}

/// Octal digits, or GNU's big-endian number behind a byte of 0x80.
fn number(field: &[u8]) -> Result<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        let number = rest.iter().try_fold(0_u64, |number, byte| number.checked_mul(256)?.checked_add(u64::from(*byte)));
        return number.filter(|number| *number <= i64::MAX as u64).ok_or_else(broken);
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(**byte, 0 | b' '));
    digits.copied().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => Ok(number << 3 | u64::from(digit - b'0')),
        _ => Err(broken()),
    })
}

/// Records `LENGTH KEY=VALUE\n` of an extended header.
fn extended(mut bytes: &[u8], name: &mut Option<String>, size: &mut Option<u64>) -> Result<()> {
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length: usize =
            str::from_utf8(&bytes[..space]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(broken)?;
        let record = bytes.get(space + 1..length).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        let value = &record[equals + 1..];
        match &record[..equals] {
            b"path" => *name = Some(text(value)?),
            b"size" => {
                let parsed = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                *size = Some(parsed.filter(|size| *size <= i64::MAX as u64).ok_or_else(broken)?);
            }
            _ => {}
        }
        bytes = &bytes[length..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, size: &[u8], kind: u8) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size);
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    fn end(mut stream: Vec<u8>) -> Vec<u8> {
        stream.resize((stream.len() + 1024).next_multiple_of(10_240), 0);
        stream.extend_from_slice(b"rest");
        stream
    }

    async fn entries(stream: &[u8]) -> Result<(Vec<(Entry, Vec<u8>)>, Vec<u8>)> {
        let mut input = stream;
        let mut tar = Tar::new(&mut input);
        let mut found = Vec::new();
        while let Some(entry) = tar.next().await? {
            let mut bytes = Vec::new();
            if entry.name != "skipped" {
                tar.read_to_end(&mut bytes).await.unwrap();
            }
            found.push((entry, bytes));
        }
        Ok((found, input.to_vec()))
    }

    #[tokio::test]
    async fn it_stops_where_the_stream_does() {
        // With 18 blocks before it the first block of zeros is the last but one of its record, with 19 the last:
        // then a whole record follows.
        for blocks in [0, 1, 17, 18, 19, 20] {
            let mut stream = header("skipped", format!("{:011o}\0", blocks * 512).as_bytes(), b'0');
            stream.resize(stream.len() + blocks * 512, 7);
            let (found, rest) = entries(&end(stream)).await.unwrap();
            assert_eq!((found.len(), &rest[..]), (1, &b"rest"[..]), "{blocks}");
        }
        assert_eq!(entries(&end(Vec::new())).await.unwrap().0.len(), 0);
    }

    #[tokio::test]
    async fn pax_and_gnu_say_sizes_in_their_ways() {
        let mut stream = header("././@PaxHeader", b"00000000050\0", b'x');
        stream.extend_from_slice(b"28 mtime=1795185646.0909633\n12 size=003\n");
        stream.resize(1024, 0);
        stream.extend(header("a", b"00000000000\0", b'0'));
        stream.extend_from_slice(b"abc");
        stream.resize(2048, 0);
        stream.extend(header("b", &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], 0));
        stream.extend_from_slice(b"xy");
        stream.resize(3072, 0);
        stream.extend(header("link", b"00000000000\0", b'2'));
        let (found, rest) = entries(&end(stream)).await.unwrap();
        let entry = |name: &str, size, plain| Entry { name: name.into(), size, plain };
        assert_eq!(
            found,
            [
                (entry("a", 3, true), b"abc".to_vec()),
                (entry("b", 2, true), b"xy".to_vec()),
                (entry("link", 0, false), Vec::new())
            ]
        );
        assert_eq!(rest, b"rest");
    }

    #[tokio::test]
    async fn what_is_cut_off_or_no_tar_is_an_error() {
        let mut stream = header("a", b"00000001000\0", b'0');
        stream.resize(1024, 0);
        let stream = end(stream);
        for cut in [0, 100, 512, 700, 1024, 1500, 10_000] {
            assert!(entries(&stream[..cut]).await.is_err(), "{cut}");
        }
        assert!(entries(&[b'x'; 20_480]).await.is_err());
        assert!(entries(&end(header("a", b"00000000009\0", b'0'))).await.is_err(), "9 is no octal digit");
        assert!(
            entries(&end(header("a", &[0x80, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], b'0')))
                .await
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut stream = header("x", b"00000001000\0", b'x');
            stream.extend(bytes);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drop(runtime.block_on(entries(&stream)));
        }
    }
}

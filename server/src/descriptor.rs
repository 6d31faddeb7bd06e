//! Descriptors of other processes as streams: the standard input and output that a guest hands over.
//!
//! Pipes and sockets are waited for like any other; for the rest (files, terminals) threads do the waiting, because
//! making a terminal non-blocking would change it under everybody who shares it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, fstat};
use tokio::net::unix::pipe;

use crate::ssh::{Sink, Source};

/// Reads a descriptor. Call it within the runtime.
///
/// # Errors
/// When it cannot be looked at.
pub fn source(descriptor: OwnedFd) -> io::Result<Source> {
    Ok(match kind(&descriptor)? {
        FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(descriptor)?),
        FileType::Socket => Box::new(socket(descriptor)?),
        _ => Box::new(tokio::fs::File::from_std(File::from(descriptor))),
    })
}

/// Writes to a descriptor; flush it before it is dropped. Call it within the runtime.
///
/// # Errors
/// When it cannot be looked at.
pub fn sink(descriptor: OwnedFd) -> io::Result<Sink> {
    Ok(match kind(&descriptor)? {
        FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(descriptor)?),
        FileType::Socket => Box::new(socket(descriptor)?),
        _ => Box::new(tokio::fs::File::from_std(File::from(descriptor))),
    })
}

fn kind(descriptor: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(descriptor)?.st_mode))
}

/// Any stream socket will do: only reading, writing and waiting are asked of it.
fn socket(descriptor: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let stream = UnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn through(from: OwnedFd, to: OwnedFd) -> String {
        let mut to = sink(to).expect("a sink");
        to.write_all(b"hello").await.expect("it is written");
        to.flush().await.expect("it is out");
        drop(to);
        let mut text = String::new();
        source(from).expect("a source").read_to_string(&mut text).await.expect("it is read");
        text
    }

    #[tokio::test]
    async fn pipes_sockets_and_files() {
        let (from, to) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!(through(from, to).await, "hello");
        let (from, to) = UnixStream::pair().expect("sockets");
        assert_eq!(through(from.into(), to.into()).await, "hello");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let open = |write: bool| File::options().read(!write).write(write).open(file.path()).expect("it opens");
        assert_eq!(through(open(false).into(), open(true).into()).await, "hello");
    }
}

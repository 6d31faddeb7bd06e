//! The owner and the guests of a data directory (kernel.md, section 1): how a second process hands its listening
//! socket to the one that owns the directory. Mechanism only: what a guest says is the caller's own type.
//!
//! On `<dir>/control.sock` each message is four bytes of length, most significant first, and that many bytes of
//! JSON. A guest's first message brings descriptors along (`SCM_RIGHTS`). The owner answers each message with
//! `null` or a text that says why not. Either side sees the other's death as the end of the stream, because the
//! kernel closes a dead process's sockets; so nothing here needs a heartbeat.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Error, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// The most bytes of one message: certificates of a thousand clients fit, a runaway peer does not.
pub const MOST_BYTES: usize = 1 << 20;
/// The most descriptors of one message: a listening socket, or the standard streams of a receiver.
pub const MOST_DESCRIPTORS: usize = 4;
/// How long a guest that has connected may take to introduce itself, so that none blocks the next.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// Where the owner of a data directory listens.
#[must_use]
pub fn path(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}

/// Who may become a guest, beside root and the owner's own user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Members of this group, by their process's main group.
    pub group: Option<u32>,
}

impl Admission {
    fn admits(self, ours: u32, uid: u32, gid: u32) -> bool {
        uid == 0 || uid == ours || self.group == Some(gid)
    }

    fn mode(self) -> u32 {
        if self.group.is_some() { 0o660 } else { 0o600 }
    }
}

/// The owner's side. Dropping it removes the socket, so drop it before the lock: the next owner makes its own.
#[derive(Debug)]
pub struct Door {
    socket: UnixListener,
    path: PathBuf,
    admission: Admission,
}

impl Door {
    /// Listens in a data directory, whose [`crate::Lock`] the caller holds: a socket that is there already was
    /// left by a dead owner and is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made there.
    pub fn open(directory: &Path, admission: Admission) -> Result<Self> {
        let path = path(directory);
        let cannot = |error: io::Error| Error::io(format!("cannot listen for guests at {}", path.display()), error);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
        let socket = UnixListener::bind(&path).map_err(cannot)?;
        let door = Self { socket, path: path.clone(), admission };
        if let Some(group) = admission.group {
            std::os::unix::fs::chown(&path, None, Some(group)).map_err(cannot)?;
        }
        // Until here the umask decides; whoever slips in before is still asked for its user below.
        fs::set_permissions(&path, fs::Permissions::from_mode(admission.mode())).map_err(cannot)?;
        Ok(door)
    }

    /// The next guest that introduces itself well. Others are told why not, where they can be, and logged.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn next<T: DeserializeOwned>(&self) -> io::Result<Guest<T>> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            match timeout(INTRODUCTION, self.introduce(Line::new(stream))).await {
                Ok(Ok(guest)) => return Ok(guest),
                Ok(Err(error)) => tracing::warn!(%error, "refused a guest"),
                Err(_) => tracing::warn!("refused a guest that did not introduce itself"),
            }
        }
    }

    async fn introduce<T: DeserializeOwned>(&self, mut line: Line) -> Result<Guest<T>> {
        let peer = rustix::net::sockopt::socket_peercred(&line.stream)
            .map_err(|errno| Error::io("cannot see who a guest is", errno.into()))?;
        let (uid, gid) = (peer.uid.as_raw(), peer.gid.as_raw());
        let ours = rustix::process::geteuid().as_raw();
        let refused = if self.admission.admits(ours, uid, gid) {
            match line.receive().await {
                Ok(Some((message, descriptors))) => return Ok(Guest { message, descriptors, line: Owner(line) }),
                Ok(None) => return Err(Error::malformed("a guest left without a word")),
                Err(error) => error,
            }
        } else {
            Error::denied(format!(
                "the data directory is in use by a process of user {ours}, which takes no guests of user {uid}: run \
                 both as the same user, or configure a group"
            ))
        };
        line.send(&Some(refused.text()), &[]).await?;
        Err(refused)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // If it cannot be removed, the next owner will.
        drop(fs::remove_file(&self.path));
    }
}

/// A guest at the door: what it said and brought. It waits for an answer.
#[derive(Debug)]
pub struct Guest<T> {
    /// What it said.
    pub message: T,
    /// What it brought, in its order; closed on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Where to answer it, and hear more. Dropping this tells the guest that the owner is gone.
    pub line: Owner,
}

/// The owner's end of the line to one guest.
#[derive(Debug)]
pub struct Owner(Line);

impl Owner {
    /// Answers the last message: done, or why not.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn answer(&mut self, answer: Result<(), &str>) -> Result<()> {
        self.0.send(&answer.err(), &[]).await
    }

    /// Says something that was not asked for, such as the exit status of what a guest had done for it.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn say<T: Serialize>(&mut self, message: &T) -> Result<()> {
        self.0.send(message, &[]).await
    }

    /// The next message, to be answered; `None` when the guest is gone and its listener is to be closed.
    ///
    /// # Errors
    /// `Malformed` or `TooBig` for a message that makes no sense; the line is useless afterwards.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        Ok(self.0.receive().await?.map(|(message, _)| message))
    }
}

/// A guest's end of the line to its owner. Dropping it closes the listener there.
#[derive(Debug)]
pub struct Stay(Line);

impl Stay {
    /// Introduces itself to the owner of a data directory, with what it brings.
    ///
    /// # Errors
    /// `Absent` when no owner listens there (yet): try for the lock again. `Denied` with the owner's reason.
    pub async fn begin<T: Serialize>(directory: &Path, message: &T, brings: &[BorrowedFd<'_>]) -> Result<Self> {
        let path = path(directory);
        let stream = UnixStream::connect(&path).await.map_err(|error| {
            let name = path.display();
            match error.kind() {
                io::ErrorKind::PermissionDenied => Error::denied(format!(
                    "the data directory is in use, and its owner at {name} takes no guests of this user: run both as \
                     the same user, or configure a group"
                ))
                .because(error),
                _ => Error::absent(format!("nobody listens for guests at {name}")).because(error),
            }
        })?;
        let mut stay = Self(Line::new(stream));
        stay.ask(message, brings).await?;
        Ok(stay)
    }

    /// Says more, such as new TLS material.
    ///
    /// # Errors
    /// `Denied` with the owner's reason, `Absent` when the owner is gone.
    pub async fn tell<T: Serialize>(&mut self, message: &T) -> Result<()> {
        self.ask(message, &[]).await
    }

    /// What the owner says unasked; `None` when it is gone.
    ///
    /// # Errors
    /// `Malformed` for what makes no sense.
    pub async fn hear<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        Ok(self.0.receive().await?.map(|(message, _)| message))
    }

    /// Returns when the owner is gone: then try for the lock.
    pub async fn end(&mut self) {
        // An owner says nothing unasked, so anything but the end is one that we cannot talk to: the same to us.
        drop(self.0.receive::<Option<String>>().await);
    }

    async fn ask<T: Serialize>(&mut self, message: &T, brings: &[BorrowedFd<'_>]) -> Result<()> {
        self.0.send(message, brings).await?;
        match self.0.receive::<Option<String>>().await? {
            Some((None, _)) => Ok(()),
            Some((Some(reason), _)) => Err(Error::denied(reason)),
            None => Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::absent("the process that owns the data directory is gone")
}

/// One end of a control connection.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    /// What came beyond the message that was asked for.
    spare: VecDeque<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Line {
    fn new(stream: UnixStream) -> Self {
        Self { stream, spare: VecDeque::new(), descriptors: Vec::new() }
    }

    async fn send<T: Serialize>(&mut self, message: &T, brings: &[BorrowedFd<'_>]) -> Result<()> {
        let body =
            serde_json::to_vec(message).map_err(|error| Error::broken("cannot write a message").because(error))?;
        if body.len() > MOST_BYTES || brings.len() > MOST_DESCRIPTORS {
            return Err(Error::too_big(format!("a message to the other process may have {MOST_BYTES} bytes at most")));
        }
        let mut bytes = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend(body);
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            // Descriptors travel with the first bytes.
            let brings = if sent == 0 { brings } else { &[] };
            let attempt = self.stream.async_io(Interest::WRITABLE, || write(self.stream.as_fd(), rest, brings)).await;
            sent += attempt.map_err(|error| gone().because(error))?;
        }
        Ok(())
    }

    /// A message and what came with it; `None` at the end of the stream.
    async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes: Vec<u8> = self.spare.drain(..).collect();
        loop {
            if let Some((length, rest)) = bytes.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if length > MOST_BYTES {
                    return Err(Error::too_big(format!(
                        "a message of {length} bytes came; {MOST_BYTES} are the most, are both of the same version?"
                    )));
                }
                if let Some((body, spare)) = rest.split_at_checked(length) {
                    let message = serde_json::from_slice(body).map_err(|error| {
                        Error::malformed("a message does not read: are both processes of the same version?")
                            .because(error)
                    })?;
                    self.spare.extend(spare);
                    return Ok(Some((message, std::mem::take(&mut self.descriptors))));
                }
            }
            let (stream, descriptors) = (&self.stream, &mut self.descriptors);
            let piece = stream.async_io(Interest::READABLE, || read(stream.as_fd(), descriptors)).await;
            match piece {
                Ok(piece) if piece.is_empty() && bytes.is_empty() => return Ok(None),
                Ok(piece) if piece.is_empty() => return Err(Error::malformed("a message broke off")),
                Ok(piece) => bytes.extend(piece),
                // The other side died with our words unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(Error::io("cannot hear the other process", error)),
            }
        }
    }
}

fn write(socket: BorrowedFd<'_>, bytes: &[u8], brings: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !brings.is_empty() && !control.push(SendAncillaryMessage::ScmRights(brings)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Without NOSIGNAL a vanished peer would kill us where SIGPIPE is not ignored.
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

fn read(socket: BorrowedFd<'_>, descriptors: &mut Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = vec![0; 16 << 10];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(brought) = message {
            descriptors.extend(brought);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors came with a message"));
    }
    buffer.truncate(received.bytes);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use model::Meaning;

    #[test]
    fn root_the_same_user_and_the_group_are_admitted() {
        let alone = Admission::default();
        assert!(alone.admits(1000, 0, 0) && alone.admits(1000, 1000, 5));
        assert!(!alone.admits(1000, 1001, 1000));
        let grouped = Admission { group: Some(7) };
        assert!(grouped.admits(1000, 1001, 7) && !grouped.admits(1000, 1001, 8));
    }

    #[tokio::test]
    async fn a_socket_is_handed_over_and_each_end_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        // What a dead owner leaves is replaced.
        drop(std::os::unix::net::UnixListener::bind(path(directory.path())).expect("a socket"));
        let door = Door::open(directory.path(), Admission::default()).expect("a door");
        let mode = fs::metadata(path(directory.path())).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let long = "x".repeat(500_000);
        let brings = [socket.as_fd()];
        let owner = async {
            let mut guest = door.next::<String>().await.expect("a guest");
            assert_eq!(guest.message.len(), 500_000);
            guest.line.answer(Ok(())).await.expect("it is there");
            assert_eq!(guest.line.next::<String>().await.expect("it reads").as_deref(), Some("more"));
            guest.line.answer(Err("no more")).await.expect("it is there");
            guest
        };
        let stay = async {
            let mut stay = Stay::begin(directory.path(), &long, &brings).await.expect("it is welcome");
            let refused = stay.tell(&"more").await.expect_err("it is refused");
            assert_eq!((refused.meaning(), refused.text()), (&Meaning::Denied, "no more"));
            stay
        };
        let (mut guest, stay) = tokio::join!(owner, stay);
        drop(socket);
        let taken: TcpListener = guest.descriptors.remove(0).into();
        assert_eq!(taken.local_addr().expect("an address"), address);

        drop(stay);
        assert!(guest.line.next::<String>().await.expect("a clean end").is_none(), "the owner sees the guest's end");
        let (guest, stay) = tokio::join!(
            async {
                let mut guest = door.next::<String>().await.expect("a guest");
                guest.line.answer(Ok(())).await.expect("it is there");
                guest
            },
            Stay::begin(directory.path(), &"again", &[])
        );
        drop((guest, door));
        stay.expect("it was welcome").end().await;
        let nobody = Stay::begin(directory.path(), &"hello", &[]).await.expect_err("nobody is there");
        assert!(nobody.is_absent());
    }

    #[tokio::test]
    async fn what_is_too_large_or_nonsense_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let door = Door::open(directory.path(), Admission::default()).expect("a door");
        let refused = Stay::begin(directory.path(), &"x".repeat(MOST_BYTES), &[]).await.expect_err("too large");
        assert_eq!(*refused.meaning(), Meaning::TooBig);

        let guests = async {
            let stream = UnixStream::connect(path(directory.path())).await.expect("a door");
            stream.writable().await.expect("it can be written");
            stream.try_write(&u32::MAX.to_be_bytes()).expect("it is written");
            let mut line = Line::new(stream);
            let told = line.receive::<Option<String>>().await.expect("an answer").expect("a reason").0;
            assert!(told.is_some_and(|reason| reason.contains("bytes")));
            let refused = Stay::begin(directory.path(), &17, &[]).await.expect_err("it is no text");
            assert!(refused.text().contains("same version"), "{refused}");
        };
        tokio::select! {
            () = guests => {}
            guest = door.next::<String>() => panic!("nobody introduced itself well: {guest:?}"),
        }
    }
}

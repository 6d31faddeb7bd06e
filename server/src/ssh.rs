//! An SSH server that runs commands of ours and nothing else: no shell, no terminal, no forwarding, no agent, no files.
//!
//! Who comes in is a matter of public keys alone ([`AuthorizedKeys`]); what a command is, is a matter of [`Exec`].
//! The wire (RFC 4251 to 4254) is russh's. Only this folder knows it.
//!
//! A connection passes: [`handshakes`] (a place, in turn) → russh (keys, ciphers) → [`session`] (whose key, which
//! command) → [`Exec`], which reads [`inbound`] and writes; then exit status, end of output, close.

mod authorized;
mod connection;
mod cut;
mod handshakes;
mod hostkey;
mod inbound;
mod options;
mod session;

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::{Caller, Grant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use authorized::{AuthorizedKeys, Commands};
pub use hostkey::HostKeys;

use crate::server::Server;

/// A byte stream to a command.
pub type Source = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// A byte stream from a command.
pub type Sink = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// What an exec request runs.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Whether there is such a command.
    ///
    /// # Errors
    /// What the user is told instead, on standard error, with exit status 1.
    fn accepts(&self, command: &str) -> Result<(), String>;

    /// Runs a command that was accepted, and returns its exit status. Dropped when the server ends before it does.
    async fn run(&self, run: Run) -> u32;
}

/// One run of a command.
pub struct Run {
    /// Whose key it is, with the rights of the listener.
    pub caller: Caller,
    /// The command: the client's, or the one that `authorized_keys` puts in its place.
    pub command: String,
    /// What the client asked for, where another command took its place.
    pub original: Option<String>,
    /// Where the client is.
    pub from: IpAddr,
    /// Standard input. An error means that the client is gone or silent for too long; its end, that it is done.
    pub input: Source,
    /// Standard output.
    pub output: Sink,
    /// Standard error: what the user sees.
    pub errors: Sink,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("caller", &self.caller).field("command", &self.command).finish_non_exhaustive()
    }
}

/// One SSH listener.
pub struct SshListener {
    /// What to call it in logs and metrics.
    pub name: Arc<str>,
    /// The bound socket.
    pub socket: TcpListener,
    /// By what clients know the host.
    pub host_keys: HostKeys,
    /// The one name that users log in with.
    pub login: String,
    /// Whose keys are let in.
    pub keys: AuthorizedKeys,
    /// What they may do.
    pub grants: Arc<[Grant]>,
    /// What they can run.
    pub exec: Arc<dyn Exec>,
    /// How long things may take.
    pub patience: Patience,
}

impl fmt::Debug for SshListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshListener").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How long a client may take. Its own kind, because SSH clients are people and scripts with keys, not browsers.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte until a key was proved. Somebody may have to unlock the key, as with sshd's
    /// `LoginGraceTime`.
    pub login: Duration,
    /// Without a command running, and for the next byte of a command's input.
    pub idle: Duration,
    /// Between two questions whether the other side is still there; three without an answer end the connection.
    pub alive: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(120),
            // A client that packs an artifact on a slow disk can pause for minutes.
            idle: Duration::from_secs(600),
            alive: Duration::from_secs(60),
        }
    }
}

impl Server {
    /// Serves an SSH listener until `stop` or [`Server::drain`], and then until its commands are finished or cut.
    /// Spawn it.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn serve_ssh(
        &self,
        listener: SshListener,
        stop: &CancellationToken,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let server = self.clone();
        self.serving(stop, move |stop| connection::serve(server, listener, stop))
    }
}

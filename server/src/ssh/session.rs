//! One SSH connection, from the key to the end of its commands: what russh asks of us, answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use kernel::{Caller, Grant};
use russh::keys::{Algorithm, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelWriteHalf, Pty};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authorized::{AuthorizedKeys, Entry};
use super::inbound::{Inbound, Input, Output};
use super::{Exec, Patience, Run};
use crate::identity;

/// Channels of one connection at once, as sshd's `MaxSessions`. Clients that share connections open another one then.
const CHANNELS: usize = 10;
/// The longest command; ours have some hundred bytes.
const LONGEST: usize = 4096;
/// The extended data of standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) login: String,
    pub(super) keys: Arc<AuthorizedKeys>,
    pub(super) grants: Arc<[Grant]>,
    pub(super) exec: Arc<dyn Exec>,
    pub(super) patience: Patience,
}

/// What the connection's loop and its driver know together.
#[derive(Clone)]
pub(super) struct Progress {
    /// True once a key was proved.
    pub(super) proved: watch::Sender<bool>,
    /// Commands that run.
    pub(super) running: watch::Sender<usize>,
    /// The commands, and what empties their channels.
    pub(super) tasks: TaskTracker,
    /// The connection is at its end: nothing more comes from the client.
    pub(super) cut: CancellationToken,
    /// Commands may not go on.
    pub(super) abort: CancellationToken,
    /// No new commands.
    pub(super) stop: CancellationToken,
}

/// One connection.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    peer: IpAddr,
    progress: Progress,
    /// Whose key was proved.
    holder: Option<(Entry, Caller)>,
    /// Channels that run nothing yet.
    waiting: HashMap<ChannelId, Waiting>,
}

struct Waiting {
    out: ChannelWriteHalf<Msg>,
    inbound: Arc<Inbound>,
}

impl Conversation {
    pub(super) fn new(shared: Arc<Shared>, peer: IpAddr, progress: Progress) -> Self {
        Self { shared, peer, progress, holder: None, waiting: HashMap::new() }
    }

    /// The line of `authorized_keys` that lets this key in, or `None` with a line in the log.
    async fn look(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Entry> {
        let found = if user != self.shared.login {
            Err("there is no such user here")
        } else if *algorithm == (Algorithm::Rsa { hash: None }) {
            Err("the client signs with SHA-1, which anybody could forge: OpenSSH since 7.2 can do better")
        } else {
            let (keys, data, peer) = (Arc::clone(&self.shared.keys), key.key_data().clone(), self.peer);
            let found = tokio::task::spawn_blocking(move || keys.find(&data, peer)).await;
            found.unwrap_or(Err("the authorized keys could not be looked at"))
        };
        let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256);
        match found {
            Ok(entry) => Some(entry),
            Err(reason) => {
                let user = super::options::shown(user);
                tracing::info!(listener = %self.shared.name, peer = %self.peer, %user, %fingerprint, reason, "refused a key");
                None
            }
        }
    }

    /// Answers a request to run something: runs it, or says why not on standard error.
    fn start(&mut self, id: ChannelId, asked: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some(Waiting { out, inbound }) = self.waiting.remove(&id) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let Some((entry, caller)) = &self.holder else { return Err(russh::Error::Inconsistent) };
        let asked = asked_for(asked);
        let (chosen, original) = match &entry.options.command {
            // Checked when the line was read.
            Some(forced) => (Ok(forced.clone()), asked.ok()),
            None => (asked.and_then(|asked| self.shared.exec.accepts(&asked).map(|()| asked)), None),
        };
        let accepted = match chosen {
            Ok(_) if self.progress.stop.is_cancelled() => Err("the server is ending: try again".to_owned()),
            chosen => chosen,
        };
        let output = Output::new(out.make_writer(), Arc::clone(&inbound));
        let mut errors = Output::new(out.make_writer_ext(Some(STDERR)), Arc::clone(&inbound));
        let (name, peer, who) = (Arc::clone(&self.shared.name), self.peer, Arc::clone(&caller.who));
        let (exec, caller, patience) = (Arc::clone(&self.shared.exec), caller.clone(), self.shared.patience.idle);
        let work = async move {
            let begun = tokio::time::Instant::now();
            let (what, status) = match accepted {
                Ok(command) => {
                    let input = Box::new(Input::new(inbound, patience));
                    let (output, errors) = (Box::new(output), Box::new(errors));
                    let run = Run { caller, command: command.clone(), original, from: peer, input, output, errors };
                    (command, exec.run(run).await)
                }
                Err(reason) => {
                    // Whoever is gone misses nothing.
                    drop(errors.write_all(format!("{reason}\n").as_bytes()).await);
                    (reason, 1)
                }
            };
            let seconds = begun.elapsed().as_secs_f64();
            tracing::info!(listener = %name, %peer, %who, status, seconds, "{what}");
            status
        };
        let (running, abort) = (self.progress.running.clone(), self.progress.abort.clone());
        running.send_modify(|running| *running += 1);
        self.progress.tasks.spawn(async move {
            let _ends = Ends(running);
            let status = tokio::select! {
                status = work => status,
                () = abort.cancelled() => 1,
            };
            // In this order: OpenSSH waits for each of them.
            drop(out.exit_status(status).await);
            drop(out.eof().await);
            drop(out.close().await);
        });
        Ok(())
    }
}

/// Counts a command out, however it ends.
struct Ends(watch::Sender<usize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// The command that a client sends, as text.
fn asked_for(bytes: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(bytes) {
        Ok(asked) if asked.len() <= LONGEST => Ok(asked.to_owned()),
        _ => Err(format!("a command is at most {LONGEST} bytes of text")),
    }
}

impl Handler for Conversation {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        let found = self.look(user, offer.public_key, offer.algorithm).await;
        Ok(if found.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let Some(entry) = self.look(user, key.public_key, key.algorithm).await else { return Ok(Auth::reject()) };
        let caller = identity::key_holder(&entry.name, &self.shared.grants);
        tracing::debug!(listener = %self.shared.name, peer = %self.peer, who = %caller.who, "a key was proved");
        self.holder = Some((entry, caller));
        self.progress.proved.send_replace(true);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let open = self.waiting.len() + *self.progress.running.borrow();
        if open >= CHANNELS || self.progress.stop.is_cancelled() {
            return Ok(()); // Dropping the handle refuses the channel.
        }
        let (read, out) = channel.split();
        let inbound = Inbound::new();
        self.progress.tasks.spawn(Arc::clone(&inbound).fill(read, self.progress.cut.clone()));
        self.waiting.insert(out.id(), Waiting { out, inbound });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.waiting.remove(&channel);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, command, session)
    }

    /// A shell is no command, unless `authorized_keys` puts one in its place; [`Exec::accepts`] explains that.
    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, b"", session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

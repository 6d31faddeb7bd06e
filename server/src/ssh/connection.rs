//! Accepts SSH connections and sees each through: a place for its handshake, the time that it may take, a polite end.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::{Config, run_stream};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Patience;
use super::SshListener;
use super::cut::Cut;
use super::handshakes::Handshakes;
use super::hostkey::HostKeys;
use super::session::{Conversation, Progress, Shared};
use crate::connection::{BACK_OFF, is_about_one_client};
use crate::metrics::Numbers;
use crate::server::Server;

/// Bytes that a client may send ahead of our reading: a fast line's worth.
const WINDOW: u32 = 8 << 20;
/// The most that russh takes of one packet.
const PACKET: u32 = 65_535;
/// Packets between russh's loop and a channel: half a MiB at most.
const PACKETS: usize = 8;
/// Keys that a client may try. An agent of somebody who works for many has more than sshd's six.
const TRIES: usize = 20;

/// Serves a listener until `stop`, then drains it.
pub(super) async fn serve(server: Server, listener: SshListener, stop: CancellationToken) -> io::Result<()> {
    let SshListener { name, socket, host_keys, login, keys, grants, exec, patience } = listener;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let address = socket.local_addr().ok();
    tracing::info!(listener = %name, ?address, %login, host_keys = ?host_keys.fingerprints(), "listening for SSH");
    let numbers = server.metrics().listener(&name);
    let config = Arc::new(configuration(&host_keys, patience));
    let shared = Arc::new(Shared { name, login, keys: Arc::new(keys), grants, exec, patience });
    let place = Listening { server, shared, config, handshakes: Handshakes::new(), numbers, stop };
    let mut open = JoinSet::new();
    tokio::select! {
        () = place.stop.cancelled() => {}
        () = place.accept(&socket, &mut open) => {}
    }
    drop(socket);
    tracing::info!(listener = %place.shared.name, connections = open.len(), "draining");
    while open.join_next().await.is_some() {}
    tracing::info!(listener = %place.shared.name, "closed");
    Ok(())
}

/// What russh has to know.
fn configuration(host_keys: &HostKeys, patience: Patience) -> Config {
    // Also what clients are told that they may sign with (RFC 8308, server-sig-algs): no SHA-1.
    let key = [
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-entrepot")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // A delay is meant against guessing passwords, and there are none; with it each key of an agent costs a second.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: TRIES,
        keys: host_keys.keys(),
        preferred: Preferred { key: Cow::Owned(key.to_vec()), ..Preferred::DEFAULT },
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: PACKETS,
        // Bounds how long a write may hang. Answered questions keep it from ending a client that is there, and whoever
        // waits for input loses patience first, so that he can still say so.
        inactivity_timeout: Some(patience.idle + LAST_WORDS),
        keepalive_interval: Some(patience.alive),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

struct Listening {
    server: Server,
    shared: Arc<Shared>,
    config: Arc<Config>,
    handshakes: Arc<Handshakes>,
    numbers: Numbers,
    stop: CancellationToken,
}

impl Listening {
    async fn accept(&self, socket: &tokio::net::TcpListener, open: &mut JoinSet<()>) {
        let room = self.server.connections();
        let mut failing = false;
        loop {
            while open.try_join_next().is_some() {}
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_about_one_client(&error) => continue,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(listener = %self.shared.name, %error, "cannot accept connections; trying again");
                    }
                    sleep(BACK_OFF).await;
                    continue;
                }
            };
            failing = false;
            // The semaphore is never closed. While all connections are taken, new ones wait in the kernel's queue.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let one = Connection {
                shared: Arc::clone(&self.shared),
                config: Arc::clone(&self.config),
                handshakes: Arc::clone(&self.handshakes),
                drain: self.server.limits().drain,
                peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                stop: self.stop.clone(),
                _permit: permit,
            };
            let numbers = self.numbers.clone();
            open.spawn(async move {
                let _open = numbers.connection();
                one.converse(stream).await;
            });
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    config: Arc<Config>,
    handshakes: Arc<Handshakes>,
    /// How long commands may go on when the server ends, or when their client is gone.
    drain: Duration,
    peer: SocketAddr,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn converse(self, stream: TcpStream) {
        let (name, peer) = (&self.shared.name, self.peer);
        if stream.set_nodelay(true).is_err() {
            return; // The other side is gone already.
        }
        let place = tokio::select! {
            place = self.handshakes.enter() => place,
            () = self.stop.cancelled() => return,
        };
        let Some(place) = place else { return };
        let progress = Progress {
            proved: watch::Sender::new(false),
            running: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
            abort: CancellationToken::new(),
            stop: self.stop.clone(),
        };
        let conversation = Conversation::new(Arc::clone(&self.shared), peer.ip(), progress.clone());
        let stream = Cut::new(stream, &progress.cut);
        let (mut proved, patience) = (progress.proved.subscribe(), self.shared.patience);
        // Greets, and comes back when the client has greeted; then the loop runs in a task of its own.
        let login = run_stream(Arc::clone(&self.config), stream, conversation);
        let mut session = tokio::select! {
            session = timeout(patience.login, login) => match session {
                Ok(Ok(session)) => session,
                Ok(Err(error)) => return tracing::info!(listener = %name, %peer, %error, "no SSH client"),
                Err(_) => return tracing::info!(listener = %name, %peer, "an SSH client said nothing"),
            },
            () = place.lost.cancelled() => return tracing::info!(listener = %name, %peer, "gave its place to another"),
            () = self.stop.cancelled() => return,
        };
        let late = |what: &'static str| {
            tracing::info!(listener = %name, %peer, "{what}");
            Some(None)
        };
        let ended = tokio::select! {
            ended = &mut session => Some(Some(ended)),
            _ = proved.wait_for(|proved| *proved) => None,
            () = sleep(patience.login) => late("an SSH client proved no key in time"),
            () = place.lost.cancelled() => late("an SSH client gave its place to another"),
            () = self.stop.cancelled() => Some(None),
        };
        drop(place);
        // `Some` when the loop is over, which may be asked only once.
        let ended = match ended {
            Some(ended) => ended,
            None => tokio::select! {
                ended = &mut session => Some(ended),
                () = idle(&progress, patience.idle) => {
                    tracing::info!(listener = %name, %peer, "an SSH client ran nothing for too long");
                    None
                }
                () = self.finish(&progress) => None,
            },
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::info!(listener = %name, %peer, %error, "SSH connection ended"),
            // A client that was just told an exit status goes by itself; told to go, it would forget the status.
            None if timeout(GOODBYE, &mut session).await.is_ok() => {}
            None => {
                // The loop says goodbye if it still can, and is cut if it cannot.
                let goodbye = session.handle();
                let said = goodbye.disconnect(Disconnect::ByApplication, String::new(), String::new());
                drop(timeout(GOODBYE, said).await);
                drop(timeout(GOODBYE, &mut session).await);
            }
        }
        progress.cut.cancel();
        // What is complete may still be stored; what is not hears that its client is gone.
        progress.tasks.close();
        let rest = if self.stop.is_cancelled() { GOODBYE } else { self.drain };
        if timeout(rest, progress.tasks.wait()).await.is_err() {
            tracing::warn!(listener = %name, %peer, "cut a command that did not finish");
            progress.abort.cancel();
            progress.tasks.wait().await;
        }
    }

    /// After `stop`: returns when all commands are finished, or when they have had their time.
    async fn finish(&self, progress: &Progress) {
        self.stop.cancelled().await;
        let mut running = progress.running.subscribe();
        drop(timeout(self.drain, running.wait_for(|running| *running == 0)).await);
    }
}

/// What a command gets to tell its client that it waited too long.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a client may take to hear that we go.
const GOODBYE: Duration = Duration::from_millis(500);

/// Returns when nothing has been running for so long.
async fn idle(progress: &Progress, limit: Duration) {
    let mut running = progress.running.subscribe();
    loop {
        // The sender is in `progress`.
        drop(running.wait_for(|running| *running == 0).await);
        if timeout(limit, running.wait_for(|running| *running > 0)).await.is_err() {
            return;
        }
    }
}

//! Accepts connections and speaks HTTP on them: HTTP/1.1, HTTP/2 with prior knowledge and gRPC on one port, and
//! the same inside TLS. Ends in good manners: no new connections, then no new requests, then a bounded wait.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificate;
use crate::lane::Lane;
use crate::limits::Limits;
use crate::listener::Listener;
use crate::plain::Plain;
use crate::request::Service;
use crate::server::Server;
use crate::tls::Tls;
use crate::watch;

/// How long to leave the kernel alone when it has no descriptor or memory for a connection.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);
/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known of a connection before anything was asked on it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The other end, with IPv4 written as IPv4 on a socket for both.
    pub(crate) peer: SocketAddr,
    /// True when it is encrypted.
    pub(crate) tls: bool,
    /// The holder of the client certificate that TLS accepted.
    pub(crate) certificate: Option<Arc<str>>,
    /// For files that go to a socket without TLS, where only HTTP/1.1 is framed so that the kernel can send them.
    pub(crate) lane: Option<Arc<Lane>>,
}

/// Serves a listener until `stop`, then drains it.
pub(crate) async fn serve(server: Server, listener: Listener, stop: CancellationToken) -> io::Result<()> {
    let Listener { name, socket, tls, access, router } = listener;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    tracing::info!(listener = %name, address = ?socket.local_addr().ok(), tls = tls.is_some(), "listening");
    let numbers = server.metrics().listener(&name);
    let service = Arc::new(Service { server, name, access, router, numbers });
    let mut open = JoinSet::new();
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(&socket, &service, tls.as_ref(), &stop, &mut open) => {}
        () = refresh(&service, tls.as_ref()) => {}
    }
    // From here on the kernel refuses new connections (unless a guest has the socket too).
    drop(socket);
    tracing::info!(listener = %service.name, connections = open.len(), "draining");
    while open.join_next().await.is_some() {}
    tracing::info!(listener = %service.name, "closed");
    Ok(())
}

/// Looks at the files of this listener from time to time, off the threads that serve.
async fn refresh(service: &Service, tls: Option<&Arc<Tls>>) {
    loop {
        sleep(watch::INTERVAL).await;
        let (tls, access) = (tls.cloned(), Arc::clone(&service.access));
        let look = tokio::task::spawn_blocking(move || {
            tls.map(|tls| tls.refresh());
            access.refresh();
        });
        if let Err(error) = look.await {
            tracing::error!(%error, "looking for changed files failed");
        }
    }
}

async fn accept(
    socket: &tokio::net::TcpListener,
    service: &Arc<Service>,
    tls: Option<&Arc<Tls>>,
    stop: &CancellationToken,
    open: &mut JoinSet<()>,
) {
    let room = service.server.connections();
    // Each is said once and not again before it was over.
    let (mut full, mut failing) = (false, false);
    loop {
        while open.try_join_next().is_some() {}
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_about_one_client(&error) => continue,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(listener = %service.name, %error, "cannot accept connections; trying again");
                }
                sleep(BACK_OFF).await;
                continue;
            }
        };
        failing = false;
        // Taken after accepting, so that a listener that nobody uses keeps no place from the others.
        let permit = match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                full = false;
                permit
            }
            Err(_) => {
                if !std::mem::replace(&mut full, true) {
                    tracing::warn!(listener = %service.name, "the limit of connections is reached; new ones wait");
                }
                // The semaphore is never closed.
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                permit
            }
        };
        let tls = tls.map(|tls| TlsAcceptor::from(tls.config()));
        open.spawn(converse(Arc::clone(service), stream, peer, tls, stop.clone(), permit));
    }
}

/// True when a client was gone before it was accepted; the socket is fine.
pub(crate) fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

async fn converse(
    service: Arc<Service>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let _open = service.numbers.connection();
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    // Answers are written whole; waiting for more to send would only delay them.
    if stream.set_nodelay(true).is_err() {
        return; // The other side is gone already.
    }
    let connection = Connection { peer, tls: tls.is_some(), certificate: None, lane: None };
    let Some(tls) = tls else {
        let lane = Lane::new(service.numbers.sent_from_files());
        let stream = Plain::new(stream, Arc::clone(&lane));
        return speak(service, stream, Connection { lane: Some(lane), ..connection }, stop).await;
    };
    let limit = service.server.limits().handshake;
    let shaken = tokio::select! {
        shaken = timeout(limit, tls.accept(stream)) => shaken,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let certificate = certificates.and_then(<[_]>::first).map(|leaf| certificate::holder(leaf).into());
            speak(service, stream, Connection { certificate, ..connection }, stop).await;
        }
        Ok(Err(error)) => tracing::info!(listener = %service.name, %peer, %error, "TLS handshake failed"),
        Err(_) => tracing::info!(listener = %service.name, %peer, "TLS handshake took too long"),
    }
}

async fn speak(
    service: Arc<Service>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    stop: CancellationToken,
) {
    let limits = *service.server.limits();
    let name = Arc::clone(&service.name);
    let connection = Arc::new(connection);
    let peer = connection.peer;
    let io = TokioIo::new(Greeted::new(stream, limits.handshake));
    let answer = service_fn(move |request| {
        let (service, connection) = (Arc::clone(&service), Arc::clone(&connection));
        async move { Ok::<_, Infallible>(service.answer(&connection, request).await) }
    });
    let http = http(&limits);
    let mut conversation = pin!(http.serve_connection_with_upgrades(io, answer));
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = stop.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            match timeout(limits.drain, conversation).await {
                Ok(ended) => ended,
                Err(_) => return tracing::warn!(listener = %name, %peer, "cut a connection that did not finish"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(listener = %name, %peer, %error, "connection ended");
    }
}

fn http(limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        // How much a client may send on before we have read it. 2 MiB keep a stream at 1.6 Gbit/s over 10 ms; four
        // such streams fill a connection. HTTP/2's own 64 KiB would make a connection as slow as its round trips.
        .initial_stream_window_size(2 << 20)
        .initial_connection_window_size(8 << 20)
        // A chunk of 256 KiB then travels as one frame; larger ones only delay other streams.
        .max_frame_size(1 << 20)
        // Some chunks for the socket to write while the next is being read, per stream.
        .max_send_buf_size(2 << 20)
        // Access tokens are long and clients add REAPI's metadata; the default of 16 KiB has been too little.
        .max_header_list_size(64 << 10)
        // Finds clients that vanished without a word. Theirs to us may come as often as they like (BuildStream
        // users set 10 s): hyper answers each and never ends a connection with ENHANCE_YOUR_CALM for it.
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// Gives a client a limited time until it is clear which HTTP it speaks; from there on hyper's own time-outs hold.
struct Greeted<S> {
    stream: S,
    /// `None` when it is clear.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How much of the preface has come.
    seen: usize,
}

impl<S> Greeted<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self { stream, deadline: Some(Box::pin(sleep(limit))), seen: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(deadline) = &mut this.deadline else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let rest = PREFACE.get(this.seen..).unwrap_or_default();
        this.seen += new.len();
        if this.seen >= PREFACE.len() || !rest.starts_with(new) {
            this.deadline = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

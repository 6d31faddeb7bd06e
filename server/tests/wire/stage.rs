//! A server without a hub, with a protocol that answers what the tests ask.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures::future::BoxFuture;
use kernel::{Caller, Grant, Rights};
use model::Result;
use server::{Access, Kernel, Limits, Listener, Origin, Owned, RequestId, Server, Tls};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Knows one token, `sesame`.
struct OneToken;

impl Kernel for OneToken {
    fn token_caller<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Option<Caller>>> {
        let caller = (secret == "sesame").then(|| Caller::known("token:7", vec![Grant::everywhere(Rights::ALL)]));
        Box::pin(async { Ok(caller) })
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How a stage differs from the plain one.
#[derive(Default)]
pub(crate) struct Setting {
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    /// Served beside the plain protocol.
    pub(crate) beside: Vec<Owned>,
}

/// A running server.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    /// Rung by `/slow` when it has begun.
    pub(crate) begun: Arc<Notify>,
    /// Lets `/slow` finish.
    pub(crate) finish: Arc<Notify>,
    pub(crate) serving: JoinSet<std::io::Result<()>>,
}

impl Stage {
    pub(crate) fn new(setting: Setting) -> Self {
        let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let server = Server::new(Arc::new(OneToken), setting.limits, |_| {});
        let mut owned = setting.beside;
        owned.push(protocol(&begun, &finish));
        let router = server.join(owned).expect("nothing overlaps");
        let socket = server::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let access = Arc::new(setting.access);
        let listener = Listener { name: "test".into(), socket, tls: setting.tls, access, router };
        let mut serving = JoinSet::new();
        serving.spawn(server.serve(listener, &CancellationToken::new()));
        Self { server, address, begun, finish, serving }
    }

    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        // The certificates of the tests are for localhost.
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// What curl prints for these arguments; the URL comes last.
    pub(crate) async fn curl(&self, arguments: &[&str], scheme: &str, path: &str) -> String {
        let done = self.try_curl(arguments, scheme, path).await;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    pub(crate) async fn try_curl(&self, arguments: &[&str], scheme: &str, path: &str) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(arguments);
        curl.arg(self.url(scheme, path)).output().await.expect("curl is installed")
    }
}

/// Waits for something to become true, and not for ever.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect(what);
}

fn protocol(begun: &Arc<Notify>, finish: &Arc<Notify>) -> Owned {
    let (begun, finish) = (Arc::clone(begun), Arc::clone(finish));
    let slow = move || {
        let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
        async move {
            begun.notify_one();
            Body::from_stream(futures::stream::once(async move {
                finish.notified().await;
                Ok::<_, Infallible>(Bytes::from_static(b"finished"))
            }))
        }
    };
    let routes = Router::new()
        .route("/test/who", get(who).post(who))
        .route("/test/echo", post(|body: Bytes| async { body }))
        .route("/test/slow", get(slow))
        .route("/test/panic", get(panics).post(panics));
    Owned { owner: "test", prefixes: vec!["/test".into(), "/test.Service".into()], routes, protocol: None }
}

async fn who(
    Extension(caller): Extension<Caller>,
    Extension(origin): Extension<Origin>,
    Extension(id): Extension<RequestId>,
) -> String {
    let rights: Vec<_> = caller.grants.iter().map(|grant| grant.rights.to_string()).collect();
    format!("{} [{}] from {} https={} id={}", caller.who, rights.join(" "), origin.client, origin.https, id.0)
}

async fn panics() -> String {
    panic!("as the test wants")
}

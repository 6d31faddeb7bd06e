//! A process without free descriptors goes on when there are some again. Alone in its process, whose limit it lowers.

use std::fs::File;
use std::sync::Arc;

use futures::future::BoxFuture;
use kernel::Caller;
use model::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::{Access, Kernel, Limits, Listener, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct Nothing;

impl Kernel for Nothing {
    fn token_caller<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Caller>>> {
        Box::pin(async { Ok(None) })
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test]
async fn it_survives_having_no_descriptors() {
    let server = Server::new(Arc::new(Nothing), Limits::default(), |_| {});
    let socket = server::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let router = server.join(vec![]).expect("nothing overlaps");
    let listener = Listener { name: "test".into(), socket, tls: None, access: Arc::new(Access::default()), router };
    let mut serving = JoinSet::new();
    serving.spawn(server.serve(listener, &CancellationToken::new()));

    let client = TcpSocket::new_v4().expect("a socket");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).expect("it is lowered");
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    // The kernel completes the connection; the server cannot have it.
    let mut stream = client.connect(address).await.expect("it connects");
    stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.expect("it is sent");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(serving.try_join_next().is_none(), "it still serves");
    drop(all);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

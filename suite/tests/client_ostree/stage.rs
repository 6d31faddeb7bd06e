//! A hub with one repository, at a free port, and directories for clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Caller, Grant, Hub, Namespace, Rights};
use ostree::{Ended, Ostree, ReceiveOptions, Repository};
use server::{Access, Limits, Listener, Protocol, Server, Tls};
use suite::bst1::{Client, Entry, Form, Order, Pushed, objects};
use suite::clients::program;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As most clients are.
pub(crate) const CLIENT: Client = Client { order: Order::Little, form: Form::Pax, tells: false };

/// The hub.
pub(crate) struct Stage {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    secure: bool,
    _directory: TempDir,
    _serving: JoinHandle<()>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(None, u64::MAX).await
    }

    pub(crate) async fn with(tls: Option<Arc<Tls>>, limit: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let catalog = catalogs::Plan::new(directory.path().join("catalog.db")).open().expect("a catalog");
        let store = stores::Disk::open(directory.path()).expect("a store");
        let namespaces = vec![("main".into(), limit)];
        let settings = kernel::Settings { namespaces, disk_reserve: 0, ..kernel::Settings::default() };
        let hub = Hub::open(Arc::new(catalog), Arc::new(store), ostree::kinds(), settings).await.expect("a hub");
        let server = Server::new(Arc::new(hub.clone()), Limits::default(), |_| {});
        let repository = Repository { path: "/artifacts".into(), namespace: "main".into(), name: "artifacts".into() };
        let protocols: [Arc<dyn Protocol>; 1] = [Arc::new(Ostree::new(vec![repository]))];
        let router = server.router(&hub, &protocols).expect("routes");
        let socket = server::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let access = Access { anonymous: vec![Grant::everywhere(Rights::PULL)].into(), ..Access::default() };
        let secure = tls.is_some();
        let listener = Listener { name: "test".into(), socket, tls, access: Arc::new(access), router };
        let serving = server.serve(listener, &CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "it ends with the runtime of its test")]
        let serving = tokio::spawn(async move { serving.await.expect("it listens") });
        Self { hub, address, secure, _directory: directory, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://localhost:{}/artifacts", self.address.port())
    }

    /// The namespace, as one who pushes.
    pub(crate) fn pusher(&self) -> Namespace {
        let caller = Caller::known("ssh:test", vec![Grant::everywhere(Rights::PUSH)]);
        self.hub.enter(&caller, "main").expect("it is there")
    }

    /// Pushes over a pipe; what the client saw, and how the receiver ended.
    pub(crate) async fn push(&self, client: Client, refs: &[(&str, &str)], entries: &[Entry]) -> (Pushed, Ended) {
        self.push_as(self.pusher(), client, refs, entries).await
    }

    pub(crate) async fn push_as(
        &self,
        namespace: Namespace,
        client: Client,
        refs: &[(&str, &str)],
        entries: &[Entry],
    ) -> (Pushed, Ended) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (input, output) = tokio::io::split(far);
        let receiving = ostree::receive(namespace, "artifacts", self.options(), input, output);
        let (mut input, mut output) = tokio::io::split(near);
        let pushing = async {
            let pushed = client.push(&mut input, &mut output, refs, entries).await.unwrap_or(Pushed::Cut);
            drop(tokio::io::AsyncWriteExt::shutdown(&mut output).await);
            pushed
        };
        tokio::join!(pushing, receiving)
    }

    /// The commit of a ref, as it is served.
    pub(crate) async fn at(&self, name: &str) -> Option<String> {
        let (head, body) = self.get(&format!("/refs/heads/{name}"), "").await;
        head.starts_with("HTTP/1.1 200").then(|| String::from_utf8_lossy(&body).trim().to_owned())
    }

    /// A file of the repository: the answer's head, and its body.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> (String, Vec<u8>) {
        self.ask("GET", path, headers).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("{method} /artifacts{path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{headers}\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.split_off(end))
    }

    pub(crate) fn options(&self) -> ReceiveOptions {
        let options = ReceiveOptions::new(self.url());
        ReceiveOptions { idle: Duration::from_secs(20), linger: Duration::from_millis(300), ..options }
    }

    /// Pushes the one commit of an archive repository under these refs.
    pub(crate) async fn publish(&self, built: &Built, refs: &[&str]) {
        let refs: Vec<_> = refs.iter().map(|name| (*name, &*built.commit)).collect();
        let (pushed, ended) = self.push(CLIENT, &refs, &objects(&built.repository)).await;
        assert_eq!((pushed, ended), (Pushed::Done, Ended { status: 0, said: None }));
    }
}

/// A commit in an archive repository of its own.
pub(crate) struct Built {
    pub(crate) repository: PathBuf,
    pub(crate) commit: String,
}

/// Runs `ostree`.
///
/// # Panics
/// When it fails.
pub(crate) fn ostree(arguments: &[&str]) -> String {
    let (fine, said) = try_ostree(arguments);
    assert!(fine, "ostree {arguments:?}: {said}");
    said
}

pub(crate) fn try_ostree(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program("ostree")).args(arguments).output().expect("ostree runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs `ostree` away from the threads that serve it.
pub(crate) async fn client(arguments: &[&str]) -> (bool, String) {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let ran = tokio::task::spawn_blocking(move || {
        try_ostree(&arguments.iter().map(|argument| &**argument).collect::<Vec<_>>())
    });
    ran.await.expect("it ran")
}

/// Commits a directory as the old client did: no bindings, no subject, owner 0.
pub(crate) fn build(place: &Path, tree: &Path) -> Built {
    let repository = place.join("repo");
    let repo = format!("--repo={}", repository.display());
    ostree(&["init", "--mode=archive-z2", &repo]);
    let tree = format!("--tree=dir={}", tree.display());
    let commit = ostree(&["commit", &repo, "--orphan", "--no-bindings", "--owner-uid=0", "--owner-gid=0", &tree]);
    Built { repository, commit: commit.trim().to_owned() }
}

/// A client's own repository that has the hub as its remote.
pub(crate) struct Mirror {
    pub(crate) directory: TempDir,
    repo: String,
}

impl Mirror {
    pub(crate) async fn of(url: &str, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repo = format!("--repo={}", directory.path().join("repo").display());
        ostree(&["init", "--mode=bare-user", &repo]);
        let add = ["remote", "add", &repo, "--no-gpg-verify", "hub", url];
        ostree(&[&add[..], more].concat());
        Self { directory, repo }
    }

    /// Runs `ostree` on it.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (bool, String) {
        client(&[arguments, &[&self.repo]].concat()).await
    }

    /// Pulls a ref, checks the whole repository, and checks the ref out.
    pub(crate) async fn pull(&self, name: &str) -> PathBuf {
        let (fine, said) = self.run(&["pull", "hub", name]).await;
        assert!(fine, "pull: {said}");
        let (fine, said) = self.run(&["fsck"]).await;
        assert!(fine, "fsck: {said}");
        let out = self.directory.path().join(format!("out-{}", name.replace('/', "-")));
        let (fine, said) = self.run(&["checkout", "-U", &format!("hub:{name}"), &out.display().to_string()]).await;
        assert!(fine, "checkout: {said}");
        out
    }
}

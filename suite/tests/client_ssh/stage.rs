//! An SSH listener with commands of the test, and OpenSSH's client with keys of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kernel::{Caller, Grant, Rights};
use server::ssh::{AuthorizedKeys, Exec, HostKeys, Patience, Run, SshListener};
use server::{Kernel, Limits, Server};
use suite::clients::{installed, program};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The kinds of keys that users have: the name of the file, and how `ssh-keygen` makes it.
pub(crate) const KINDS: [(&str, &[&str]); 5] = [
    ("rsa", &["-t", "rsa", "-b", "3072"]),
    ("ed25519", &["-t", "ed25519"]),
    ("ecdsa256", &["-t", "ecdsa", "-b", "256"]),
    ("ecdsa384", &["-t", "ecdsa", "-b", "384"]),
    ("ecdsa521", &["-t", "ecdsa", "-b", "521"]),
];

/// Whether the clients are there.
pub(crate) fn ready() -> bool {
    installed(&["ssh", "ssh-keygen"])
}

struct Nothing;

impl Kernel for Nothing {
    fn token_caller<'a>(&'a self, _: &'a str) -> BoxFuture<'a, model::Result<Option<Caller>>> {
        Box::pin(async { Ok(None) })
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The commands of the tests. What they saw is counted.
#[derive(Default)]
pub(crate) struct Commands {
    pub(crate) begun: AtomicUsize,
    /// Runs that heard that their client is gone.
    pub(crate) gone: AtomicUsize,
}

#[async_trait]
impl Exec for Commands {
    fn accepts(&self, command: &str) -> Result<(), String> {
        match command.split(' ').next() {
            Some("echo" | "fail" | "who" | "swallow" | "hold") => Ok(()),
            _ => Err("this server takes pushes of artifacts only".into()),
        }
    }

    async fn run(&self, run: Run) -> u32 {
        let Run { caller, command, original, mut input, mut output, mut errors, .. } = run;
        self.begun.fetch_add(1, Ordering::SeqCst);
        match command.split(' ').next() {
            Some("echo") => {
                let copied = tokio::io::copy(&mut input, &mut output).await;
                u32::from(copied.is_err() || output.flush().await.is_err())
            }
            Some("fail") => {
                errors.write_all(b"the disk is full\n").await.expect("errors");
                42
            }
            Some("who") => {
                let text = format!("{} {:?}", caller.who, original);
                output.write_all(text.as_bytes()).await.expect("output");
                0
            }
            Some("swallow") => {
                let swallowed = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
                match swallowed {
                    Ok(bytes) => {
                        output.write_all(bytes.to_string().as_bytes()).await.expect("output");
                        0
                    }
                    Err(_) => {
                        self.gone.fetch_add(1, Ordering::SeqCst);
                        1
                    }
                }
            }
            // Ends without waiting for the end of its input, as the hello does.
            _ => {
                let mut byte = [0];
                u32::from(input.read_exact(&mut byte).await.is_err())
            }
        }
    }
}

/// A listener that runs, and the place of its files.
pub(crate) struct Stage {
    pub(crate) directory: TempDir,
    pub(crate) commands: Arc<Commands>,
    pub(crate) port: u16,
    pub(crate) server: Server,
    runtime: Runtime,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Patience::default(), Limits::default())
    }

    pub(crate) fn with(patience: Patience, limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let commands = Arc::new(Commands::default());
        let socket = server::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let forced = |command: &str| Commands::default().accepts(command);
        let keys = AuthorizedKeys::open(directory.path().join("authorized_keys"), Arc::new(forced)).expect("keys");
        let listener = SshListener {
            name: "ssh".into(),
            socket,
            host_keys: HostKeys::of(directory.path()).expect("host keys"),
            login: "artifacts".into(),
            keys,
            grants: vec![Grant::everywhere(Rights::PUSH)].into(),
            exec: Arc::clone(&commands) as Arc<dyn Exec>,
            patience,
        };
        let public = std::fs::read_to_string(directory.path().join("ssh_host_ed25519_key.pub")).expect("a host key");
        let known = format!("[127.0.0.1]:{port} {public}");
        std::fs::write(directory.path().join("known_hosts"), known).expect("known hosts");
        let server = Server::new(Arc::new(Nothing), limits, |_| {});
        let serving = server.serve_ssh(listener, &CancellationToken::new());
        let tracker = tokio_util::task::TaskTracker::new();
        tracker.spawn_on(async move { serving.await.expect("it serves") }, runtime.handle());
        Self { directory, commands, port, server, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `cat user_id_rsa.pub >> authorized_keys`, with options before it.
    pub(crate) fn authorize(&self, kind: &str, options: &str) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.path("authorized_keys"));
        let public = std::fs::read_to_string(key(kind).with_extension("pub")).expect("a public key");
        let file = file.as_mut().expect("the file");
        write!(file, "{options}{}{public}", if options.is_empty() { "" } else { " " }).expect("it is written");
    }

    /// `ssh` with this key and nothing of the machine's own configuration.
    pub(crate) fn ssh(&self, kind: &str, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = client(&self.path("known_hosts"), self.port, &key(kind));
        ssh.args(options).arg("artifacts@127.0.0.1").args(command);
        ssh
    }

    /// Runs a command and waits for it.
    pub(crate) fn run(&self, kind: &str, command: &[&str]) -> Output {
        self.ssh(kind, &[], command).stdin(Stdio::null()).output().expect("ssh runs")
    }

    pub(crate) fn drain(&self) {
        self.runtime.block_on(self.server.drain());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.drain();
    }
}

/// A client that asks nobody anything.
pub(crate) fn client(known_hosts: &Path, port: u16, key: &Path) -> Command {
    let mut ssh = Command::new(program("ssh"));
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=accept-new",
    ]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()));
    ssh.arg("-i").arg(key).arg("-p").arg(port.to_string()).env_remove("SSH_AUTH_SOCK");
    ssh
}

/// The private key of a kind, made once for all tests of this process.
pub(crate) fn key(kind: &str) -> PathBuf {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a directory");
        for (name, arguments) in KINDS.iter().chain(&[("stranger", ["-t", "ed25519"].as_slice())]) {
            let mut make = Command::new(program("ssh-keygen"));
            make.args(*arguments).args(["-q", "-N", "", "-C"]).arg(format!("{name}@test")).arg("-f");
            assert!(make.arg(place.path().join(name)).status().expect("ssh-keygen runs").success());
        }
        place
    });
    place.path().join(kind)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Longer than anything should take.
pub(crate) const LONG: Duration = Duration::from_secs(60);

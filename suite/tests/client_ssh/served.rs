//! The product behind both ways in: its own SSH listener, and Debian's sshd with the document's ForceCommand block. The
//! client is OpenSSH's; what it says is the hello of the specification, byte for byte.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use suite::clients::{AUTHORIZE_SSH, Hub, Sshd, entrepot, free_port, installed, until};
use tempfile::TempDir;

use crate::stage::{LONG, client, key, text};

/// info {mode 0, refs {}} (specification, section 2.2).
const HELLO: &[u8] = b"l\x01\x00\x21\x00mode\0\0\0\0\0\0\0\0\0i\x05\0refs\0\0\0\0\0a{ss}\x05\x0f\x1f";
/// done {}
const DONE: &[u8] = b"l\x01\x04\0\0";

/// Says hello as BuildStream 1.0 does, with its input kept open until the other side ends. Returns the answer's payload.
fn hello(mut ssh: Command, path: &str) -> Result<Vec<u8>, String> {
    ssh.args(["artifacts@127.0.0.1", "-oConnectTimeout=3", "bst-artifact-receive", path]);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ssh runs");
    let (mut input, mut output) = (child.stdin.take().expect("input"), child.stdout.take().expect("output"));
    // Whoever is refused does not read it.
    drop(input.write_all(HELLO));
    let mut header = [0; 5];
    if output.read_exact(&mut header).is_err() {
        drop(input);
        let said = child.wait_with_output().expect("an end");
        assert!(!said.status.success());
        return Err(text(&said.stderr));
    }
    assert_eq!(header[..3], [b'l', 1, 0], "an info of version 1");
    let mut payload = vec![0; usize::from(u16::from_le_bytes([header[3], header[4]]))];
    output.read_exact(&mut payload).expect("a payload");
    input.write_all(DONE).expect("it is sent");
    until("the session ends", LONG, || child.try_wait().expect("a state").is_some());
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("the end");
    assert!(rest.is_empty(), "nothing comes after the hello");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    drop(input);
    Ok(payload)
}

fn tells(payload: &[u8], url: &str) {
    let found = payload.windows(url.len()).any(|window| window == url.as_bytes());
    assert!(found, "{url} is not in {:?}", text(payload));
}

/// A hub with an SSH listener, in a directory with `data`, `entrepot.toml` and `known_hosts`.
pub(crate) fn embedded(directory: &Path) -> (Hub, u16) {
    let (http, ssh) = (free_port(), free_port());
    let configuration = format!(
        "data = {:?}\n[[listen]]\naddress = \"127.0.0.1:{http}\"\n[[ssh]]\naddress = \"127.0.0.1:{ssh}\"\n",
        directory.join("data")
    );
    let file = directory.join(format!("{http}.toml"));
    std::fs::write(&file, configuration).expect("a configuration");
    let mut command = Command::new(entrepot());
    let hub = Hub::start(http, command.args(["serve", "--config"]).arg(&file));
    until("the SSH listener is there", LONG, || std::net::TcpStream::connect(("127.0.0.1", ssh)).is_ok());
    (hub, ssh)
}

pub(crate) fn authorize(directory: &Path, kind: &str) {
    let public = std::fs::read(key(kind).with_extension("pub")).expect("a public key");
    let mut file = std::fs::File::options().create(true).append(true).open(directory.join("data/authorized_keys"));
    file.as_mut().expect("the file").write_all(&public).expect("it is written");
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn a_hub_that_listens_itself_says_hello() {
    if !installed(&["ssh", "ssh-keygen"]) {
        return;
    }
    let place = directory();
    let (hub, port) = embedded(place.path());
    let ssh = || client(&place.path().join("known_hosts"), port, &key("rsa"));
    let refused = hello(ssh(), "/artifacts").expect_err("nobody is let in yet");
    assert!(refused.contains("Permission denied (publickey)"), "{refused}");
    authorize(place.path(), "rsa");
    let answer = hello(ssh(), "/artifacts").expect("an answer");
    tells(&answer, &format!("http://127.0.0.1:{}/artifacts", hub.port()));
    let nowhere = hello(ssh(), "/elsewhere").expect_err("it is not there");
    assert!(nowhere.contains("there is no repository at \"elsewhere\"; there is: /artifacts"), "{nowhere}");
    for command in ["id", "bst-artifact-receive --pull-url http://x /artifacts", "bst-artifact-receive / ; id"] {
        let said = ssh().args(["artifacts@127.0.0.1", command]).output().expect("ssh runs");
        assert_eq!(said.status.code(), Some(1), "{command}");
        assert!(text(&said.stderr).contains("only takes pushes of BuildStream artifacts"), "{command}");
    }
}

#[test]
fn a_second_process_serves_ssh_as_a_guest_and_goes_on_alone() {
    if !installed(&["ssh", "ssh-keygen"]) {
        return;
    }
    let place = directory();
    let mut owner = Hub::serve(&place.path().join("data"), "");
    let (_guest, port) = embedded(place.path());
    authorize(place.path(), "ed25519");
    let ssh = || client(&place.path().join("known_hosts"), port, &key("ed25519"));
    hello(ssh(), "/artifacts").expect("an answer of the owner");
    owner.kill();
    // The same host key, or this client would refuse; while the lock changes hands, connections wait.
    hello(ssh(), "/artifacts").expect("an answer of the guest, which owns the directory now");
}

/// A user's `ssh`, let in by the document's command.
pub(crate) fn user(sshd: &Sshd) -> Command {
    std::fs::copy(key("rsa").with_extension("pub"), sshd.home().join("user_id_rsa.pub")).expect("a copy");
    let mut shell = Command::new("sh");
    let done = shell.args(["-c", AUTHORIZE_SSH]).current_dir(sshd.home()).status();
    assert!(done.expect("a shell").success());
    client(&sshd.home().join("known_hosts"), sshd.port(), &key("rsa"))
}

pub(crate) fn run(mut ssh: Command, command: &[&str]) -> Output {
    ssh.arg("artifacts@127.0.0.1").args(command).stdin(Stdio::null()).output().expect("ssh runs")
}

#[test]
fn behind_sshd_the_hub_s_guest_says_hello() {
    if !installed(Sshd::needs()) {
        return;
    }
    let sshd = Sshd::start();
    let _hub = Hub::serve(&sshd.repository(), "");
    let answer = hello(user(&sshd), "/artifacts").unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    tells(&answer, "https://example.com/artifacts");
    let said = run(user(&sshd), &["cat", "/etc/passwd"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("only takes pushes of BuildStream artifacts") && said.stdout.is_empty());
}

#[test]
fn behind_sshd_without_a_hub_it_does_it_itself() {
    if !installed(Sshd::needs()) {
        return;
    }
    let sshd = Sshd::start();
    let none = run(user(&sshd), &["bst-artifact-receive", "/artifacts"]);
    assert_eq!(none.status.code(), Some(2), "REPO is not there");
    assert!(text(&none.stderr).contains("Error: REPO: there is no directory artifacts"), "{}", text(&none.stderr));
    std::fs::create_dir(sshd.repository()).expect("an empty directory");
    let several: Vec<_> = (0..4).map(|_| user(&sshd)).collect();
    std::thread::scope(|scope| {
        for ssh in several {
            scope.spawn(|| tells(&hello(ssh, "/artifacts").expect("an answer"), "https://example.com/artifacts"));
        }
    });
    // A hub that starts now has the directory for itself.
    let _hub = Hub::serve(&sshd.repository(), "");
    hello(user(&sshd), "/artifacts").expect("an answer of the hub");
}

#[test]
fn an_ostree_repository_is_refused_with_the_way_in() {
    if !installed(Sshd::needs()) {
        return;
    }
    let sshd = Sshd::start();
    std::fs::create_dir_all(sshd.repository().join("objects")).expect("a repository");
    std::fs::write(sshd.repository().join("config"), "[core]\nrepo_version=1\nmode=archive-z2\n").expect("its config");
    let refused = hello(user(&sshd), "/artifacts").expect_err("refused");
    let command = format!("entrepot ostree import {}", sshd.repository().display());
    assert!(refused.contains(&command), "{refused}");
    assert!(!sshd.repository().join("lock").exists(), "nothing was touched");
}

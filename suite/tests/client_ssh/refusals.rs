//! What is not given: shells, terminals, files, forwarding, agents, other commands, passwords.

use std::process::Stdio;
use std::sync::atomic::Ordering;

use suite::clients::program;

use crate::stage::{Stage, client, key, ready, text};

#[test]
fn other_commands_and_shells_are_refused_in_plain_words() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    for command in [&["cat", "/etc/passwd"][..], &[], &["sh"], &["scp", "-t", "."]] {
        let said = stage.run("ed25519", command);
        assert_eq!(said.status.code(), Some(1), "{command:?}");
        // The client may add that it wanted a terminal.
        assert!(text(&said.stderr).ends_with("this server takes pushes of artifacts only\n"), "{command:?}");
        assert!(said.stdout.is_empty());
    }
    let long = "x".repeat(5000);
    let said = stage.run("ed25519", &[&long]);
    assert!(said.status.code() == Some(1) && text(&said.stderr).contains("4096 bytes"), "{}", text(&said.stderr));
    assert_eq!(stage.commands.begun.load(Ordering::SeqCst), 0);
}

#[test]
fn there_is_no_terminal() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    // This client gives up when it does not get the terminal that it insists on.
    let said = stage.ssh("ed25519", &["-tt"], &["who"]).stdin(Stdio::null()).output().expect("ssh runs");
    assert!(text(&said.stderr).contains("PTY allocation request failed"), "{}", text(&said.stderr));
    assert!(!said.status.success());
}

#[test]
fn nothing_is_forwarded() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let there = stage.port.to_string();
    // To the server's own port: reachable for it, were it to try.
    let said = stage.ssh("ed25519", &["-W", &format!("127.0.0.1:{there}")], &[]).output().expect("ssh runs");
    assert!(!said.status.success() && said.stdout.is_empty(), "{}", text(&said.stdout));
    assert!(text(&said.stderr).contains("open failed"), "{}", text(&said.stderr));
    let back = ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"];
    let said = stage.ssh("ed25519", &back, &["who"]).output().expect("ssh runs");
    assert!(!said.status.success() && text(&said.stderr).contains("remote port forwarding failed"));
    let socket = ["-o", "ExitOnForwardFailure=yes", "-R", "/tmp/never:127.0.0.1:9"];
    assert!(!stage.ssh("ed25519", &socket, &["who"]).output().expect("ssh runs").status.success());
    // Agents, X11 and environment are asked for and simply not given.
    let quiet = ["-A", "-X", "-o", "SetEnv=LANG=C"];
    assert!(stage.ssh("ed25519", &quiet, &["who"]).output().expect("ssh runs").status.success());
}

#[test]
fn there_are_no_files() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let said = stage.ssh("ed25519", &["-s"], &["sftp"]).stdin(Stdio::null()).output().expect("ssh runs");
    assert!(text(&said.stderr).contains("subsystem request failed"), "{}", text(&said.stderr));
    assert!(!said.status.success());
}

#[test]
fn there_are_no_passwords() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    let mut ssh = client(&stage.path("known_hosts"), stage.port, &key("stranger"));
    ssh.args(["-v", "-o", "PreferredAuthentications=password,keyboard-interactive", "artifacts@127.0.0.1", "who"]);
    let said = ssh.output().expect("ssh runs");
    assert!(text(&said.stderr).contains("Authentications that can continue: publickey\r\n"), "{}", text(&said.stderr));
}

#[test]
fn the_host_key_stays() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    assert!(stage.run("ed25519", &["who"]).status.success());
    let known = std::fs::read_to_string(stage.path("known_hosts")).expect("known hosts");
    assert!(known.contains("ssh-ed25519"), "{known}");
    // Of a client that may not use Ed25519, as in FIPS mode.
    let ecdsa = ["-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256"];
    let other = stage.path("other_hosts");
    let mut ssh = client(&other, stage.port, &key("ed25519"));
    assert!(ssh.args(ecdsa).args(["artifacts@127.0.0.1", "who"]).status().expect("ssh runs").success());
    let mut shown = std::process::Command::new(program("ssh-keygen"));
    let shown = shown.arg("-lf").arg(stage.path("ssh_host_ed25519_key.pub")).output().expect("ssh-keygen runs");
    assert!(text(&shown.stdout).contains("(ED25519)"), "{}", text(&shown.stderr));
}

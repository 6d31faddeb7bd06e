//! Many at once, those who never finish, and the end of the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use server::Limits;
use server::ssh::Patience;
use suite::clients::until;

use crate::stage::{LONG, Stage, ready, text};

#[test]
fn a_hundred_at_once_all_come_in() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let mut children: Vec<_> = (0..100)
        .map(|_| {
            let mut ssh = stage.ssh("ed25519", &[], &["swallow"]);
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ssh runs")
        })
        .collect();
    // All hold their sessions open until all are there.
    until("a hundred commands run", LONG, || stage.commands.begun.load(Ordering::SeqCst) == 100);
    for child in &mut children {
        child.stdin.take().expect("input").write_all(&[7; 1000]).expect("it is sent");
    }
    for child in children {
        let said = child.wait_with_output().expect("an end");
        assert_eq!((said.status.code(), text(&said.stdout)), (Some(0), "1000".into()), "{}", text(&said.stderr));
    }
}

#[test]
fn those_who_say_nothing_do_not_keep_others_out() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let silent: Vec<_> =
        (0..200).map(|_| TcpStream::connect(("127.0.0.1", stage.port)).expect("a connection")).collect();
    let begun = Instant::now();
    assert!(stage.run("ed25519", &["who"]).status.success());
    // Three rounds of 64 places at three seconds each are before this one.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn time_runs_out_for_those_who_do_nothing() {
    if !ready() {
        return;
    }
    let brief = Duration::from_millis(400);
    let stage = Stage::with(Patience { login: brief, idle: brief, alive: LONG }, Limits::default());
    stage.authorize("ed25519", "");
    let mut silent = TcpStream::connect(("127.0.0.1", stage.port)).expect("a connection");
    silent.set_read_timeout(Some(LONG)).expect("a limit");
    let mut all = Vec::new();
    silent.read_to_end(&mut all).expect("it is closed in time");
    assert!(text(&all).starts_with("SSH-2.0-entrepot\r\n"));
    // With a key proved, and no command.
    let began = Instant::now();
    let said = stage.ssh("ed25519", &["-N"], &[]).stdin(Stdio::null()).output().expect("ssh runs");
    assert!(!said.status.success() && began.elapsed() < LONG);
    // With a command whose input does not come.
    let mut ssh = stage.ssh("ed25519", &[], &["swallow"]);
    let mut child = ssh.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ssh runs");
    until("its command gives up", LONG, || stage.commands.gone.load(Ordering::SeqCst) == 1);
    assert_eq!(child.wait().expect("an end").code(), Some(1));
}

#[test]
fn noise_is_no_client_and_harms_nobody() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
        b"SSH-1.5-old\r\n",
        &[0; 70_000],
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", stage.port)).expect("a connection");
        drop(stream.write_all(noise));
        stream.set_read_timeout(Some(LONG)).expect("a limit");
        drop(stream.shutdown(std::net::Shutdown::Write));
        // Closed or reset, but not left open.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert!(stage.run("ed25519", &["who"]).status.success());
}

#[test]
fn the_end_waits_for_what_runs_and_cuts_what_does_not_finish() {
    if !ready() {
        return;
    }
    let limits = Limits { drain: Duration::from_secs(3), ..Limits::default() };
    let stage = Stage::with(Patience::default(), limits);
    stage.authorize("ed25519", "");
    let begin = |command: &str| {
        let mut ssh = stage.ssh("ed25519", &[], &[command]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ssh runs")
    };
    let (mut polite, endless) = (begin("hold"), begin("swallow"));
    until("both run", LONG, || stage.commands.begun.load(Ordering::SeqCst) == 2);
    std::thread::scope(|scope| {
        let end = scope.spawn(|| {
            let begun = Instant::now();
            stage.drain();
            begun.elapsed()
        });
        until("nobody new comes in", LONG, || TcpStream::connect(("127.0.0.1", stage.port)).is_err());
        polite.stdin.as_mut().expect("input").write_all(b"x").expect("it is sent");
        assert_eq!(polite.wait().expect("an end").code(), Some(0), "it could finish");
        let took = end.join().expect("it ends");
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
    });
    assert!(!endless.wait_with_output().expect("an end").status.success());
}

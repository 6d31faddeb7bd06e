//! Bytes both ways, errors, exit statuses.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;
use std::time::Instant;

use sha2::{Digest, Sha256};
use suite::clients::until;

use crate::stage::{LONG, Stage, ready, text};

/// Bytes in no simple order, so that a lost or doubled piece is seen.
fn piece(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..8192)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

fn piped(stage: &Stage, command: &str) -> Child {
    let mut ssh = stage.ssh("ed25519", &[], &[command]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ssh runs")
}

#[test]
fn a_gibibyte_there_and_back_does_not_stall() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let mut child = piped(&stage, "echo");
    let mut input = child.stdin.take().expect("input");
    let mut output = child.stdout.take().expect("output");
    let begun = Instant::now();
    let sender = std::thread::spawn(move || {
        let mut sum = Sha256::new();
        for number in 0..(1 << 30) / 65_536 {
            let bytes = piece(number % 64);
            sum.update(&bytes);
            input.write_all(&bytes).expect("it is sent");
        }
        sum.finalize()
    });
    let (mut sum, mut total, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        let read = output.read(&mut buffer).expect("output");
        if read == 0 {
            break;
        }
        total += read;
        sum.update(&buffer[..read]);
    }
    assert_eq!(total, 1 << 30);
    assert_eq!(sum.finalize(), sender.join().expect("a sender"));
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    println!("1 GiB there and back in {:?}", begun.elapsed());
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let mut child = piped(&stage, "echo");
    let mut input = child.stdin.take().expect("input");
    let sender = std::thread::spawn(move || {
        for number in 0..256 {
            input.write_all(&piece(number)).expect("it is sent");
        }
    });
    sender.join().expect("16 MiB fit between here and there");
    let mut back = Vec::new();
    child.stdout.take().expect("output").read_to_end(&mut back).expect("output");
    assert!(back == (0..256).flat_map(piece).collect::<Vec<_>>());
    assert!(child.wait().expect("an end").success());
}

#[test]
fn exit_status_and_errors_arrive() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let said = stage.run("ed25519", &["fail"]);
    assert_eq!((said.status.code(), text(&said.stderr)), (Some(42), "the disk is full\n".into()));
    assert!(said.stdout.is_empty());
}

#[test]
fn a_session_ends_while_the_client_keeps_its_input_open() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let mut child = piped(&stage, "hold");
    let mut input = child.stdin.take().expect("input");
    input.write_all(b"x").expect("it is sent");
    // `wait` would close the input; this does not.
    until("the client ends", LONG, || child.try_wait().expect("a state").is_some());
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    drop(input);
}

#[test]
fn a_client_that_vanishes_is_noticed_and_its_command_ends() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let mut child = piped(&stage, "swallow");
    child.stdin.as_mut().expect("input").write_all(&piece(1)).expect("it is sent");
    until("the command runs", LONG, || stage.commands.begun.load(Ordering::SeqCst) == 1);
    child.kill().expect("a signal");
    child.wait().expect("an end");
    until("the command hears of it", LONG, || stage.commands.gone.load(Ordering::SeqCst) == 1);
    assert!(stage.run("ed25519", &["who"]).status.success());
}

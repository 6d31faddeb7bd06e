//! Who is let in.

use crate::stage::{KINDS, Stage, ready, text};

#[test]
fn each_kind_of_key_comes_in() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    for (kind, _) in KINDS {
        stage.authorize(kind, "");
        let said = stage.run(kind, &["who"]);
        assert_eq!(text(&said.stdout), format!("key:{kind}@test None"), "{}", text(&said.stderr));
        assert_eq!(said.status.code(), Some(0));
    }
}

#[test]
fn rsa_signs_with_sha2_and_never_with_sha1() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("rsa", "");
    for (algorithm, comes_in) in [("rsa-sha2-256", true), ("rsa-sha2-512", true), ("ssh-rsa", false)] {
        let option = format!("PubkeyAcceptedAlgorithms={algorithm}");
        let said = stage.ssh("rsa", &["-o", &option], &["who"]).output().expect("ssh runs");
        assert_eq!(said.status.success(), comes_in, "{algorithm}: {}", text(&said.stderr));
    }
}

#[test]
fn a_key_that_is_appended_counts_at_the_next_connection_and_one_taken_away_does_not() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    let refused = stage.run("rsa", &["who"]);
    assert_eq!(refused.status.code(), Some(255), "nobody is let in yet");
    assert!(text(&refused.stderr).contains("Permission denied (publickey)"), "{}", text(&refused.stderr));
    stage.authorize("rsa", "");
    assert!(stage.run("rsa", &["who"]).status.success());
    assert_eq!(stage.run("stranger", &["who"]).status.code(), Some(255));
    std::fs::write(stage.path("authorized_keys"), "").expect("it is written");
    assert_eq!(stage.run("rsa", &["who"]).status.code(), Some(255));
}

#[test]
fn options_of_a_line_count() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "restrict,command=\"who am i\"");
    stage.authorize("ecdsa256", "from=\"192.0.2.0/24\"");
    stage.authorize("ecdsa384", "expiry-time=\"20200101Z\"");
    stage.authorize("ecdsa521", "command=\"/bin/sh\"");
    let said = stage.run("ed25519", &["bst-artifact-receive", "/artifacts"]);
    assert_eq!(text(&said.stdout), "key:ed25519@test Some(\"bst-artifact-receive /artifacts\")");
    let shell = stage.run("ed25519", &[]);
    assert_eq!(text(&shell.stdout), "key:ed25519@test Some(\"\")", "also in place of a shell");
    for kind in ["ecdsa256", "ecdsa384", "ecdsa521"] {
        assert_eq!(stage.run(kind, &["who"]).status.code(), Some(255), "{kind}");
    }
}

#[test]
fn only_the_one_login_name_comes_in() {
    if !ready() {
        return;
    }
    let stage = Stage::new();
    stage.authorize("ed25519", "");
    let said = stage.ssh("ed25519", &["-l", "root"], &["who"]).output().expect("ssh runs");
    assert_eq!(said.status.code(), Some(255), "-l comes first and counts");
}

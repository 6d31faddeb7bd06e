//! Whole pushes by ssh, both ways in, with the client that was written from the specification; Debian's `ostree` makes
//! what is pushed, and pulls and checks it afterwards.

use std::path::Path;
use std::process::Stdio;

use suite::bst1::{Client, Entry, Form, Order, Pushed, objects, read_message};
use suite::clients::{Hub, Sshd, installed, program, tree, until};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::served::{authorize, directory, embedded, run, user};
use crate::stage::{LONG, client, key, text};

const PLAIN: Client = Client { order: Order::Little, form: Form::Pax, tells: false };

fn ostree(arguments: &[&str]) -> String {
    let said = std::process::Command::new(program("ostree")).args(arguments).output().expect("ostree runs");
    assert!(said.status.success(), "ostree {arguments:?}: {}", text(&said.stderr));
    text(&said.stdout).trim().to_owned()
}

/// A commit of an archive repository below `place`, with `size` bytes beside some small files.
fn commit(place: &Path, what: &str, size: usize) -> (String, Vec<Entry>) {
    let source = place.join(format!("{what}-tree"));
    std::fs::create_dir_all(source.join("files/deep")).expect("a directory");
    std::fs::write(source.join("files/text"), what).expect("a file");
    std::fs::write(source.join("files/deep/empty"), "").expect("a file");
    std::os::unix::fs::symlink("text", source.join("files/link")).expect("a link");
    // Not to be made smaller by deflate.
    let mut state = what.len() as u64 | 1;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(size)
    .collect();
    std::fs::write(source.join("files/large"), random).expect("a file");
    let repository = place.join(format!("{what}-repo"));
    let repo = format!("--repo={}", repository.display());
    ostree(&["init", "--mode=archive-z2", &repo]);
    let from = format!("--tree=dir={}", source.display());
    let commit = ostree(&["commit", &repo, "--orphan", "--no-bindings", "--owner-uid=0", "--owner-gid=0", &from]);
    (commit, objects(&repository))
}

/// Pulls a ref over HTTP, checks everything, and compares.
fn is_there(place: &Path, url: &str, name: &str, what: &str) {
    let repo = format!("--repo={}", place.join(format!("{what}-mirror")).display());
    ostree(&["init", "--mode=bare-user", &repo]);
    ostree(&["remote", "add", &repo, "--no-gpg-verify", "hub", &format!("{url}/artifacts")]);
    ostree(&["pull", &repo, "hub", name]);
    ostree(&["fsck", &repo]);
    let out = place.join(format!("{what}-out"));
    ostree(&["checkout", &repo, "-U", &format!("hub:{name}"), &out.display().to_string()]);
    assert_eq!(tree(&out), tree(&place.join(format!("{what}-tree"))));
}

/// The client's second command.
fn begin(ssh: std::process::Command) -> Child {
    let mut ssh = Command::from(ssh);
    ssh.args(["artifacts@127.0.0.1", "bst-artifact-receive", "--verbose", "/artifacts"]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    ssh.spawn().expect("ssh runs")
}

/// Pushes, closes, and waits for ssh. What was told, the exit status, and what the user saw.
async fn push(
    ssh: std::process::Command,
    client: Client,
    refs: &[(&str, &str)],
    entries: &[Entry],
) -> (Pushed, Option<i32>, String) {
    let mut child = begin(ssh);
    let (mut output, mut input) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let pushed = client.push(&mut input, &mut output, refs, entries).await;
    drop(output);
    let said = child.wait_with_output().await.expect("an end");
    (pushed.unwrap_or(Pushed::Cut), said.status.code(), text(&said.stderr))
}

/// Every kind of client, one after another, and then twenty at once.
async fn pushes(ssh: &(dyn Fn() -> std::process::Command + Sync), url: &str) {
    let place = directory();
    // From here on the host is known, so that the client says nothing of its own.
    assert!(!run(ssh(), &["id"]).status.success());
    let mut number = 0;
    for order in [Order::Little, Order::Big] {
        for form in [Form::Gnu, Form::Pax] {
            number += 1;
            let what = format!("kind{number}");
            let (commit, entries) = commit(place.path(), &what, 3 << 20);
            let (strong, weak) = (format!("p/{what}/strong"), format!("p/{what}/weak"));
            let client = Client { order, form, tells: number % 2 == 0 };
            let done = push(ssh(), client, &[(&strong, &commit), (&weak, &commit)], &entries).await;
            assert_eq!(done, (Pushed::Done, Some(0), String::new()));
            is_there(place.path(), url, &weak, &what);
        }
    }
    let (commit, entries) = commit(place.path(), "crowd", 1 << 20);
    let mut crowd = JoinSet::new();
    for number in 0..20 {
        let (ssh, commit, entries) = (ssh(), commit.clone(), entries.clone());
        crowd.spawn(async move { push(ssh, PLAIN, &[(&format!("p/crowd/{number}"), &commit)], &entries).await });
    }
    while let Some(done) = crowd.join_next().await {
        let (pushed, status, said) = done.expect("a push");
        assert_eq!((pushed, status), (Pushed::Done, Some(0)), "{said}");
    }
    is_there(place.path(), url, "p/crowd/19", "crowd");
    // Without a commit that it promises: drained, no `done`, a line for the user.
    let lost: Vec<_> = entries.iter().filter(|entry| !entry.name.ends_with(".commit")).cloned().collect();
    let absent = "0".repeat(63) + "1";
    let (pushed, status, said) = push(ssh(), PLAIN, &[("p/lost/key", &absent)], &lost).await;
    assert_eq!((pushed, status), (Pushed::Cut, Some(1)), "{said}");
    assert!(said.starts_with("bst-artifact-receive: ") && said.lines().count() == 1, "{said}");
    let (pushed, _, said) = push(ssh(), PLAIN, &[("../x", &absent)], &lost).await;
    assert!(matches!(&pushed, Pushed::Refused(text) if text.contains("no name for a ref")), "{pushed:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_the_hub_s_own_listener() {
    if !installed(&["ssh", "ssh-keygen", "ostree"]) {
        return;
    }
    let place = directory();
    let (hub, port) = embedded(place.path());
    authorize(place.path(), "rsa");
    let known = place.path().join("known_hosts");
    pushes(&|| client(&known, port, &key("rsa")), &hub.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_behind_sshd_with_the_document_s_block() {
    if !installed(Sshd::needs()) || !installed(&["ostree"]) {
        return;
    }
    let sshd = Sshd::start();
    let hub = Hub::serve(&sshd.repository(), "");
    let first = user(&sshd);
    drop(first);
    let known = sshd.home().join("known_hosts");
    pushes(&|| client(&known, sshd.port(), &key("rsa")), &hub.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_client_dies_leaves_nothing() {
    if !installed(Sshd::needs()) || !installed(&["ostree"]) {
        return;
    }
    let sshd = Sshd::start();
    let hub = Hub::serve(&sshd.repository(), "");
    let place = directory();
    let (commit, entries) = commit(place.path(), "half", 8 << 20);
    let mut child = begin(user(&sshd));
    let (mut output, mut input) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    // Up to the middle of the objects.
    output.write_all(&PLAIN.info(1, &[])).await.expect("it is sent");
    read_message(&mut input).await.expect("an info").expect("an info");
    output.write_all(&PLAIN.update(&[("p/half/key", &commit)])).await.expect("it is sent");
    read_message(&mut input).await.expect("a status").expect("a status");
    let mut objects = PLAIN.message(2, &[]);
    PLAIN.tar(&mut objects, &entries).await.expect("a tar in memory");
    output.write_all(&objects[..objects.len() / 2]).await.expect("it is sent");
    child.kill().await.expect("a signal");
    let (pushed, status, said) = push(
        client(&sshd.home().join("known_hosts"), sshd.port(), &key("rsa")),
        PLAIN,
        &[("p/whole/key", &commit)],
        &entries,
    )
    .await;
    assert_eq!((pushed, status), (Pushed::Done, Some(0)), "{said}");
    is_there(place.path(), &hub.url(), "p/whole/key", "half");
    let repo = format!("--repo={}", place.path().join("half-mirror").display());
    until("the summary has the whole one only", LONG, || {
        let refs = ostree(&["remote", "refs", &repo, "hub"]);
        refs.contains("p/whole/key") && !refs.contains("p/half/key")
    });
}

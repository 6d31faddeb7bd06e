//! Repositories from and to directories: by the library, and by the binary as its users call it.

use std::fs;
use std::path::Path;
use std::process::Command;

use suite::clients::{Hub, entrepot, installed, tree};

use crate::stage::{Mirror, Stage, ostree, try_ostree};

/// An archive repository with some refs, as the old server has one.
fn old(place: &Path) -> String {
    let repo = format!("--repo={}", place.join("old").display());
    ostree(&["init", "--mode=archive-z2", &repo]);
    for number in 0..5 {
        let source = place.join(format!("tree{number}"));
        fs::create_dir_all(source.join("files")).expect("a directory");
        fs::write(source.join("files/own"), number.to_string()).expect("a file");
        fs::write(source.join("files/shared"), "shared ".repeat(300_000)).expect("a file");
        let branch = format!("--branch=p/e{number}/key");
        let tree = format!("--tree=dir={}", source.display());
        ostree(&["commit", &repo, &branch, "--no-bindings", "--owner-uid=0", "--owner-gid=0", &tree]);
    }
    repo
}

fn run(data: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(entrepot());
    let output = command.arg("--data").arg(data).arg("ostree").args(arguments).output().expect("entrepot runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_it_stopped() {
    if !installed(&["ostree"]) {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    old(place.path());
    let stage = Stage::new().await;
    let mut said = Vec::new();
    let from = place.path().join("old");
    // It stops in the middle: one object is not there yet.
    let hidden = walk(&from.join("objects")).into_iter().filter(|path| path.ends_with(".filez")).max().expect("a file");
    let aside = place.path().join("aside");
    fs::rename(&hidden, &aside).expect("it moves");
    let done = ostree::import(&stage.pusher(), "artifacts", &from, &mut |line| said.push(line)).await.expect("it goes");
    assert!(!done.refused.is_empty() && done.refused[0].1.contains("cannot read"), "{done:?}");
    assert_eq!(stage.at(&done.refused[0].0).await, None, "what is not complete is not there");
    // Altered bytes are not taken either.
    let mut bytes = fs::read(&aside).expect("the object");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&hidden, &bytes).expect("it is written");
    let altered = ostree::import(&stage.pusher(), "artifacts", &from, &mut |_| {}).await.expect("it goes");
    assert_eq!(altered.refused.len(), done.refused.len(), "{altered:?}");
    fs::rename(&aside, &hidden).expect("it moves back");
    let again = ostree::import(&stage.pusher(), "artifacts", &from, &mut |_| {}).await.expect("it goes");
    assert_eq!((again.refs, again.before, again.refused.len()), (done.refused.len(), done.refs, 0));
    assert!(again.objects < 20, "only what was missing is read: {again:?}");
    let mirror = Mirror::of(&stage.url(), &[]).await;
    for number in 0..5 {
        let out = mirror.pull(&format!("p/e{number}/key")).await;
        assert_eq!(tree(&out), tree(&place.path().join(format!("tree{number}"))));
    }
    // What is no archive repository is refused with what to do.
    let bare = place.path().join("bare");
    ostree(&["init", "--mode=bare-user", &format!("--repo={}", bare.display())]);
    let error = ostree::import(&stage.pusher(), "artifacts", &bare, &mut |_| {}).await.expect_err("another mode");
    assert!(error.text().contains("pull-local"), "{error}");
}

fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(walk(&entry));
        } else {
            found.push(entry.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_passes_fsck() {
    if !installed(&["ostree"]) {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    old(place.path());
    let (data, from, to) = (place.path().join("data"), place.path().join("old"), place.path().join("new"));
    fs::create_dir(&data).expect("a directory");
    let (from, to) = (from.display().to_string(), to.display().to_string());
    // Without a running hub.
    let (fine, said) = run(&data, &["import", &from]);
    assert!(fine && said.contains("5 refs imported, 0 were here before"), "{said}");
    // By the running hub.
    let hub = Hub::serve(&data, "");
    let (fine, said) = run(&data, &["import", &from]);
    assert!(fine && said.contains("0 refs imported, 5 were here before"), "{said}");
    let (fine, said) = run(&data, &["export", &to]);
    assert!(fine && said.contains("5 refs exported"), "{said}");
    let (fine, said) = try_ostree(&["fsck", &format!("--repo={to}")]);
    assert!(fine, "{said}");
    let refs = ostree(&["refs", &format!("--repo={to}")]);
    assert_eq!(refs, ostree(&["refs", &format!("--repo={from}")]));
    let summary = ostree(&["summary", "-v", &format!("--repo={to}")]);
    assert!(summary.contains("p/e4/key"), "{summary}");
    // Again: nothing is new.
    let (fine, said) = run(&data, &["export", &to]);
    assert!(fine && said.contains("5 refs exported, 0 objects written"), "{said}");
    let (fine, said) = run(&data, &["export", &to, "--repository", "/other"]);
    assert!(!fine && said.contains("there are: /artifacts"), "{said}");
    // The binary serves it where the guide says.
    let mirror = Mirror::of(&format!("{}/artifacts", hub.url()), &[]).await;
    assert_eq!(tree(&mirror.pull("p/e2/key").await), tree(&place.path().join("tree2")));
}

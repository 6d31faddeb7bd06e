//! The ways in which real clients push.

use std::fs;

use suite::bst1::{Client, Entry, Form, Order, Pushed, objects};
use suite::clients::{installed, tree};
use tokio::io::AsyncReadExt as _;

use crate::stage::{Built, CLIENT, Mirror, Stage, build};

/// A small commit.
fn small(text: &str) -> (tempfile::TempDir, Built) {
    let place = tempfile::tempdir().expect("a directory");
    let source = place.path().join("tree");
    fs::create_dir_all(source.join("files")).expect("a directory");
    fs::write(source.join("files/text"), text).expect("a file");
    fs::write(source.join("files/same"), "in every commit").expect("a file");
    let built = build(place.path(), &source);
    (place, built)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_old_client_pushes() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let mut number = 0;
    for order in [Order::Little, Order::Big] {
        for form in [Form::Gnu, Form::Pax] {
            for tells in [false, true] {
                number += 1;
                let (place, built) = small(&format!("commit {number}"));
                let client = Client { order, form, tells };
                let (strong, weak) = (format!("p/e{number}/strong"), format!("p/e{number}/weak"));
                let refs = [(&*strong, &*built.commit), (&*weak, &*built.commit)];
                let (pushed, ended) = stage.push(client, &refs, &objects(&built.repository)).await;
                assert_eq!((pushed, ended.status), (Pushed::Done, 0), "{client:?}: {:?}", ended.said);
                let mirror = Mirror::of(&stage.url(), &[]).await;
                assert_eq!(tree(&mirror.pull(&strong).await), tree(&place.path().join("tree")));
                // Once more: only those who tell what they have learn that it is here.
                let (pushed, ended) = stage.push(client, &refs, &objects(&built.repository)).await;
                let expected = if tells { Pushed::Skipped } else { Pushed::Done };
                assert_eq!((pushed, ended.status), (expected, 0), "{client:?}: {:?}", ended.said);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_ends_although_the_client_keeps_its_side_open() {
    let stage = Stage::new().await;
    for order in [Order::Little, Order::Big] {
        let (near, far) = tokio::io::duplex(1000);
        let (input, output) = tokio::io::split(far);
        let receiving = ostree::receive(stage.pusher(), "artifacts", stage.options(), input, output);
        let (mut input, mut output) = tokio::io::split(near);
        let client = Client { order, ..CLIENT };
        let (info, ended) = tokio::join!(client.hello(&mut input, &mut output), receiving);
        let info = info.expect("an answer");
        assert_eq!((info.mode, info.refs, info.pull_url), (1, vec![], Some(stage.url())));
        assert_eq!((ended.status, ended.said), (0, None));
        let mut rest = Vec::new();
        drop(output);
        input.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(rest, [0_u8; 0], "after the client's done the server says nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_that_moves_is_replaced_by_those_who_do_not_ask_and_kept_by_those_who_do() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let ((_a, one), (_b, two)) = (small("one"), small("two"));
    stage.publish(&one, &["p/e/key"]).await;
    let asks = Client { tells: true, ..CLIENT };
    // Two refs are here with another commit: `done` comes twice.
    stage.publish(&one, &["p/e/other"]).await;
    let both = [("p/e/key", &*two.commit), ("p/e/other", &*two.commit)];
    let (pushed, ended) = stage.push(asks, &both, &objects(&two.repository)).await;
    assert_eq!((pushed, ended.status), (Pushed::Skipped, 0), "{:?}", ended.said);
    // One is here with another commit and one is new: the new one is set, which the old receiver lost.
    let mixed = [("p/e/key", &*two.commit), ("p/e/new", &*two.commit)];
    let (pushed, ended) = stage.push(asks, &mixed, &objects(&two.repository)).await;
    assert_eq!((pushed, ended.status), (Pushed::Done, 0), "{:?}", ended.said);
    assert_eq!((stage.at("p/e/key").await, stage.at("p/e/new").await), (Some(one.commit), Some(two.commit.clone())));
    // Older clients do not ask: the last writer wins.
    let (pushed, _) = stage.push(CLIENT, &both, &objects(&two.repository)).await;
    assert_eq!(pushed, Pushed::Done);
    assert_eq!(stage.at("p/e/key").await, Some(two.commit));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pushes_at_once() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let all: Vec<_> = (0..20).map(|number| small(&format!("number {number}"))).collect();
    let pushes = all.iter().enumerate().map(|(number, (_, built))| {
        let stage = &stage;
        async move {
            let name = format!("p/e{number}/key");
            let refs = [(&*name, &*built.commit), ("p/contended/key", &*built.commit)];
            let (pushed, ended) = stage.push(CLIENT, &refs, &objects(&built.repository)).await;
            assert_eq!((pushed, ended.status), (Pushed::Done, 0), "{:?}", ended.said);
            // Who has pushed and looks at once sees it.
            assert_eq!(stage.at(&name).await.as_ref(), Some(&built.commit));
        }
    });
    futures::future::join_all(pushes).await;
    let contended = stage.at("p/contended/key").await.expect("one of them");
    assert!(all.iter().any(|(_, built)| built.commit == contended));
    let mirror = Mirror::of(&stage.url(), &[]).await;
    for number in 0..20 {
        mirror.pull(&format!("p/e{number}/key")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn detached_metadata_travels_and_leftovers_do_not_matter() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = small("signed");
    let mut entries = objects(&built.repository);
    // An empty dictionary is a file of no bytes.
    entries.insert(0, Entry::file(format!("{}.commitmeta", built.commit), vec![]));
    entries.push(Entry::file(format!("{}.sig", built.commit), b"anything".to_vec()));
    entries.push(Entry::file(format!("{}.sizes2", built.commit), b"anything".to_vec()));
    // The same object twice is accepted.
    let twice = entries[1].clone();
    entries.push(twice);
    let (pushed, ended) = stage.push(CLIENT, &[("plain", &*built.commit)], &entries).await;
    assert_eq!((pushed, ended.status), (Pushed::Done, 0), "{:?}", ended.said);
    let names = stage.pusher().list("ostree/artifacts/meta/", None, 10).await.expect("names");
    assert_eq!(names.len(), 1);
    Mirror::of(&stage.url(), &[]).await.pull("plain").await;
}

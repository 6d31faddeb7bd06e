//! What of an upstream's stays, what goes, and what it never takes along.

use bytes::Bytes;
use kernel::{Claim, Namespace};
use model::{Error, KindId, Link, Meaning, Need, Pointer, Retention, When};
use suite::sample::{blob, bytes, collect, name, read, tick};
use suite::toy::Toy;

use crate::elsewhere::{Elsewhere, before, layer_name};

const KB: usize = 1000;

async fn held(space: &Namespace, bytes: &Bytes) -> bool {
    tick();
    space.has(&[blob(bytes).digest]).await.expect("an answer")[0].is_some()
}

/// Brings bytes of one's own and binds them.
async fn own(space: &Namespace, text: &str, bytes: &Bytes, keep: Retention) -> model::Result<()> {
    tick();
    space.put(vec![(blob(bytes), bytes.clone())]).await?.remove(0)?;
    tick();
    space.bind(vec![(name(text), Pointer { keep, ..Pointer::new(blob(bytes), KindId::BYTES) }, When::Always)]).await
}

async fn pull(space: &Namespace, text: &str, layer: &Bytes) -> model::Result<Bytes> {
    tick();
    space.find(&name(text)).await?;
    tick();
    let (_, body) = space.open(&layer_name(layer), 0, None).await?;
    collect(body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_is_read_held_given_up_and_read_again() {
    let upstream = Elsewhere::new();
    let layer = bytes(1, 300 * KB);
    upstream.image("up/app:latest", &[&layer]);
    let (_hub, space, _directory) = before(&upstream, 500 * KB as u64).await;
    space.find(&name("up/app:latest")).await.expect("a name");
    assert!(space.find(&layer_name(&layer)).await.is_ok(), "promised is known");
    assert!(!held(&space, &layer).await, "and not here");
    assert_eq!(pull(&space, "up/app:latest", &layer).await.expect("bytes"), layer);
    assert!(held(&space, &layer).await);
    // Something that stays needs the room: the layer goes, and the tag and what it promises stay.
    own(&space, "own", &bytes(2, 400 * KB), Retention::Firm).await.expect("room is made");
    assert!(!held(&space, &layer).await);
    upstream.fail(Some(Error::upstream("away")));
    assert!(space.find(&name("up/app:latest")).await.is_ok() && space.find(&layer_name(&layer)).await.is_ok());
    upstream.fail(None);
    space.unbind(&name("own"), When::Always).await.expect("it is bound");
    assert_eq!(pull(&space, "up/app:latest", &layer).await.expect("bytes"), layer);
    assert_eq!(upstream.count(&layer), 2);
    assert!(held(&space, &layer).await);
}

/// Brings bytes as large blobs come.
async fn upload(space: &Namespace, bytes: &Bytes) {
    let mut upload = space.upload(Claim { size: Some(bytes.len() as u64), ..Claim::default() }).await.expect("room");
    upload.append(bytes.clone()).await.expect("taken");
    upload.commit().await.expect("held");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_brings_is_theirs_whoever_had_it_before_or_has_it_after() {
    for way in ["put before", "put after", "upload before", "upload after", "upload meanwhile", "keep after"] {
        let upstream = Elsewhere::new();
        let layer = bytes(1, if way.starts_with("put") { 60 * KB } else { 300 * KB });
        upstream.image("up/app:latest", &[&layer]);
        let (_hub, space, _directory) = before(&upstream, 800 * KB as u64).await;
        let bring = async || match way.split_once(' ').expect("two words").0 {
            "put" => {
                let put = space.put(vec![(blob(&layer), layer.clone())]).await;
                put.expect("stored").remove(0).expect("stored");
            }
            "keep" => space.keep(blob(&layer)).await.expect("it is here"),
            _ => upload(&space, &layer).await,
        };
        match way.split_once(' ').expect("two words").1 {
            "before" => {
                bring().await;
                pull(&space, "up/app:latest", &layer).await.expect("bytes");
            }
            "after" => {
                pull(&space, "up/app:latest", &layer).await.expect("bytes");
                bring().await;
            }
            _ => {
                // The fetch has begun, and ends after the upload.
                space.find(&name("up/app:latest")).await.expect("a name");
                upstream.gate.forget_permits(usize::MAX);
                upstream.gate.add_permits(1);
                let (_, body) = space.open(&layer_name(&layer), 0, None).await.expect("a body");
                bring().await;
                upstream.gate.add_permits(100);
                assert_eq!(collect(body).await.expect("bytes"), layer);
            }
        }
        let firm = Pointer { keep: Retention::Firm, ..Pointer::new(blob(&layer), KindId::BYTES) };
        space.bind(vec![(name("mine"), firm, When::Always)]).await.expect("it is here");
        let full = own(&space, "fat", &bytes(3, 780 * KB), Retention::Firm).await.expect_err("nothing may go");
        assert_eq!(*full.meaning(), Meaning::Full, "{way}");
        upstream.fail(Some(Error::upstream("gone")));
        assert_eq!(read(&space, blob(&layer).digest).await.expect("ours"), layer, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weak_names_hold_nothing_and_end_with_their_blob() {
    let upstream = Elsewhere::new();
    let (_hub, space, _directory) = before(&upstream, 100 * KB as u64).await;
    let (first, second) = (bytes(1, 50 * KB), bytes(2, 80 * KB));
    own(&space, "own!first", &first, Retention::Weak).await.expect("bound");
    assert!(space.find(&name("own!first")).await.is_ok());
    own(&space, "own!second", &second, Retention::Weak).await.expect("room is made");
    assert!(space.find(&name("own!first")).await.expect_err("its blob is gone").is_absent());
    assert!(space.find(&name("own!second")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_another_stays_as_long_as_that_one_is_held() {
    let upstream = Elsewhere::new();
    let (_hub, space, _directory) = before(&upstream, 200 * KB as u64).await;
    let (subject, about) = (bytes(1, 50 * KB), bytes(2, 50 * KB));
    own(&space, "subject", &subject, Retention::Firm).await.expect("bound");
    space.put(vec![(blob(&about), about.clone())]).await.expect("stored").remove(0).expect("stored");
    let beside = Link { blob: blob(&subject), kind: KindId::BYTES, need: Need::May };
    let pointer = Pointer { keep: Retention::With, also: vec![beside], ..Pointer::new(blob(&about), KindId::BYTES) };
    space.bind(vec![(name("about"), pointer, When::Always)]).await.expect("bound");
    let full = own(&space, "fat", &bytes(3, 120 * KB), Retention::Firm).await.expect_err("no room");
    assert_eq!(*full.meaning(), Meaning::Full);
    assert!(held(&space, &about).await && held(&space, &subject).await);
    space.unbind(&name("subject"), When::Always).await.expect("it is bound");
    own(&space, "fat", &bytes(3, 170 * KB), Retention::Firm).await.expect("both may go");
    assert!(!held(&space, &about).await && !held(&space, &subject).await);
    assert!(space.find(&name("about")).await.expect_err("gone").is_absent());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_keeps_its_children_and_what_they_need() {
    let upstream = Elsewhere::new();
    let (_hub, space, _directory) = before(&upstream, 300 * KB as u64).await;
    let layers = [bytes(1, 60 * KB), bytes(2, 60 * KB)];
    let mut children = Vec::new();
    for layer in &layers {
        let child = Bytes::from(Toy::list(&[(blob(layer), KindId::BYTES)]));
        for bytes in [layer, &child] {
            space.put(vec![(blob(bytes), bytes.clone())]).await.expect("stored").remove(0).expect("stored");
        }
        children.push(child);
    }
    let links: Vec<_> = children.iter().map(|child| (blob(child), Toy::ID)).collect();
    let index = Bytes::from(Toy::list(&links));
    space.put(vec![(blob(&index), index.clone())]).await.expect("stored").remove(0).expect("stored");
    let pointer = Pointer { keep: Retention::Firm, ..Pointer::new(blob(&index), Toy::ID) };
    space.bind(vec![(name("index"), pointer, When::Always)]).await.expect("bound");
    for seed in 10..20 {
        own(&space, &format!("own/{seed}"), &bytes(seed, 50 * KB), Retention::Loose).await.expect("room");
    }
    for bytes in layers.iter().chain(&children).chain([&index]) {
        assert!(held(&space, bytes).await);
    }
}

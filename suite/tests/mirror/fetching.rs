//! How promised bytes come: once, as they arrive, and never wrong to the end.

use bytes::Bytes;
use futures::StreamExt;
use model::{Blob, Body, Error, Meaning, Result};
use suite::sample::{blob, bytes, collect, name, read};
use tokio::time::{Duration, timeout};

use crate::elsewhere::{Elsewhere, PIECE, before, layer_name};

/// What came of a body before its end, and its end.
async fn to_the_end(body: Body) -> (Vec<u8>, Result<()>) {
    let Body::Stream { mut chunks, .. } = body else { return (collect(body).await.expect("bytes").to_vec(), Ok(())) };
    let mut bytes = Vec::new();
    while let Some(piece) = chunks.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_share_one_fetch_and_see_bytes_before_its_end() {
    let upstream = Elsewhere::new();
    let layer = bytes(1, 10 * PIECE);
    upstream.image("up/app:latest", &[&layer]);
    let (_hub, space, _directory) = before(&upstream, u64::MAX).await;
    space.find(&name("up/app:latest")).await.expect("a name");
    upstream.gate.forget_permits(usize::MAX);
    upstream.gate.add_permits(3);
    let mut readers = Vec::new();
    for _ in 0..20 {
        let (_, body) = space.open(&layer_name(&layer), 0, None).await.expect("a body");
        let Body::Stream { mut chunks, size } = body else { panic!("it is on its way") };
        assert_eq!(size, Some(layer.len() as u64));
        let first = chunks.next().await.expect("a piece").expect("right");
        assert!(layer.starts_with(&first) && !first.is_empty());
        readers.push((first.len(), chunks));
    }
    // A range is answered while the fetch goes on; its last byte waits for the digest.
    let (_, part) = space.open(&layer_name(&layer), 10, Some(1000)).await.expect("a body");
    let Body::Stream { chunks: mut part, .. } = part else { panic!("it is on its way") };
    assert_eq!(part.next().await.expect("a piece").expect("right"), layer.slice(10..1009));
    assert!(timeout(Duration::from_millis(200), part.next()).await.is_err(), "the last byte is held back");
    upstream.gate.add_permits(100);
    assert_eq!(part.next().await.expect("a piece").expect("right"), layer.slice(1009..1010));
    assert!(part.next().await.is_none());
    for (from, chunks) in readers {
        let (rest, end) = to_the_end(Body::Stream { size: None, chunks }).await;
        assert!(end.is_ok() && rest == layer[from..]);
    }
    assert_eq!(upstream.count(&layer), 1);
    assert!(matches!(space.open(&layer_name(&layer), 0, None).await.expect("a body").1, Body::File { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_end_badly_for_every_reader_and_leave_nothing() {
    let upstream = Elsewhere::new();
    let layer = bytes(1, 5 * PIECE);
    upstream.image("up/app:latest", &[&layer]);
    let mut wrong = layer.to_vec();
    wrong[0] ^= 1;
    let wrong = Bytes::from(wrong);
    let (hub, space, directory) = before(&upstream, 10_000_000).await;
    space.find(&name("up/app:latest")).await.expect("a name");
    for sent in [&wrong, &layer.slice(..layer.len() - 1), &Bytes::from([&layer[..], b"x"].concat())] {
        upstream.send(blob(&layer).digest, sent);
        upstream.gate.forget_permits(usize::MAX);
        upstream.gate.add_permits(1);
        let mut bodies = Vec::new();
        for (offset, limit) in [(0, None), (0, Some(1)), (3, Some(50)), (7, None)] {
            let opened = timeout(Duration::from_secs(5), space.open(&layer_name(&layer), offset, limit)).await;
            bodies.push((limit, opened.expect("bytes are there").expect("a body").1));
        }
        upstream.gate.add_permits(100);
        for (limit, body) in bodies {
            let (came, end) = to_the_end(body).await;
            let error = end.expect_err("never a clean end");
            assert_eq!(*error.meaning(), Meaning::Upstream, "{error}");
            assert!(limit.is_none_or(|limit| (came.len() as u64) < limit), "the last byte stays back");
        }
    }
    assert_eq!(space.has(&[blob(&layer).digest]).await.expect("an answer"), [None]);
    upstream.send(blob(&layer).digest, &layer);
    assert_eq!(read(&space, blob(&layer).digest).await.expect("the right ones"), layer);
    hub.close().await;
    let staged = std::fs::read_dir(directory.path().join("staging")).expect("a directory").count();
    assert_eq!(staged, 0, "nothing of the wrong ones is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_without_readers_and_ends_with_the_hub() {
    let upstream = Elsewhere::new();
    let (layer, other) = (bytes(1, 5 * PIECE), bytes(2, 5 * PIECE));
    upstream.image("up/app:latest", &[&layer, &other]);
    let (hub, space, _directory) = before(&upstream, u64::MAX).await;
    space.find(&name("up/app:latest")).await.expect("a name");
    upstream.gate.forget_permits(usize::MAX);
    upstream.gate.add_permits(1);
    drop(space.open(&layer_name(&layer), 0, None).await.expect("a body"));
    upstream.gate.add_permits(4);
    suite::hostile::until("it is here", async || {
        space.has(&[blob(&layer).digest]).await.expect("an answer") == [Some(layer.len() as u64)]
    })
    .await;
    upstream.gate.add_permits(1);
    let (_, body) = space.open(&layer_name(&other), 0, None).await.expect("a body");
    timeout(Duration::from_secs(10), hub.close()).await.expect("an upstream that hangs holds up nobody");
    assert!(to_the_end(body).await.1.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_bytes_are_passed_on_and_are_right_or_end_badly() {
    let upstream = Elsewhere::new();
    let layer = bytes(1, 5 * PIECE);
    let manifest = upstream.image("up/app:latest", &[&layer]);
    let (_hub, space, _directory) = before(&upstream, 50).await;
    let tag = name("up/app:latest");
    assert!(manifest.len() > 50);
    for _ in 0..2 {
        let (row, bytes) = space.open_small(&tag).await.expect("a manifest");
        assert_eq!((row.pointer.blob, bytes), (blob(&manifest), manifest.clone()));
        for (offset, limit) in [(0, None), (0, Some(1)), (PIECE as u64 - 1, Some(2)), (17, Some(300_000))] {
            let (row, body) = space.open(&layer_name(&layer), offset, limit).await.expect("a body");
            assert_eq!(row.pointer.blob, blob(&layer));
            let from = usize::try_from(offset).expect("small");
            let to = limit.map_or(layer.len(), |limit| from + usize::try_from(limit).expect("small"));
            let (came, end) = to_the_end(body).await;
            assert!(end.is_ok() && came == layer[from..to]);
        }
    }
    assert_eq!(space.has(&[blob(&layer).digest, blob(&manifest).digest]).await.expect("an answer"), [None, None]);
    let mut wrong = layer.to_vec();
    wrong[5] ^= 1;
    upstream.send(blob(&layer).digest, &wrong.into());
    for (offset, limit) in [(0, None), (0, Some(1)), (100, Some(200_000))] {
        let (_, body) = space.open(&layer_name(&layer), offset, limit).await.expect("a body");
        let (came, end) = to_the_end(body).await;
        assert!(end.is_err() && limit.is_none_or(|limit| (came.len() as u64) < limit));
    }
}

/// Waits until the last answer has been forgotten and this one is told.
async fn told(space: &kernel::Namespace, name: &model::Name, wanted: impl Fn(&Meaning) -> bool) {
    let asking = async {
        while !wanted(space.find(name).await.expect_err("it is not there").meaning()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("the new answer is told");
}

#[tokio::test]
async fn what_an_upstream_says_decides_what_is_told() {
    let upstream = Elsewhere::new();
    let layer = bytes(1, 1000);
    let (_hub, space, _directory) = before(&upstream, u64::MAX).await;
    let tag = name("up/app:latest");
    assert!(space.find(&tag).await.expect_err("not there").is_absent());
    upstream.fail(Some(Error::upstream("away")));
    told(&space, &tag, |meaning| *meaning == Meaning::Upstream).await;
    upstream.fail(Some(Error::new(Meaning::Busy(Duration::from_secs(100)), "later")));
    told(&space, &tag, |meaning| matches!(meaning, Meaning::Busy(_))).await;
    for _ in 0..2 {
        match space.find(&tag).await.expect_err("busy").meaning() {
            Meaning::Busy(after) => assert!((90..=100).contains(&after.as_secs()), "{after:?}"),
            other => panic!("{other:?}"),
        }
    }
    upstream.fail(None);
    upstream.image("up/app:other", &[&layer]);
    assert_eq!(space.find(&tag).await.map(|row| row.pointer.blob).ok(), None::<Blob>, "it is left alone for so long");
    assert!(space.find(&name("up/app:other")).await.is_ok());
    let listed = space.list_upstream("up/app:", Some("up/app:a"), 10).await.expect("a list").expect("its own");
    assert_eq!(listed, [name("up/app:other")]);
    assert_eq!(space.list_upstream("own/", None, 10).await.expect("a list"), None);
}

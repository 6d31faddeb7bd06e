//! The bytes of blobs, over lines that break, drip and lie.

use std::time::Duration;

use model::{Meaning, Upstream};
use suite::registry::{Fault, Image, Registry, digest};

use crate::stage::{blob, bytes, fetch, name, open, plan, resolve};

/// Large enough not to fit into the buffers of a socket.
const LARGE: usize = 3 << 20;

fn one() -> (Registry, Vec<u8>, String) {
    let registry = Registry::start();
    let layer = bytes(LARGE);
    let digest = registry.blob("app", &layer);
    (registry, layer, format!("app!{digest}"))
}

#[tokio::test]
async fn a_blob_is_its_size_and_its_bytes() {
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    let found = resolve(&upstream, &registry, &rest).await.expect("an answer").expect("there");
    assert_eq!((found.pointer.blob, found.bytes), (blob(&layer), None));
    assert_eq!((registry.count("HEAD"), registry.count("GET")), (1, 0));
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    assert!(upstream.fetch(&name(&registry, &rest), blob(b"")).await.is_ok_and(|found| found.is_some()));
    let gone = format!("app!{}", digest(b"gone"));
    assert!(upstream.fetch(&name(&registry, &gone), blob(b"gone")).await.is_ok_and(|found| found.is_none()));
}

#[tokio::test]
async fn sizes_are_found_without_head() {
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    for fault in [
        Fault::Status(405, vec![], String::new()),
        Fault::Status(403, vec![], String::new()),
        Fault::Chunked,
        Fault::Redirect(307, registry.url("/signed-for-get")),
    ] {
        registry.fail("HEAD", fault.clone(), 1);
        let found = resolve(&upstream, &registry, &rest).await.expect("an answer").expect("there");
        assert_eq!(found.pointer.blob, blob(&layer), "{fault:?}");
    }
    assert_eq!(registry.count("HEAD /signed"), 0);
    // Neither HEAD nor GET tells: its bytes do.
    registry.fail("HEAD", Fault::Chunked, 1);
    registry.fail("GET", Fault::Chunked, 2);
    let found = resolve(&upstream, &registry, &rest).await.expect("an answer").expect("there");
    assert_eq!((found.pointer.blob, found.bytes.as_deref()), (blob(&layer), Some(layer.as_slice())));
}

#[tokio::test]
async fn broken_bodies_go_on_where_they_broke() {
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    for fault in [Fault::Break(LARGE / 3), Fault::Stop(LARGE / 3), Fault::Break(0), Fault::Short(LARGE / 3)] {
        let before = registry.asked().len();
        registry.fail("GET", fault.clone(), 2);
        assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer, "{fault:?}");
        registry.heal();
        let asked = registry.asked();
        let ranges = asked[before..].iter().filter(|asked| asked.header("range").is_some()).count();
        assert_eq!(ranges, if matches!(fault, Fault::Break(0)) { 0 } else { 2 }, "{fault:?}");
    }
}

#[tokio::test]
async fn ranges_are_not_trusted() {
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    // All of it instead of the rest: what is known is left out.
    registry.fail("GET", Fault::Break(LARGE / 2), 1);
    registry.fail("GET", Fault::NoRanges, 1);
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    registry.fail("GET", Fault::Break(LARGE / 2), 1);
    registry.fail("GET", Fault::WrongRange, 1);
    assert!(fetch(&upstream, &registry, &rest, blob(&layer)).await.is_err());
    registry.fail("GET", Fault::Break(LARGE / 2), 1);
    registry.fail("GET", Fault::Without("content-range"), 1);
    assert!(fetch(&upstream, &registry, &rest, blob(&layer)).await.is_err());
}

#[tokio::test]
async fn what_stays_wrong_is_an_error_and_never_a_clean_end() {
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    for fault in [
        Fault::Break(1000),
        Fault::Break(0),
        Fault::Stop(0),
        Fault::Longer(1),
        Fault::Drip(1000, Duration::from_millis(100)),
        Fault::Silent,
        Fault::Close,
        Fault::Noise,
        Fault::EndlessHead,
        Fault::EndlessBody,
        Fault::Body("short".into()),
        Fault::Status(204, vec![], String::new()),
        Fault::Status(302, vec![], String::new()),
        Fault::With("content-length", "5".into()),
    ] {
        registry.fail("GET", fault.clone(), 99);
        let began = std::time::Instant::now();
        let found = fetch(&upstream, &registry, &rest, blob(&layer)).await;
        assert_eq!(found.expect_err(&format!("{fault:?}")).meaning(), &Meaning::Upstream, "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(15), "{fault:?} took {:?}", began.elapsed());
        registry.heal();
    }
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer, "it recovers");
}

#[tokio::test]
async fn framing_does_not_matter() {
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    for fault in [Fault::Chunked, Fault::Unbounded, Fault::With("content-encoding", "gzip".into())] {
        registry.fail("GET", fault.clone(), 1);
        assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer, "{fault:?}");
    }
}

#[tokio::test]
async fn a_slow_reader_is_no_slow_upstream() {
    use futures::StreamExt;
    let (registry, layer, rest) = one();
    let upstream = open(&registry);
    let body = upstream.fetch(&name(&registry, &rest), blob(&layer)).await.expect("an answer").expect("there");
    let model::Body::Stream { mut chunks, .. } = body else { panic!("a stream") };
    let mut length = chunks.next().await.expect("a piece").expect("bytes").len();
    // Longer than the upstream may take for anything.
    tokio::time::sleep(Duration::from_secs(2)).await;
    while let Some(piece) = chunks.next().await {
        length += piece.expect("bytes").len();
    }
    assert_eq!(length, LARGE);
}

#[tokio::test]
async fn what_an_index_links_to_is_found_below_its_name() {
    let registry = Registry::start();
    let layer = bytes(1000);
    let image: Image = registry.image("app", None, "linux/amd64", &[&layer]);
    registry.index("app", Some("all"), &[("linux/amd64", &image)]);
    let upstream = open(&registry);
    let found = fetch(&upstream, &registry, "app:all", blob(&image.manifest)).await;
    assert_eq!(found.expect("the manifest"), image.manifest);
    let named = format!("app@{}", image.digest);
    assert_eq!(fetch(&upstream, &registry, &named, blob(&image.manifest)).await.expect("bytes"), image.manifest);
    assert_eq!(fetch(&upstream, &registry, &named, blob(&layer)).await.expect("bytes"), layer);
}

#[tokio::test]
async fn redirects_lead_on_and_end() {
    let (registry, layer, rest) = one();
    let storage = Registry::start();
    let stored = storage.blob("x", &layer);
    let upstream = open(&registry);
    let signed = format!("/v2/x/blobs/{stored}?X-Amz-Signature=abc");
    for location in [storage.url(&signed), format!("//{}{signed}", storage.host())] {
        registry.fail("GET", Fault::Redirect(307, location.clone()), 1);
        assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer, "{location}");
    }
    // Relative ones, and a broken body behind one.
    let there = registry.blob("other", &layer);
    registry.fail("GET /v2/app", Fault::Redirect(302, format!("/v2/other/blobs/{there}")), 1);
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    registry.fail("GET", Fault::Redirect(307, storage.url(&signed)), 9);
    storage.fail("GET", Fault::Break(LARGE / 2), 1);
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    registry.heal();
    for location in [
        format!("/v2/app/blobs/{}", digest(&layer)),
        "ftp://127.0.0.1/".into(),
        "http://".into(),
        "http://169.254.169.254/latest/meta-data".into(),
    ] {
        registry.fail("GET", Fault::Redirect(307, location.clone()), 99);
        assert!(fetch(&upstream, &registry, &rest, blob(&layer)).await.is_err(), "{location}");
        registry.heal();
    }
}

#[tokio::test]
async fn long_chains_of_redirects_end() {
    let (registry, layer, rest) = one();
    for hop in 0..20 {
        registry.fail(&format!("GET /hop/{hop}/"), Fault::Redirect(302, format!("/hop/{}/", hop + 1)), 1);
    }
    registry.fail("GET /v2/", Fault::Redirect(302, "/hop/0/".into()), 1);
    assert!(fetch(&open(&registry), &registry, &rest, blob(&layer)).await.is_err());
    assert!(registry.asked().len() <= 12, "{}", registry.asked().len());
}

#[tokio::test]
async fn a_path_in_the_endpoint_comes_before_the_repository() {
    let registry = Registry::start();
    let layer = bytes(100);
    let digest = registry.blob("hub/library/app", &layer);
    let endpoint = format!("endpoint = \"{}\"", registry.url("/hub"));
    let upstream = plan("docker.io", &endpoint).open().expect("upstreams");
    let wanted = model::Name::new(format!("oci/docker.io/library/app!{digest}")).expect("a name");
    let found = upstream.fetch(&wanted, blob(&layer));
    assert!(found.await.is_ok_and(|found| found.is_some()));
    assert_eq!(registry.count("GET /v2/hub/library/app/blobs/"), 1);
}

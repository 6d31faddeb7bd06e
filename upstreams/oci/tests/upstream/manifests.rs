//! What names are: tags, manifests, indexes, through everything that registries do to them.

use std::time::Duration;

use image::{MANIFEST, MIRRORED, OCI_MANIFEST};
use model::{Found, KindId, Meaning, Pointer, Retention, Upstream};
use suite::registry::{Fault, Registry, digest};

use crate::stage::{blob, bytes, entry, name, open, plan, resolve};

/// A registry with one image `app:latest`.
fn one() -> (Registry, suite::registry::Image) {
    let registry = Registry::start();
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000), &bytes(2000), &bytes(1000)]);
    (registry, image)
}

#[tokio::test]
async fn a_tag_comes_with_all_that_it_means() {
    let (registry, image) = one();
    let upstream = open(&registry);
    let found = resolve(&upstream, &registry, "app:latest").await.expect("an answer").expect("there");
    assert_eq!(found.pointer.blob, blob(&image.manifest));
    assert_eq!(found.bytes.as_deref(), Some(image.manifest.as_slice()));
    assert_eq!((found.pointer.kind, found.pointer.keep), (MANIFEST, Retention::Loose));
    assert_eq!(found.pointer.note, OCI_MANIFEST);
    let beside: Vec<_> = found
        .beside
        .iter()
        .map(|(name, pointer)| (name.to_string(), pointer.blob, pointer.kind, pointer.keep))
        .collect();
    let weak =
        |rest: String, bytes: &[u8], kind| (name(&registry, &rest).to_string(), blob(bytes), kind, Retention::Weak);
    // The third layer is the first once more.
    assert_eq!(
        beside,
        [
            weak(format!("app@{}", image.digest), &image.manifest, MANIFEST),
            weak(format!("app!{}", digest(&image.config)), &image.config, KindId::BYTES),
            weak(format!("app!{}", digest(&image.layers[0])), &image.layers[0], KindId::BYTES),
            weak(format!("app!{}", digest(&image.layers[1])), &image.layers[1], KindId::BYTES),
        ]
    );
    let by_digest = resolve(&upstream, &registry, &format!("app@{}", image.digest)).await.expect("an answer");
    let by_digest = by_digest.expect("there");
    assert_eq!((by_digest.pointer.keep, by_digest.beside.len()), (Retention::Weak, 3));
    let asked = registry.asked();
    assert!(asked.iter().all(|asked| asked.header("accept-encoding") == Some("identity")));
    let accept = asked[0].header("accept").expect("an accept").to_owned();
    assert!(image::accepted().iter().all(|one| accept.contains(one)), "{accept}");
}

#[tokio::test]
async fn an_index_is_mirrored() {
    let (registry, image) = one();
    let (_, index) = registry.index("app", Some("all"), &[("linux/amd64", &image)]);
    let found = resolve(&open(&registry), &registry, "app:all").await.expect("an answer").expect("there");
    assert_eq!((found.pointer.blob, found.pointer.kind), (blob(&index), MIRRORED));
    assert_eq!(found.beside.len(), 1);
}

#[tokio::test]
async fn what_has_not_moved_costs_a_head() {
    let (registry, image) = one();
    let upstream = open(&registry);
    let known = Pointer::new(blob(&image.manifest), MANIFEST);
    let tag = name(&registry, "app:latest");
    assert!(matches!(upstream.resolve(&tag, Some(&known)).await, Ok(Some(Found::Same))));
    assert_eq!((registry.count("HEAD"), registry.count("GET")), (1, 0));
    // Whatever a HEAD fails at, a GET tells.
    let head = "HEAD /v2/app/manifests/";
    for fault in [
        Fault::Status(405, vec![], String::new()),
        Fault::Status(400, vec![], String::new()),
        Fault::Status(404, vec![], String::new()),
        Fault::Status(403, vec![], String::new()),
        Fault::Status(501, vec![], String::new()),
        Fault::Without("docker-content-digest"),
        Fault::With("docker-content-digest", "md5:nonsense".into()),
        Fault::Redirect(307, registry.url("/signed-for-get")),
    ] {
        registry.fail(head, fault.clone(), 1);
        let found = upstream.resolve(&tag, Some(&known)).await;
        assert!(
            matches!(&found, Ok(Some(Found::Points(found))) if found.pointer.blob == known.blob),
            "{fault:?}: {found:?}"
        );
    }
    registry.image("app", Some("latest"), "linux/amd64", &[b"other"]);
    assert!(
        matches!(upstream.resolve(&tag, Some(&known)).await, Ok(Some(Found::Points(found))) if found.pointer.blob != known.blob)
    );
}

#[tokio::test]
async fn heads_and_gets_follow_redirects_to_other_hosts() {
    let (registry, image) = one();
    let regional = Registry::start();
    regional.manifest("app", Some("latest"), OCI_MANIFEST, &image.manifest);
    let upstream = open(&registry);
    registry.fail("HEAD", Fault::Redirect(307, regional.url("/v2/app/manifests/latest")), 1);
    registry.fail("GET", Fault::Redirect(302, regional.url("/v2/app/manifests/latest")), 1);
    let known = Pointer::new(blob(&image.manifest), MANIFEST);
    let tag = name(&registry, "app:latest");
    assert!(matches!(upstream.resolve(&tag, Some(&known)).await, Ok(Some(Found::Same))));
    assert!(matches!(upstream.resolve(&tag, None).await, Ok(Some(Found::Points(_)))));
    assert_eq!((regional.count("HEAD"), regional.count("GET")), (1, 1));
}

#[tokio::test]
async fn absent_is_absent_in_every_form() {
    let (registry, _) = one();
    let upstream = open(&registry);
    assert!(resolve(&upstream, &registry, "app:gone").await.expect("an answer").is_none());
    assert!(resolve(&upstream, &registry, &format!("app@{}", digest(b"gone"))).await.expect("an answer").is_none());
    assert!(resolve(&upstream, &registry, &format!("app!{}", digest(b"gone"))).await.expect("an answer").is_none());
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}"#;
    registry.fail("GET", Fault::Status(403, vec![], unknown.into()), 1);
    assert!(resolve(&upstream, &registry, "app:latest").await.expect("an answer").is_none());
    registry.fail("GET", Fault::Status(403, vec![], "<html>".into()), 1);
    let denied = resolve(&upstream, &registry, "app:latest").await.expect_err("denied");
    assert_eq!(denied.meaning(), &Meaning::Denied);
    assert!(denied.text().contains("app:latest (403)") && denied.text().contains(&registry.host()), "{denied}");
}

#[tokio::test]
async fn limits_are_told_with_their_time_and_not_pressed() {
    let (registry, image) = one();
    let upstream = open(&registry);
    let limited = |headers: Vec<(&'static str, String)>| Fault::Status(429, headers, String::new());
    for (headers, seconds, requests) in [
        (vec![], 30, 1),
        (vec![("Retry-After", "120".to_owned())], 120, 1),
        (vec![("Retry-After", "99999999".to_owned())], 3600, 1),
        (vec![("Retry-After", "nonsense".to_owned())], 30, 1),
    ] {
        let before = registry.asked().len();
        registry.fail("GET", limited(headers.clone()), 9);
        let error = resolve(&upstream, &registry, "app:latest").await.expect_err("limited");
        assert_eq!(error.meaning(), &Meaning::Busy(Duration::from_secs(seconds)), "{headers:?}");
        assert_eq!(registry.asked().len() - before, requests, "{headers:?}");
        registry.heal();
    }
    // A short time is sat out, once.
    registry.fail("GET", limited(vec![("Retry-After", "1".into())]), 1);
    assert!(resolve(&upstream, &registry, "app:latest").await.expect("an answer").is_some());
    registry.fail("HEAD", limited(vec![]), 9);
    let known = Pointer::new(blob(&image.manifest), MANIFEST);
    let gets = registry.count("GET");
    let error = upstream.resolve(&name(&registry, "app:latest"), Some(&known)).await.expect_err("limited");
    assert!(matches!(error.meaning(), Meaning::Busy(_)));
    assert_eq!(registry.count("GET"), gets, "a HEAD that is limited is no reason to GET");
    registry.heal();
    registry.header("RateLimit-Limit", "100;w=21600");
    registry.header("RateLimit-Remaining", "99;w=21600");
    assert!(resolve(&upstream, &registry, "app:latest").await.expect("an answer").is_some());
    let limits = upstream.limits();
    assert_eq!((limits[0].host.clone(), limits[0].limit, limits[0].remaining), (registry.host(), 100, 99));
}

#[tokio::test]
async fn failures_pass_or_are_told() {
    let (registry, _) = one();
    let upstream = open(&registry);
    for fault in [500, 502, 503, 504]
        .map(|status| Fault::Status(status, vec![], String::new()))
        .into_iter()
        .chain([Fault::Close])
    {
        registry.fail("GET", fault.clone(), 2);
        assert!(resolve(&upstream, &registry, "app:latest").await.is_ok_and(|found| found.is_some()), "{fault:?}");
        let before = registry.asked().len();
        registry.fail("GET", fault.clone(), 99);
        let error = resolve(&upstream, &registry, "app:latest").await.expect_err("it fails");
        assert_eq!(error.meaning(), &Meaning::Upstream, "{fault:?}");
        assert!(error.text().contains(&registry.host()), "{error}");
        assert!(registry.asked().len() - before <= 8, "{fault:?}: {}", registry.asked().len() - before);
        registry.heal();
    }
}

#[tokio::test]
async fn wrong_answers_are_errors_and_never_bytes() {
    let (registry, image) = one();
    let upstream = open(&registry);
    let by_digest = format!("app@{}", image.digest);
    let line = "GET /v2/app/manifests/";
    for fault in [
        Fault::OtherBytes,
        Fault::Body("{}".into()),
        Fault::Body("{\"layers\":".into()),
        Fault::Body("<html>log in</html>".into()),
        Fault::Break(10),
        Fault::Break(0),
        Fault::Short(10),
        Fault::Longer(5),
        Fault::Stop(10),
        Fault::Silent,
        Fault::Drip(1, Duration::from_millis(100)),
        Fault::EndlessHead,
        Fault::EndlessBody,
        Fault::Noise,
        Fault::With("docker-content-digest", digest(b"something else")),
        Fault::With("content-length", "99999999999".into()),
        Fault::With("content-length", "1".into()),
        Fault::Status(302, vec![], String::new()),
        Fault::Status(204, vec![], String::new()),
    ] {
        for rest in ["app:latest", by_digest.as_str()] {
            registry.fail(line, fault.clone(), 99);
            let began = std::time::Instant::now();
            let error = resolve(&upstream, &registry, rest).await.expect_err(&format!("{rest} {fault:?}"));
            assert_eq!(error.meaning(), &Meaning::Upstream, "{fault:?}: {error}");
            assert!(began.elapsed() < Duration::from_secs(10), "{fault:?} took {:?}", began.elapsed());
            registry.heal();
        }
    }
    let found = resolve(&upstream, &registry, "app:latest").await.expect("an answer");
    assert_eq!(found.expect("there").pointer.blob, blob(&image.manifest), "it recovers");
}

#[tokio::test]
async fn framing_does_not_matter_where_the_bytes_are_right() {
    let (registry, image) = one();
    let upstream = open(&registry);
    for fault in [
        Fault::Chunked,
        Fault::Unbounded,
        Fault::Gzip,
        Fault::With("content-encoding", "br".into()),
        Fault::Without("docker-content-digest"),
        Fault::Without("content-type"),
    ] {
        registry.fail("GET /v2/app/manifests/", fault.clone(), 1);
        let found = resolve(&upstream, &registry, "app:latest").await;
        assert_eq!(
            found.expect("an answer").expect("there").bytes.as_deref(),
            Some(image.manifest.as_slice()),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn packed_bytes_need_a_proof() {
    let (registry, image) = one();
    let upstream = open(&registry);
    registry.fail("GET /v2/app/manifests/", Fault::Gzip, 1);
    let by_digest = format!("app@{}", image.digest);
    let found = resolve(&upstream, &registry, &by_digest).await.expect("an answer").expect("there");
    assert_eq!(found.bytes.as_deref(), Some(image.manifest.as_slice()));
    // A bomb, and an encoding that is only said.
    registry.fail("GET /v2/app/manifests/", Fault::With("content-encoding", "gzip".into()), 1);
    let found = resolve(&upstream, &registry, &by_digest).await.expect("an answer").expect("there");
    assert_eq!(found.bytes.as_deref(), Some(image.manifest.as_slice()), "right as it is");
    let bomb = vec![b' '; 64 << 20];
    registry.manifest("app", Some("bomb"), OCI_MANIFEST, &bomb);
    registry.fail("GET /v2/app/manifests/", Fault::Gzip, 1);
    assert!(resolve(&upstream, &registry, "app:bomb").await.is_err());
}

#[tokio::test]
async fn schema_1_is_told_from_what_is_broken() {
    let registry = Registry::start();
    let prettyjws = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    registry.manifest("old", Some("1"), prettyjws, br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#);
    let error = resolve(&open(&registry), &registry, "old:1").await.expect_err("not read");
    assert_eq!(error.meaning(), &Meaning::Unsupported);
    assert!(error.text().contains("schema 1"), "{error}");
}

#[tokio::test]
async fn other_platforms_are_left_out_and_attestations_are_not() {
    let registry = Registry::start();
    let layer = bytes(10);
    let wanted = registry.image("app", Some("amd"), "linux/amd64", &[&layer]);
    let other = registry.image("app", Some("arm"), "linux/arm64", &[&layer]);
    let attestation = registry.image("app", None, "unknown/unknown", &[&layer]);
    let images = [("linux/amd64", &wanted), ("linux/arm64", &other), ("unknown/unknown", &attestation)];
    let (index, _) = registry.index("app", Some("all"), &images);
    let upstream = plan(&registry.host(), "platforms = [\"linux/amd64\"]").open().expect("upstreams");
    for right in [
        "app:all".to_owned(),
        format!("app@{index}"),
        format!("app@{}", wanted.digest),
        format!("app@{}", attestation.digest),
    ] {
        assert!(resolve(&upstream, &registry, &right).await.is_ok_and(|found| found.is_some()), "{right}");
    }
    let error = resolve(&upstream, &registry, &format!("app@{}", other.digest)).await.expect_err("filtered");
    assert_eq!(error.meaning(), &Meaning::Absent);
    assert!(error.text().contains("linux/arm64") && error.text().contains("only for linux/amd64"), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_first_and_missed_by_nobody() {
    let (registry, image) = one();
    let mirror = Registry::start();
    let made = upstream_oci::Plan {
        upstream: vec![upstream_oci::Entry { mirrors: vec![mirror.url("")], ..entry(&registry.host()) }],
        pace: plan("a.example", "").pace,
    };
    let upstream = made.open().expect("upstreams");
    assert!(resolve(&upstream, &registry, "app:latest").await.expect("an answer").is_some());
    assert_eq!((mirror.count("GET"), registry.count("GET")), (1, 1));
    mirror.manifest("app", Some("latest"), OCI_MANIFEST, &image.manifest);
    assert!(resolve(&upstream, &registry, "app:latest").await.expect("an answer").is_some());
    assert_eq!((mirror.count("GET"), registry.count("GET")), (2, 1));
    mirror.fail("GET", Fault::Status(500, vec![], String::new()), 99);
    assert!(resolve(&upstream, &registry, "app:latest").await.expect("an answer").is_some());
}

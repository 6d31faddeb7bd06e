//! What goes and what stays when room is short, seen from the outside.

use suite::registry::{Fault, Registry, digest};

use crate::client::{Reply, ask, get, head};
use crate::stage::{Stage, bytes, entry, path, pull, pulls_again};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A hub that may hold so many bytes.
fn limited(registry: &Registry, quota: &str) -> Stage {
    Stage::with(&(format!("[namespaces.main]\nquota = \"{quota}\"\n") + &entry(&registry.host(), "private = true\n")))
}

fn push_blob(port: u16, repository: &str, bytes: &[u8]) -> Reply {
    let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(bytes));
    ask(port, "POST", &path, &[("Content-Type", "application/octet-stream")], bytes)
}

/// Pushes an image of one layer; its manifest's digest.
fn push(port: u16, repository: &str, tag: Option<&str>, layer: &[u8], subject: Option<(&str, usize)>) -> String {
    let config = format!(r#"{{"of":"{}"}}"#, digest(layer));
    for blob in [config.as_bytes(), layer] {
        let reply = push_blob(port, repository, blob);
        assert_eq!(reply.status, 201, "{:?}", reply.error());
    }
    let subject = subject.map_or(String::new(), |(digest, size)| {
        format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size}}}"#)
    });
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]{subject}}}"#,
        digest(config.as_bytes()),
        config.len(),
        digest(layer),
        layer.len()
    );
    let digest = digest(manifest.as_bytes());
    let path = format!("/v2/{repository}/manifests/{}", tag.unwrap_or(&digest));
    let reply = ask(port, "PUT", &path, &[("Content-Type", MANIFEST)], manifest.as_bytes());
    assert_eq!(reply.status, 201, "{:?}", reply.error());
    digest
}

#[test]
fn layers_make_room_while_their_tags_live() {
    let registry = Registry::start();
    let images: Vec<_> = (0..4)
        .map(|number| {
            let repository = format!("app{number}");
            let image = registry.image(&repository, Some("latest"), "linux/amd64", &[&bytes(800_000, number)]);
            (repository, image)
        })
        .collect();
    let stage = limited(&registry, "2MB");
    let (port, host) = (stage.port(), registry.host());
    for (repository, image) in &images {
        assert_eq!(pull(port, &host, repository, "latest", image), Ok(()));
    }
    let (repository, image) = &images[0];
    let layer = digest(&image.layers[0]);
    let fetched = || registry.count(&format!("GET /v2/{repository}/blobs/{layer}"));
    assert!(stage.file(&image.layers[0]).is_none(), "its layer has made room");
    // The tag is here without asking anybody, and so is what it promises.
    registry.fail("", Fault::Status(500, vec![], "{}".into()), 100_000);
    assert_eq!(head(port, &path(&host, repository, "manifests/latest")).status, 200);
    assert_eq!(head(port, &path(&host, repository, &format!("blobs/{layer}"))).status, 200);
    let refused = get(port, &path(&host, repository, &format!("blobs/{layer}")));
    assert_eq!(refused.status, 502, "its bytes are not here");
    registry.heal();
    let before = fetched();
    pulls_again(port, &host, repository, "latest", image);
    assert_eq!(fetched(), before + 1);
    assert!(stage.file(&image.layers[0]).is_some());
    assert_eq!(pull(port, &host, repository, "latest", image), Ok(()));
    assert_eq!(fetched(), before + 1, "it is kept again");
}

#[test]
fn what_was_pushed_stays_and_a_push_that_has_no_room_leaves_nothing() {
    let registry = Registry::start();
    let stage = limited(&registry, "2MB");
    let (port, host) = (stage.port(), registry.host());
    let (first, second) = (bytes(700_000, 1), bytes(900_000, 2));
    push(port, "own/a", Some("1"), &first, None);
    push(port, "own/b", Some("1"), &second, None);
    for number in 0..5 {
        let repository = format!("app{number}");
        let image = registry.image(&repository, Some("latest"), "linux/amd64", &[&bytes(300_000, 10 + number)]);
        assert_eq!(pull(port, &host, &repository, "latest", &image), Ok(()));
    }
    // Copies make room for what is pushed, and nothing makes room beyond that.
    let refused = push_blob(port, "own/c", &bytes(900_000, 3));
    let (code, message) = refused.error();
    assert_eq!((refused.status, &*code), (507, "DENIED"), "{message}");
    assert!(message.contains("quota"), "{message}");
    assert_eq!(head(port, &format!("/v2/own/c/blobs/{}", digest(&bytes(900_000, 3)))).status, 404);
    for (repository, layer) in [("own/a", &first), ("own/b", &second)] {
        assert_eq!(get(port, &format!("/v2/{repository}/manifests/1")).status, 200);
        assert!(get(port, &format!("/v2/{repository}/blobs/{}", digest(layer))).body == *layer);
    }
}

#[test]
fn what_has_no_room_is_passed_on_and_is_right_or_an_error() {
    let registry = Registry::start();
    let layer = bytes(600_000, 7);
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&layer]);
    let stage = limited(&registry, "1MB");
    let (port, host) = (stage.port(), registry.host());
    let own = bytes(998_500, 1);
    push(port, "own/a", Some("1"), &own, None);
    // Now not even the manifest has room.
    for round in 1..3 {
        assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
        assert_eq!(registry.count(&format!("GET /v2/app/blobs/{}", digest(&layer))), round, "asked for once each time");
    }
    assert_eq!(pull(port, &host, "app", &image.digest, &image), Ok(()));
    let address = path(&host, "app", &format!("blobs/{}", digest(&layer)));
    assert_eq!(head(port, &address).status, 200);
    for (first, last) in [(0, 0), (100, 4_000), (599_990, 599_999)] {
        let part = ask(port, "GET", &address, &[("Range", &format!("bytes={first}-{last}"))], &[]);
        assert_eq!((part.status, part.whole), (206, true));
        assert!(part.body == layer[first..=last], "{first}-{last}");
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(pull(port, &host, "app", "latest", &image), Ok(())));
        }
    });
    for fault in [Fault::OtherBytes, Fault::Longer(3)] {
        registry.fail("GET /v2/app/blobs/", fault.clone(), 100);
        for range in ["bytes=0-", "bytes=10-20", "bytes=599999-"] {
            let reply = ask(port, "GET", &address, &[("Range", range)], &[]);
            assert!(reply.status >= 500 || !reply.whole, "{fault:?} {range}: {}", reply.status);
        }
        registry.heal();
    }
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
    assert!(stage.file(&layer).is_none(), "nothing of it is kept");
    assert!(get(port, &format!("/v2/own/a/blobs/{}", digest(&own))).body == own, "and nothing of ours has gone");
}

#[test]
fn what_was_pushed_is_kept_when_an_upstream_has_it_too() {
    let registry = Registry::start();
    let layer = bytes(500_000, 7);
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&layer]);
    let stage = limited(&registry, "2MB");
    let (port, host) = (stage.port(), registry.host());
    // Once pushed after the copy was pulled, once before another copy is.
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
    push(port, "own/a", Some("1"), &layer, None);
    let other = registry.image("other", Some("latest"), "linux/amd64", &[&layer]);
    assert_eq!(pull(port, &host, "other", "latest", &other), Ok(()));
    for number in 0..4 {
        let repository = format!("app{number}");
        let image = registry.image(&repository, Some("latest"), "linux/amd64", &[&bytes(600_000, 10 + number)]);
        assert_eq!(pull(port, &host, &repository, "latest", &image), Ok(()));
    }
    drop(registry);
    assert!(stage.file(&layer).is_some());
    assert!(get(port, &format!("/v2/own/a/blobs/{}", digest(&layer))).body == layer);
}

#[test]
fn a_referrer_stays_with_its_subject_and_can_go_after_it() {
    let registry = Registry::start();
    let stage = limited(&registry, "2MB");
    let (port, host) = (stage.port(), registry.host());
    let (layer, about) = (bytes(500_000, 1), bytes(400_000, 2));
    let subject = push(port, "own/a", Some("1"), &layer, None);
    let size = get(port, "/v2/own/a/manifests/1").body.len();
    let referrer = push(port, "own/a", None, &about, Some((&subject, size)));
    let crowd = |from: usize| {
        for number in from..from + 4 {
            let repository = format!("app{number}");
            let image = registry.image(&repository, Some("latest"), "linux/amd64", &[&bytes(600_000, 10 + number)]);
            assert_eq!(pull(port, &host, &repository, "latest", &image), Ok(()));
        }
    };
    crowd(0);
    let listed = || String::from_utf8(get(port, &format!("/v2/own/a/referrers/{subject}")).body).expect("text");
    assert!(listed().contains(&referrer));
    assert!(get(port, &format!("/v2/own/a/blobs/{}", digest(&about))).body == about);
    // Without its subject nothing holds it.
    assert_eq!(ask(port, "DELETE", &format!("/v2/own/a/manifests/{subject}"), &[], &[]).status, 202);
    crowd(10);
    assert!(stage.file(&about).is_none() && stage.file(&layer).is_none());
    assert_eq!(get(port, &format!("/v2/own/a/manifests/{referrer}")).status, 404);
}

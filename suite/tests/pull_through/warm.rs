//! What is here stays usable, whatever becomes of the other side.

use std::time::Duration;

use suite::clients::until;
use suite::registry::{Fault, Registry, digest};

use crate::client::{ask, get, head};
use crate::stage::{Stage, bytes, entry, path, pull, pulls_again};

#[test]
fn everything_that_is_here_is_served_while_the_upstream_fails_and_when_it_is_gone() {
    let status = |status, headers| Fault::Status(status, headers, "{}".into());
    let faults = [
        status(429, vec![("Retry-After", "60".to_owned())]),
        status(429, vec![]),
        status(500, vec![]),
        Fault::Silent,
        Fault::Close,
        Fault::Noise,
        Fault::EndlessHead,
        Fault::Redirect(302, "http://127.0.0.1:1/".into()),
        Fault::Drip(10, Duration::from_millis(50)),
    ];
    let mut registries: Vec<Registry> = faults.iter().map(|_| Registry::start()).collect();
    let lines: String = registries.iter().map(|one| entry(&one.host(), "private = true\n")).collect();
    let mut stage = Stage::with(&lines);
    let port = stage.port();
    let image = |(seed, one): (usize, &Registry)| {
        one.image("app", Some("latest"), "linux/amd64", &[&bytes(300_000, seed), &bytes(70_000, 100 + seed)])
    };
    let images: Vec<_> = registries.iter().enumerate().map(image).collect();
    std::thread::scope(|scope| {
        for ((registry, fault), image) in registries.iter().zip(&faults).zip(&images) {
            scope.spawn(move || {
                let host = registry.host();
                assert_eq!(pull(port, &host, "app", "latest", image), Ok(()));
                registry.fail("", fault.clone(), 100_000);
                let before = registry.asked().len();
                until("the tag is asked for anew", Duration::from_secs(30), || {
                    assert_eq!(pull(port, &host, "app", "latest", image), Ok(()), "{fault:?}");
                    registry.asked().len() > before
                });
                assert_eq!(pull(port, &host, "app", &image.digest, image), Ok(()), "{fault:?}");
                let blobs = registry.count("GET /v2/app/blobs/");
                assert_eq!(blobs, 3, "each blob was fetched once");
            });
        }
    });
    let hosts: Vec<String> = registries.drain(..).map(|one| one.host()).collect();
    for _ in 0..2 {
        for (host, image) in hosts.iter().zip(&images) {
            assert_eq!(pull(port, host, "app", "latest", image), Ok(()));
            assert_eq!(pull(port, host, "app", &image.digest, image), Ok(()));
        }
        stage.restart();
    }
}

#[test]
fn a_tag_that_moves_is_noticed_and_one_that_goes_is_gone() {
    let registry = Registry::start();
    let first = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    assert_eq!(pull(port, &host, "app", "latest", &first), Ok(()));
    let asked = registry.count("HEAD /v2/app/manifests/latest");
    let second = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 2)]);
    until("the tag moves here too", Duration::from_secs(10), || {
        get(port, &path(&host, "app", "manifests/latest")).body == second.manifest
    });
    assert!(registry.count("HEAD /v2/app/manifests/latest") > asked, "a HEAD asks");
    assert_eq!(pull(port, &host, "app", "latest", &second), Ok(()));
    assert_eq!(pull(port, &host, "app", &first.digest, &first), Ok(()), "what a digest names is there still");
    registry.forget("app", "latest");
    until("the tag goes here too", Duration::from_secs(10), || {
        head(port, &path(&host, "app", "manifests/latest")).status == 404
    });
    assert_eq!(pull(port, &host, "app", &second.digest, &second), Ok(()));
    // It comes back, and is found when the time of "it is not there" is over.
    let third = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 3)]);
    pulls_again(port, &host, "app", "latest", &third);
}

#[test]
fn whoever_may_not_look_any_more_is_told_and_the_copy_is_no_way_around() {
    let registry = Registry::start();
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
    registry.fail("", Fault::Status(403, vec![], "{}".into()), 10_000);
    let manifest = path(&host, "app", "manifests/latest");
    until("the refusal is told", Duration::from_secs(10), || get(port, &manifest).status == 403);
    assert!(get(port, &manifest).error().1.contains("credentials"));
    registry.heal();
    pulls_again(port, &host, "app", "latest", &image);
}

#[test]
fn a_copy_that_is_damaged_comes_again() {
    let registry = Registry::start();
    let layer = bytes(400_000, 1);
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&layer]);
    let mut stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
    let file = stage.file(&layer).expect("it lies in a file");
    stage.hub().stop();
    let mut damaged = layer.clone();
    damaged[200_000] ^= 1;
    let mut permissions = std::fs::metadata(&file).expect("it is there").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the file is the test's own")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&file, permissions).expect("ours");
    std::fs::write(&file, damaged).expect("damaged");
    stage.restart_stopped();
    pulls_again(port, &host, "app", "latest", &image);
    assert_eq!(registry.count(&format!("GET /v2/app/blobs/{}", digest(&layer))), 2);
    let part =
        ask(port, "GET", &path(&host, "app", &format!("blobs/{}", digest(&layer))), &[("Range", "bytes=5-9")], &[]);
    assert_eq!((part.status, part.body), (206, layer[5..10].to_vec()));
}

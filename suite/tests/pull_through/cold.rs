//! Nothing is here yet and the other side misbehaves, at each step of a pull.

use std::time::{Duration, Instant};

use suite::registry::{Fault, Login, Registry, digest};

use crate::stage::{Stage, bytes, entry, pull, pulls_again};

/// How a pull has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As if nothing were wrong.
    Well,
    /// Not well.
    Badly,
}

use End::{Badly, Well};

/// Where, what, and how it has to end.
fn faults(elsewhere: &str) -> Vec<(&'static str, Fault, End)> {
    let status = |status, headers| Fault::Status(status, headers, "{}".into());
    let wait = || vec![("Retry-After", "1".to_owned())];
    let mut all = Vec::new();
    for line in ["GET manifests/", "GET blobs/"] {
        all.extend([
            (line, status(429, vec![]), Badly),
            (line, status(429, vec![("Retry-After", "3".to_owned())]), Badly),
            (line, status(500, vec![]), Badly),
            (line, status(503, wait()), Badly),
            (line, status(401, vec![]), Badly),
            (line, status(403, vec![]), Badly),
            (line, status(404, vec![]), Badly),
            (line, status(204, vec![]), Badly),
            (line, Fault::Drip(100, Duration::from_millis(50)), Badly),
            (line, Fault::Break(100), Badly),
            (line, Fault::Short(100), Badly),
            (line, Fault::Longer(5), Badly),
            (line, Fault::OtherBytes, Badly),
            (line, Fault::Stop(100), Badly),
            (line, Fault::Silent, Badly),
            (line, Fault::Close, Badly),
            (line, Fault::Noise, Badly),
            (line, Fault::EndlessHead, Badly),
            (line, Fault::EndlessBody, Badly),
            (line, Fault::Body("<html>please log in</html>".into()), Badly),
            (line, Fault::Redirect(307, "/v2/nowhere".into()), Badly),
            (line, Fault::Redirect(302, "http://127.0.0.1:1/".into()), Badly),
            (line, Fault::Redirect(308, "http://169.254.169.254/latest/".into()), Badly),
            (line, Fault::Redirect(301, "ftp://a.example/".into()), Badly),
            (line, Fault::Chunked, Well),
            (line, Fault::Unbounded, Well),
            (line, Fault::Without("docker-content-digest"), Well),
            (line, Fault::With("content-type", "text/html".into()), Well),
        ]);
    }
    all.extend([
        ("GET manifests/", Fault::Gzip, Well),
        ("GET blobs/", Fault::Gzip, Badly),
        ("GET blobs/", Fault::Redirect(307, format!("{elsewhere}BLOB")), Well),
        ("HEAD manifests/", status(405, vec![]), Well),
        ("HEAD manifests/", Fault::Silent, Well),
        ("HEAD blobs/", status(405, vec![]), Well),
        ("HEAD blobs/", Fault::Close, Well),
        ("GET /token", status(500, vec![]), Badly),
        ("GET /token", status(429, vec![("Retry-After", "3".to_owned())]), Badly),
        ("GET /token", status(401, vec![]), Badly),
        ("GET /token", Fault::Silent, Badly),
        ("GET /token", Fault::Stop(3), Badly),
        ("GET /token", Fault::Close, Badly),
        ("GET /token", Fault::EndlessBody, Badly),
        ("GET /token", Fault::Body("{}".into()), Badly),
        ("GET /token", Fault::Redirect(307, "http://169.254.169.254/".into()), Badly),
    ]);
    all
}

/// The line of a request at a repository.
fn line(text: &str, repository: &str) -> String {
    let (method, rest) = text.split_once(' ').expect("a method");
    if rest.starts_with('/') {
        return text.to_owned();
    }
    format!("{method} /v2/{repository}/{rest}")
}

#[test]
fn whatever_an_upstream_does_a_cold_pull_is_right_or_an_error_and_right_once_it_recovers() {
    // A registry for each fault: the healing of one must not heal the others.
    let other = Registry::start();
    let faults = faults(&other.url("/v2/moved/blobs/"));
    let registries: Vec<Registry> = faults.iter().map(|_| Registry::start()).collect();
    let lines: String = registries.iter().map(|one| entry(&one.host(), "private = true\n")).collect();
    let stage = Stage::with(&lines);
    let port = stage.port();
    std::thread::scope(|scope| {
        for (number, ((at, fault, end), registry)) in faults.iter().zip(&registries).enumerate() {
            let other = &other;
            scope.spawn(move || {
                let what = format!("{number}: {at} {fault:?}");
                let layers = [bytes(300_000, number), bytes(9_000, number + 1000)];
                let image = registry.image("app", Some("latest"), "linux/amd64", &[&layers[0], &layers[1]]);
                let fault = match fault {
                    // The first blob that is pulled is the configuration.
                    Fault::Redirect(status, to) if to.ends_with("BLOB") => {
                        let digest = other.blob("moved", &image.config);
                        Fault::Redirect(*status, to.replace("BLOB", &digest))
                    }
                    fault => fault.clone(),
                };
                let times = if matches!(fault, Fault::Redirect(307, _)) && *end == Well { 1 } else { 10_000 };
                if at.ends_with("/token") {
                    registry.login(Login::anybody());
                }
                registry.fail(&line(at, "app"), fault, times);
                let begun = Instant::now();
                let done = pull(port, &registry.host(), "app", "latest", &image);
                let took = begun.elapsed();
                println!("{what}: {done:?} in {took:?}");
                assert_eq!(done.is_ok(), *end == Well, "{what}: {done:?}");
                assert!(took < Duration::from_secs(40), "{what}: {took:?}");
                registry.heal();
                pulls_again(port, &registry.host(), "app", "latest", &image);
            });
        }
    });
}

#[test]
fn a_token_that_ends_in_mid_pull_is_replaced() {
    let registry = Registry::start();
    registry.login(Login::anybody());
    let layers = [bytes(2_000_000, 1), bytes(5_000, 2)];
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&layers[0], &layers[1]]);
    let stage = Stage::before(&registry);
    let manifest = crate::client::get(stage.port(), &crate::stage::path(&registry.host(), "app", "manifests/latest"));
    assert_eq!(manifest.status, 200);
    registry.revoke();
    // It breaks in the middle, and what it goes on with is another token.
    let blob = digest(&layers[0]);
    registry.fail(&format!("GET /v2/app/blobs/{blob}"), Fault::Break(1_000_000), 1);
    assert_eq!(pull(stage.port(), &registry.host(), "app", "latest", &image), Ok(()));
    assert!(registry.count("GET /token") >= 2);
}

#[test]
fn an_upstream_that_is_not_there_is_told() {
    let registry = Registry::start();
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let host = registry.host();
    let stage = Stage::before(&registry);
    drop(registry);
    let refused = pull(stage.port(), &host, "app", "latest", &image).expect_err("nobody is there");
    assert!(refused.starts_with("502 ") && refused.contains(&host), "{refused}");
}

#[test]
fn a_limit_is_told_with_its_time() {
    let registry = Registry::start();
    registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let limited = Fault::Status(429, vec![("Retry-After", "77".into())], "{}".into());
    registry.fail("GET /v2/app/", limited, 10);
    let stage = Stage::before(&registry);
    let path = crate::stage::path(&registry.host(), "app", "manifests/latest");
    for _ in 0..3 {
        let reply = crate::client::get(stage.port(), &path);
        assert_eq!((reply.status, reply.error().0.as_str()), (429, "TOOMANYREQUESTS"));
        let after: u64 = reply.header("retry-after").and_then(|after| after.parse().ok()).expect("a time");
        assert!((60..=77).contains(&after), "{after}");
    }
    assert_eq!(registry.count("GET /v2/app/manifests/"), 1, "it is left alone");
    // The same by the query of containerd's mirrors, and to those who may push here, too.
    let reply = crate::client::get(stage.port(), &format!("/v2/app/manifests/latest?ns={}", registry.host()));
    assert_eq!(reply.status, 429, "{:?}", reply.error());
}

#[test]
fn a_blob_alone_is_found_however_its_size_is_told() {
    let refused = |status| Fault::Status(status, vec![], "{}".into());
    let hops = |to: String| Fault::Redirect(307, to);
    let registry = Registry::start();
    let stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    let moved = registry.url("/v2/nowhere");
    let faults =
        [None, Some(refused(405)), Some(refused(403)), Some(refused(501)), Some(Fault::Chunked), Some(hops(moved))];
    for (seed, fault) in faults.into_iter().enumerate() {
        let bytes = bytes(100_000, seed);
        let digest = registry.blob("app", &bytes);
        let path = crate::stage::path(&host, "app", &format!("blobs/{digest}"));
        if let Some(fault) = &fault {
            registry.fail(&format!("HEAD /v2/app/blobs/{digest}"), fault.clone(), 100);
        }
        let head = crate::client::head(port, &path);
        assert_eq!((head.status, head.header("content-length")), (200, Some("100000")), "{fault:?}");
        let reply = crate::client::get(port, &path);
        assert!(reply.status == 200 && reply.whole && reply.body == bytes, "{fault:?}: {}", reply.status);
    }
    let none = crate::client::get(port, &crate::stage::path(&host, "app", &format!("blobs/{}", digest(b"nothing"))));
    assert_eq!((none.status, none.error().0.as_str()), (404, "BLOB_UNKNOWN"));
}

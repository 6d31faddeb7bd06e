//! What may not be asked and what may not be written, seen from the outside.

use suite::clients::until;
use suite::registry::{Fault, Login, Registry, digest};

use crate::client::{ask, get};
use crate::stage::{Stage, bytes, entry, path, pull};

#[test]
fn private_networks_are_not_reached_without_being_asked_for() {
    let registry = Registry::start();
    registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let stage = Stage::with(&entry("*", ""));
    for host in [&*registry.host(), "10.0.0.1:5000", "192.168.1.1:80", "169.254.169.254:80", "localhost:1"] {
        let reply = get(stage.port(), &path(host, "app", "manifests/latest"));
        let (code, message) = reply.error();
        assert_eq!((reply.status, &*code), (403, "DENIED"), "{host}: {message}");
        assert!(message.contains("private"), "{host}: {message}");
    }
    assert!(registry.asked().is_empty(), "nobody was asked");
}

#[test]
fn an_upstream_leads_nowhere_that_it_should_not() {
    let registry = Registry::start();
    let layer = bytes(1000, 1);
    registry.image("app", Some("latest"), "linux/amd64", &[&layer]);
    let stage = Stage::before(&registry);
    let metadata = Fault::Redirect(307, "http://169.254.169.254/latest/meta-data/".into());
    registry.fail("GET /v2/app/manifests/", metadata.clone(), 1000);
    let reply = get(stage.port(), &path(&registry.host(), "app", "manifests/latest"));
    assert!(matches!(reply.status, 403 | 502), "{}", reply.status);
    assert!(reply.error().1.contains("private or reserved"), "{:?}", reply.error());
    registry.heal();
    registry.fail("GET /v2/app/blobs/", metadata, 1000);
    until("the manifest comes", std::time::Duration::from_secs(5), || {
        get(stage.port(), &path(&registry.host(), "app", "manifests/latest")).status == 200
    });
    let reply = get(stage.port(), &path(&registry.host(), "app", &format!("blobs/{}", digest(&layer))));
    assert!(matches!(reply.status, 403 | 502), "{}", reply.status);
}

#[test]
fn a_host_that_is_no_upstream_is_said_to_be_none() {
    let registry = Registry::start();
    let stage = Stage::before(&registry);
    for request in ["/v2/elsewhere.example/app/manifests/latest", "/v2/app/manifests/latest?ns=elsewhere.example"] {
        let reply = get(stage.port(), request);
        assert_eq!(reply.status, 404, "{request}");
        assert!(reply.error().1.contains("elsewhere.example is no upstream of this hub"), "{:?}", reply.error());
    }
}

#[test]
fn copies_cannot_be_pushed_to() {
    let registry = Registry::start();
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
    let digest = digest(b"mine");
    let manifest = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
    for repository in [format!("{host}/app"), format!("{host}/new"), "docker.io/library/x".into()] {
        for (method, rest, headers) in [
            ("POST", "blobs/uploads/".to_owned(), &[][..]),
            ("POST", format!("blobs/uploads/?digest={digest}"), &[]),
            ("PUT", format!("blobs/uploads/0123?digest={digest}"), &[]),
            ("PATCH", "blobs/uploads/0123".to_owned(), &[]),
            ("PUT", "manifests/latest".to_owned(), &manifest),
        ] {
            let reply = ask(port, method, &format!("/v2/{repository}/{rest}"), headers, b"mine");
            let (code, message) = reply.error();
            assert_eq!((reply.status, &*code), (403, "DENIED"), "{method} {repository}/{rest}: {message}");
            assert!(message.contains("copy of what another registry has"), "{message}");
        }
    }
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
}

#[test]
fn the_talk_with_upstreams_is_logged_without_secrets() {
    let registry = Registry::start();
    registry.login(Login::user("me", "hidden-password"));
    registry.header("Set-Cookie", "session=hidden-cookie");
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "hidden-password\n").expect("written");
    let more =
        format!("private = true\n[[upstream.credentials]]\nuser = \"me\"\npassword_file = \"{}\"\n", file.display());
    let mut stage = Stage::with(&entry(&registry.host(), &more));
    let signed = registry.url(&format!("/v2/app/blobs/{}?X-Amz-Signature=hidden-signature", digest(&image.layers[0])));
    registry.fail(&format!("GET /v2/app/blobs/{}", digest(&image.layers[0])), Fault::Redirect(307, signed), 1);
    assert_eq!(pull(stage.port(), &registry.host(), "app", "latest", &image), Ok(()));
    let log = stage.hub().log();
    for line in
        ["> GET http://", "/v2/app/manifests/latest", "< 200 OK from", "< 401 Unauthorized from", "authorization: …"]
    {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    for secret in ["hidden", "token-1", "Basic bWU6"] {
        let shown = log.lines().find(|line| line.contains(secret));
        assert_eq!(shown, None, "{secret}");
    }
}

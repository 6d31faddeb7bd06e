//! Tags of copies, and what is about them.

use std::process::Command;

use serde_json::Value;
use suite::clients::{installed, program};
use suite::registry::{Fault, Registry};

use crate::client::{get, head};
use crate::stage::{Stage, bytes, path, pull};

fn tags(port: u16, address: &str) -> Vec<String> {
    let reply = get(port, address);
    assert_eq!(reply.status, 200, "{:?}", reply.error());
    let list: Value = serde_json::from_slice(&reply.body).expect("JSON");
    list["tags"].as_array().expect("tags").iter().map(|tag| tag.as_str().expect("a text").to_owned()).collect()
}

#[test]
fn tags_are_those_that_the_upstream_has() {
    let registry = Registry::start();
    let layer = bytes(1000, 1);
    let image = registry.image("app", Some("v1"), "linux/amd64", &[&layer]);
    for tag in ["v3", "latest", "v2", "1.0"] {
        registry.image("app", Some(tag), "linux/amd64", &[&layer]);
    }
    registry.page(2);
    let stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    let list = path(&host, "app", "tags/list");
    assert_eq!(tags(port, &list), ["1.0", "latest", "v1", "v2", "v3"]);
    assert_eq!(tags(port, &format!("{list}?n=2&last=latest")), ["v1", "v2"]);
    let page = get(port, &format!("{list}?n=2"));
    assert!(page.header("link").is_some_and(|link| link.contains("last=latest")), "{:?}", page.headers);
    assert_eq!(tags(port, &format!("/v2/app/tags/list?ns={host}")), ["1.0", "latest", "v1", "v2", "v3"]);
    let missing = get(port, &path(&host, "other", "tags/list"));
    assert_eq!((missing.status, missing.error().0.as_str()), (404, "NAME_UNKNOWN"));
    // Nothing of it is kept; when the upstream is away, the tags are those that were pulled.
    assert_eq!(pull(port, &host, "app", "v1", &image), Ok(()));
    registry.fail("GET /v2/app/tags/", Fault::Status(500, vec![], "{}".into()), 1000);
    assert_eq!(tags(port, &list), ["v1"]);
    registry.fail("GET /v2/other/tags/", Fault::Status(500, vec![], "{}".into()), 1000);
    assert_eq!(get(port, &path(&host, "other", "tags/list")).status, 502);
}

#[test]
fn what_is_about_a_copy_is_found_by_its_tag() {
    let registry = Registry::start();
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let about = registry.image("app", Some(&image.digest.replace(':', "-")), "linux/amd64", &[&bytes(10, 2)]);
    let stage = Stage::before(&registry);
    let (port, host) = (stage.port(), registry.host());
    assert_eq!(pull(port, &host, "app", "latest", &image), Ok(()));
    assert_eq!(get(port, &path(&host, "app", &format!("referrers/{}", image.digest))).status, 404);
    assert_eq!(get(port, &format!("/v2/own/referrers/{}", image.digest)).status, 200, "nothing is about what is ours");
    assert_eq!(pull(port, &host, "app", &image.digest.replace(':', "-"), &about), Ok(()));
}

#[test]
fn an_upstream_that_has_it_too_does_not_stand_in_for_a_push() {
    let registry = Registry::start();
    let image = registry.image("app", Some("latest"), "linux/amd64", &[&bytes(1000, 1)]);
    let lines = format!("[registry]\ndefault_upstream = \"{}\"\n", registry.host());
    let stage = Stage::with(&(lines + &crate::stage::entry(&registry.host(), "private = true\n")));
    let layer = format!("/v2/app/blobs/{}", suite::registry::digest(&image.layers[0]));
    assert_eq!(get(stage.port(), "/v2/app/manifests/latest").status, 200);
    assert_eq!(get(stage.port(), &layer).status, 200);
    // Who pushes asks so, and would leave out what is "there".
    assert_eq!(head(stage.port(), &layer).status, 404);
    assert_eq!(head(stage.port(), &format!("{layer}?ns={}", registry.host())).status, 200);
}

#[test]
fn skopeo_lists_and_pulls_through() {
    if !installed(&["skopeo"]) {
        return;
    }
    let registry = Registry::start();
    let image = registry.image("app", Some("v1"), "linux/amd64", &[&bytes(70_000, 1), &bytes(300_000, 2)]);
    registry.image("app", Some("v2"), "linux/amd64", &[&bytes(10, 1)]);
    let lines = format!("[registry]\ndefault_upstream = \"{}\"\n", registry.host());
    let stage = Stage::with(&(lines + &crate::stage::entry(&registry.host(), "private = true\n")));
    let directory = tempfile::tempdir().expect("a directory");
    let to = format!("dir:{}", directory.path().display());
    let skopeo = |arguments: &[&str]| {
        let done = Command::new(program("skopeo")).args(arguments).output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    let from = |tag: &str| format!("docker://127.0.0.1:{}/app{tag}", stage.port());
    let list: Value = serde_json::from_slice(&skopeo(&["list-tags", "--tls-verify=false", &from("")])).expect("JSON");
    assert_eq!(list["Tags"], serde_json::json!(["v1", "v2"]));
    skopeo(&["copy", "--src-tls-verify=false", "--insecure-policy", &from(":v1"), &to]);
    assert_eq!(std::fs::read(directory.path().join("manifest.json")).expect("a manifest"), image.manifest);
}

//! The repository over HTTP, as other clients than `ostree` may ask.

use std::fs;

use suite::clients::installed;

use crate::stage::{Built, Mirror, Stage, build};

const LARGE: usize = 3 << 20;

/// A commit with a file of 3 MiB that deflates badly, and its `.filez` path.
fn large() -> (tempfile::TempDir, Built) {
    let place = tempfile::tempdir().expect("a directory");
    let source = place.path().join("tree");
    fs::create_dir(&source).expect("a directory");
    let mut state = 7_u32;
    let bytes: Vec<u8> = (0..LARGE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 25) as u8
        })
        .collect();
    fs::write(source.join("large"), bytes).expect("a file");
    fs::write(source.join("small"), "small").expect("a file");
    let built = build(place.path(), &source);
    (place, built)
}

fn objects_of(built: &Built, extension: &str) -> Vec<(String, Vec<u8>)> {
    let entries = suite::bst1::objects(&built.repository).into_iter().filter(|entry| entry.name.ends_with(extension));
    entries.map(|entry| (format!("/objects/{}/{}", &entry.name[..2], &entry.name[2..]), entry.bytes)).collect()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_current_when_a_push_is_acknowledged() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (head, empty) = stage.get("/summary", "").await;
    assert!(head.starts_with("HTTP/1.1 200") && !empty.is_empty(), "{head}");
    assert_eq!(field(&head, "cache-control"), Some("no-cache"));
    let before = field(&head, "etag").expect("a tag").to_owned();
    let unchanged = format!("If-None-Match: {before}\r\n");
    assert!(stage.get("/summary", &unchanged).await.0.starts_with("HTTP/1.1 304"));
    let (_place, built) = large();
    for number in 0..5 {
        let name = format!("p/e{number}/key");
        stage.publish(&built, &[&name]).await;
        let (head, summary) = stage.get("/summary", &unchanged).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(summary.windows(name.len()).any(|part| part == name.as_bytes()), "{name} is in the summary");
        assert_eq!(stage.get("/summary", "").await.1, summary);
    }
    // What is evicted or unbound is gone from it, too.
    let all = kernel::Caller::known("test", vec![kernel::Grant::everywhere(kernel::Rights::ALL)]);
    let space = stage.hub.enter(&all, "main").expect("it is there");
    let name = model::Name::new("ostree/artifacts/ref/p/e3/key").expect("a name");
    space.unbind(&name, model::When::Always).await.expect("it was bound");
    let (_, summary) = stage.get("/summary", "").await;
    assert!(!summary.windows(8).any(|part| part == b"p/e3/key"));
    assert!(summary.windows(8).any(|part| part == b"p/e4/key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_404_and_writing_is_not_offered() {
    let stage = Stage::new().await;
    for path in [
        "/summary.sig",
        "/deltas/ab/cdef/superblock",
        "/delta-indexes/ab/cdef.index",
        "/refs/heads/p/e/none",
        "/refs/heads/../../config",
        "/refs/heads",
        "/objects/00/00.commit",
        "/objects/",
        "/tmp/x",
        "/.lock",
        "",
        "/",
        "/objects/6e/340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d.dirtree",
        "/objects/6e/340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d.filez",
    ] {
        let (head, _) = stage.get(path, "").await;
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
    }
    let (head, body) = stage.get("/config", "").await;
    assert!(head.starts_with("HTTP/1.1 200") && String::from_utf8_lossy(&body).contains("mode=archive-z2"));
    for method in ["PUT", "POST", "DELETE"] {
        let (head, _) = stage.ask(method, "/config", "Content-Length: 0\r\n").await;
        assert!(head.starts_with("HTTP/1.1 405") && field(&head, "allow") == Some("GET, HEAD"), "{head}");
    }
    let (head, body) = stage.ask("HEAD", "/config", "").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && body.is_empty() && field(&head, "content-length") == Some("38"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_whole_in_ranges_and_only_when_they_changed() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = large();
    stage.publish(&built, &["p/e/key"]).await;
    for (path, bytes) in [".commit", ".dirtree", ".dirmeta"].iter().flat_map(|end| objects_of(&built, end)) {
        let (head, body) = stage.get(&path, "").await;
        assert!(head.starts_with("HTTP/1.1 200") && body == bytes, "{path}: {head}");
        assert_eq!(field(&head, "cache-control"), Some("public, max-age=31536000, immutable"));
    }
    let files = objects_of(&built, ".filez");
    let (path, bytes) = files.iter().max_by_key(|(_, bytes)| bytes.len()).expect("the large one");
    let (head, body) = stage.get(path, "").await;
    assert!(body == *bytes, "a large file comes as it was pushed: {head}");
    let tag = field(&head, "etag").expect("a tag").to_owned();
    assert!(stage.get(path, &format!("If-None-Match: {tag}\r\n")).await.0.starts_with("HTTP/1.1 304"));
    let (head, body) = stage.get(path, "Range: bytes=1000000-\r\n").await;
    assert!(head.starts_with("HTTP/1.1 206") && body == bytes[1_000_000..], "{head}");
    assert_eq!(field(&head, "content-range"), Some(&*format!("bytes 1000000-{}/{}", bytes.len() - 1, bytes.len())));
    let (head, body) = stage.get(path, "Range: bytes=5-9\r\nIf-Range: \"other\"\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.len() == bytes.len(), "{head}");
    let (head, _) = stage.get(path, &format!("Range: bytes={}-\r\n", bytes.len())).await;
    assert!(head.starts_with("HTTP/1.1 416"), "{head}");
    let (head, body) = stage.ask("HEAD", path, "").await;
    assert!(body.is_empty() && field(&head, "content-length") == Some(&*bytes.len().to_string()), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendering_is_shared_while_it_is_made() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = large();
    stage.publish(&built, &["p/e/key"]).await;
    let all = kernel::Caller::known("test", vec![kernel::Grant::everywhere(kernel::Rights::ALL)]);
    let space = stage.hub.enter(&all, "main").expect("it is there");
    for (name, _) in space.list("memo/", None, 10).await.expect("names") {
        space.unbind(&name, model::When::Always).await.expect("it was bound");
    }
    let files = objects_of(&built, ".filez");
    let (path, pushed) = files.iter().max_by_key(|(_, bytes)| bytes.len()).expect("the large one");
    let asked = futures::future::join_all((0..8).map(|_| stage.get(path, ""))).await;
    let plain: Vec<Vec<u8>> = asked.into_iter().map(|(head, body)| content(&head, body)).collect();
    assert!(plain.iter().all(|body| body == &plain[0]));
    assert!(plain[0] != *pushed, "another level, other bytes");
    // It is remembered once the last client has it.
    suite::hostile::until("it is remembered", async || space.list("memo/", None, 10).await.expect("names").len() == 1)
        .await;
    let (head, stored) = stage.get(path, "").await;
    assert!(field(&head, "etag").is_some() && stored == plain[0], "{head}");
    Mirror::of(&stage.url(), &[]).await.pull("p/e/key").await;
}

/// A body without its chunks.
fn content(head: &str, mut body: Vec<u8>) -> Vec<u8> {
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    if field(head, "transfer-encoding") != Some("chunked") {
        return body;
    }
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = usize::from_str_radix(&String::from_utf8_lossy(&body[..end]), 16).expect("a number");
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body.drain(..end + 4 + size);
        if size == 0 {
            return whole;
        }
    }
}

//! What was pushed is pulled and equal.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use suite::clients::{installed, tree};

use crate::stage::{Mirror, Stage, build};

/// Bytes that do not deflate.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..size.div_ceil(4))
        .flat_map(|_| u32::try_from(next() & 0xffff_ffff).unwrap_or(0).to_le_bytes())
        .take(size)
        .collect()
}

fn sample(at: &Path) {
    fs::create_dir_all(at.join("files/empty directory")).expect("a directory");
    fs::create_dir_all(at.join("logs")).expect("a directory");
    fs::write(at.join("files/empty"), b"").expect("a file");
    fs::write(at.join("files/small"), b"hello\n").expect("a file");
    fs::write(at.join("files/gr\u{fc}n"), b"not ASCII").expect("a file");
    fs::write(at.join("files/large"), noise(4_000_000)).expect("a file");
    fs::write(at.join("logs/build.log"), "a line of a log\n".repeat(200_000)).expect("a file");
    symlink("small", at.join("files/link")).expect("a link");
    symlink("/absolute/and/away", at.join("files/away")).expect("a link");
    fs::set_permissions(at.join("files/small"), fs::Permissions::from_mode(0o755)).expect("a mode");
    // Extended attributes out of their order; where the file system has none, the rest is still tested.
    let file = fs::File::open(at.join("files/small")).expect("a file");
    for name in ["user.zeta", "user.alpha", "user.mid"] {
        let _ = rustix::fs::fsetxattr(&file, name, b"value", rustix::fs::XattrFlags::empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_has_a_summary_from_the_first_second() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let mirror = Mirror::of(&stage.url(), &[]).await;
    let (fine, said) = mirror.run(&["remote", "summary", "-v", "hub"]).await;
    assert!(fine, "{said}");
    let (fine, said) = mirror.run(&["pull", "hub", "project/element/none"]).await;
    assert!(!fine && said.contains("No such branch"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_is_pulled_and_equal_for_ostree() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let place = tempfile::tempdir().expect("a directory");
    let source = place.path().join("tree");
    sample(&source);
    let built = build(place.path(), &source);
    stage.publish(&built, &["project/element/strong", "project/element/weak"]).await;
    let mirror = Mirror::of(&stage.url(), &[]).await;
    let (fine, said) = mirror.run(&["remote", "summary", "-v", "hub"]).await;
    assert!(fine && said.contains("project/element/strong") && said.contains(&built.commit), "{said}");
    let out = mirror.pull("project/element/weak").await;
    assert_eq!(tree(&out), tree(&source));
    let (_, commit) = mirror.run(&["rev-parse", "hub:project/element/weak"]).await;
    assert_eq!(commit.trim(), built.commit);
    // The large files came as they were pushed; when that is forgotten they are rendered.
    let names = stage.pusher().list("memo/", None, 100).await.expect("names");
    assert_eq!(names.len(), 2);
    let all = kernel::Caller::known("test", vec![kernel::Grant::everywhere(kernel::Rights::ALL)]);
    let space = stage.hub.enter(&all, "main").expect("it is there");
    for (name, _) in names {
        space.unbind(&name, model::When::Always).await.expect("it was bound");
    }
    let again = Mirror::of(&stage.url(), &[]).await;
    assert_eq!(tree(&again.pull("project/element/weak").await), tree(&source));
    let names = stage.pusher().list("memo/", None, 100).await.expect("names");
    assert_eq!(names.len(), 2, "what was rendered is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_stays_when_room_is_made() {
    if !installed(&["ostree"]) {
        return;
    }
    // Room for three of these.
    let stage = Stage::with(None, 3_500_000).await;
    let publish = async |number: usize| {
        let place = tempfile::tempdir().expect("a directory");
        let source = place.path().join("tree");
        fs::create_dir(&source).expect("a directory");
        fs::write(source.join("file"), [&noise(1_000_000)[..], number.to_string().as_bytes()].concat())
            .expect("a file");
        let built = build(place.path(), &source);
        stage.publish(&built, &[&format!("p/e{number}/key")]).await;
    };
    for number in 0..3 {
        publish(number).await;
    }
    let mirror = Mirror::of(&stage.url(), &[]).await;
    mirror.pull("p/e0/key").await;
    publish(3).await;
    assert!(stage.at("p/e0/key").await.is_some(), "the oldest was pulled just now");
    assert_eq!(stage.at("p/e1/key").await, None, "the next one went");
    let (_, said) = mirror.run(&["remote", "summary", "hub"]).await;
    assert!(said.contains("p/e0/key") && !said.contains("p/e1/key"), "{said}");
    let again = Mirror::of(&stage.url(), &[]).await;
    again.pull("p/e0/key").await;
    again.pull("p/e3/key").await;
}

//! Large files, many files, TLS.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use server::{Material, Pem, Tls};
use suite::bst1::objects;
use suite::clients::{installed, program, tree};

use crate::stage::{CLIENT, Mirror, Stage, build};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_gibibyte_and_fifty_thousand_small_ones_round_trip() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let place = tempfile::tempdir().expect("a directory");
    let source = place.path().join("tree");
    for directory in 0..50 {
        let directory = source.join(format!("files/{directory}"));
        fs::create_dir_all(&directory).expect("a directory");
        for file in 0..1000 {
            let path = directory.join(file.to_string());
            fs::write(&path, path.strip_prefix(&source).expect("below it").display().to_string()).expect("a file");
        }
    }
    // Deflates well, so that the commit is made in seconds, and no two pieces of it are the same.
    let mut large = fs::File::create(source.join("files/large")).expect("a file");
    for piece in 0..1024_u32 {
        let mut bytes = vec![0; 1 << 20];
        bytes[..4].copy_from_slice(&piece.to_le_bytes());
        large.write_all(&bytes).expect("it is written");
    }
    let built = build(place.path(), &source);
    stage.publish(&built, &["p/e/key"]).await;
    let all = kernel::Caller::known("test", vec![kernel::Grant::everywhere(kernel::Rights::ALL)]);
    let space = stage.hub.enter(&all, "main").expect("it is there");
    for (name, _) in space.list("memo/", None, 10).await.expect("names") {
        space.unbind(&name, model::When::Always).await.expect("it was bound");
    }
    let mirror = Mirror::of(&stage.url(), &[]).await;
    let rendered = mirror.pull("p/e/key").await;
    assert_eq!(tree(&rendered), tree(&source));
}

#[tokio::test(flavor = "multi_thread")]
async fn ostree_pulls_over_tls() {
    if !installed(&["ostree", "openssl"]) {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (place.path().join("server.crt"), place.path().join("server.key"));
    let options =
        "req -x509 -newkey rsa:2048 -nodes -batch -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let made = Command::new(program("openssl"))
        .args(options.split(' '))
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output();
    assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a key pair");
    let material = Material { certificate: Pem::File(certificate.clone()), key: Some(Pem::File(key)), clients: None };
    let stage = Stage::with(Some(Arc::new(Tls::open(material).expect("a key pair"))), u64::MAX).await;
    let source = place.path().join("tree");
    fs::create_dir(&source).expect("a directory");
    fs::write(source.join("file"), "over TLS").expect("a file");
    fs::write(source.join("large"), "over TLS ".repeat(500_000)).expect("a file");
    let built = build(place.path(), &source);
    stage.publish(&built, &["p/e/key"]).await;
    let mirror = Mirror::of(&stage.url(), &["--set", &format!("tls-ca-path={}", certificate.display())]).await;
    let (fine, said) = mirror.run(&["remote", "summary", "-v", "hub"]).await;
    assert!(fine && said.contains(&built.commit), "{said}");
    assert_eq!(tree(&mirror.pull("p/e/key").await), tree(&source));
    // Nobody who does not know the certificate.
    let stranger = Mirror::of(&stage.url(), &[]).await;
    assert!(!stranger.run(&["pull", "hub", "p/e/key"]).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_that_share_files_share_bytes() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let large = "something that two elements have ".repeat(100_000);
    let mut used = Vec::new();
    for number in 0..2 {
        let place = tempfile::tempdir().expect("a directory");
        let source = place.path().join("tree");
        fs::create_dir(&source).expect("a directory");
        fs::write(source.join("large"), &large).expect("a file");
        fs::write(source.join("own"), number.to_string()).expect("a file");
        let built = build(place.path(), &source);
        let (pushed, ended) =
            stage.push(CLIENT, &[(&format!("p/e{number}/key"), &built.commit)], &objects(&built.repository)).await;
        assert_eq!(ended.status, 0, "{pushed:?} {:?}", ended.said);
        let (_, victims) = stage.hub.plan("main", 0).await.expect("a plan");
        assert!(victims.is_empty());
        used.push(stage.hub.plan("main", 0).await.expect("a plan").0);
    }
    assert!(used[0] > large.len() as u64, "the first brings the file");
    assert!(used[1] - used[0] < 1000, "the second brings what is its own: {used:?}");
    // A plain file is another blob: an OSTree file begins with its owner, mode and extended attributes.
    let plain = suite::sample::blob(large.as_bytes()).digest;
    assert_eq!(stage.pusher().has(&[plain]).await.expect("an answer"), [None]);
}

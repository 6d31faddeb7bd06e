//! Every kind of image goes in and out again with equal digests: pushed as it is, pulled by a client, pushed by that
//! client to another repository, and read there byte by byte.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use suite::clients::{as_root, installed, program};
use suite::layout::{CONFIG, INDEX, Layer, Layout, MANIFEST, TAR, tar};

use crate::stage::{Access, Stage, block};

/// Bytes that nobody has.
const NOBODY: &str = "sha256:4444444444444444444444444444444444444444444444444444444444444444";

/// Sends bytes through a program.
fn through(name: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program(name));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a program");
    let (mut input, bytes) = (child.stdin.take().expect("its input"), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("a thread").expect("it reads all");
    assert!(output.status.success(), "{name}");
    output.stdout
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    through("gzip", &["-n"], tar)
}

fn content(word: &str) -> Vec<u8> {
    word.repeat(3000).into_bytes()
}

fn layered(pack: impl Fn(&Layout) -> Layer) -> Layout {
    let layout = Layout::new();
    let layers = [pack(&layout), layout.layer("second", 0o644, b"second")];
    let root = layout.image(&layers, &["/first"]);
    layout.tagged(&root)
}

fn plain() -> Layout {
    layered(|layout| layout.layer("first", 0o755, &content("plain")))
}

fn gzipped() -> Layout {
    let media = "application/vnd.oci.image.layer.v1.tar+gzip";
    layered(|layout| layout.packed(media, &tar("first", 0o755, &content("gzip")), gzip))
}

fn zstandard() -> Layout {
    let media = "application/vnd.oci.image.layer.v1.tar+zstd";
    let pack = |tar: &[u8]| through("zstd", &["-q", "-c"], tar);
    layered(|layout| layout.packed(media, &tar("first", 0o755, &content("zstd")), pack))
}

fn schema_2() -> Layout {
    let layout = Layout::new();
    let media = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layers = [layout.packed(media, &tar("first", 0o755, &content("docker")), gzip)];
    let mut config = layout.config(&layers, &["/first"]);
    config["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    let mut manifest = layout.manifest(&config, &layers);
    let media = "application/vnd.docker.distribution.manifest.v2+json";
    manifest["mediaType"] = media.into();
    let root = layout.document(media, &manifest);
    layout.tagged(&root)
}

fn platforms(layout: &Layout, words: [&str; 2]) -> Vec<Value> {
    let platform = |(word, architecture): (&str, &str)| {
        let mut image = layout.image(&[layout.layer("first", 0o755, &content(word))], &["/first"]);
        image["platform"] = json!({ "os": "linux", "architecture": architecture });
        image
    };
    words.into_iter().zip(["amd64", "arm64"]).map(platform).collect()
}

fn index() -> Layout {
    let layout = Layout::new();
    let root = layout.index(&platforms(&layout, ["one", "two"]));
    layout.tagged(&root)
}

fn nested() -> Layout {
    let layout = Layout::new();
    let inner = layout.index(&platforms(&layout, ["three", "four"]));
    let root = layout.index(&[platforms(&layout, ["five", "six"]).remove(0), inner]);
    layout.tagged(&root)
}

fn custom_fields() -> Layout {
    let layout = Layout::new();
    let layers = [layout.layer("first", 0o755, b"custom")];
    let mut manifest = layout.manifest(&layout.config(&layers, &["/first"]), &layers);
    manifest["org.example.field"] = json!({ "kept": ["as", "it", 1.50, null] });
    manifest["annotations"] = json!({ "org.example": "\u{e9}\u{1f980}" });
    let mut text = serde_json::to_vec_pretty(&manifest).expect("JSON");
    text.extend_from_slice(b"\n\n");
    let root = layout.blob(MANIFEST, &text);
    layout.tagged(&root)
}

fn many_layers() -> Layout {
    let layout = Layout::new();
    let layer = |number: u32| layout.layer(&format!("file-{number}"), 0o644, number.to_string().as_bytes());
    let layers: Vec<Layer> = (0..120).map(layer).collect();
    let root = layout.image(&layers, &["/file-0"]);
    layout.tagged(&root)
}

/// A layer of no bytes at all: not even an archive, but a blob that must be taken.
fn empty_blob() -> Layout {
    let layout = Layout::new();
    let layers = [layout.packed("application/octet-stream", &[], <[u8]>::to_vec)];
    let config = layout.blob("application/vnd.example.config+json", b"{}");
    let root = layout.document(MANIFEST, &layout.manifest(&config, &layers));
    layout.tagged(&root)
}

fn without_layers() -> Layout {
    let layout = Layout::new();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let mut manifest = layout.manifest(&config, &[]);
    manifest["artifactType"] = "application/vnd.example.note".into();
    let root = layout.document(MANIFEST, &manifest);
    layout.tagged(&root)
}

fn foreign_layers() -> Layout {
    let layout = Layout::new();
    let layer = layout.layer("first", 0o755, b"foreign");
    let media = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let urls = ["http://localhost:1/not-there"];
    let foreign = json!({ "mediaType": media, "digest": NOBODY, "size": 12_345, "urls": urls });
    let layers = [Layer { descriptor: foreign, diff_id: NOBODY.into() }, layer];
    let root = layout.image(&layers, &["/first"]);
    layout.tagged(&root)
}

fn large() -> Layout {
    let layout = Layout::new();
    let layers = [layout.large(1 << 30)];
    let root = layout.image(&layers, &["/large"]);
    layout.tagged(&root)
}

/// Pushes it as it is, carries it over by skopeo, and reads the other side.
fn carried(stage: &Stage, name: &str, layout: &Layout) {
    let (api, address) = (stage.api(), stage.plain());
    let (from, to) = (format!("kinds/{name}"), format!("carried/{name}"));
    block(async { api.push(&from, Some("1"), layout).await }).expect(name);
    let whole = block(async { api.pull(&from, "1").await }).expect(name);
    assert_eq!(whole, layout.digest(), "{name}");
    let lines = format!(
        "skopeo copy -q --all --preserve-digests docker://{address}/{from}:1 dir:{name}
         skopeo copy -q --all --preserve-digests dir:{name} docker://{address}/{to}:1
         rm -r {name}"
    );
    stage.station.run(&lines).ok();
    let whole = block(async { api.pull(&to, "1").await }).expect(name);
    assert_eq!(whole, layout.digest(), "{name}");
}

fn stage() -> Option<Stage> {
    let needed = ["skopeo", "zstd", "openssl", "htpasswd", "nginx"];
    (installed(&needed) && as_root()).then(|| Stage::new(Access::Open))
}

#[test]
fn every_kind_of_image_keeps_its_digests() {
    let Some(stage) = stage() else { return };
    type Made = fn() -> Layout;
    let kinds: [(&str, Made); 9] = [
        ("plain", plain),
        ("gzip", gzipped),
        ("zstd", zstandard),
        ("schema-2", schema_2),
        ("index", index),
        ("custom-fields", custom_fields),
        ("120-layers", many_layers),
        ("empty-blob", empty_blob),
        ("without-layers", without_layers),
    ];
    for (name, make) in kinds {
        carried(&stage, name, &make());
    }
}

#[test]
fn an_image_with_a_layer_of_a_gibibyte_keeps_its_digests() {
    let Some(stage) = stage() else { return };
    carried(&stage, "large", &large());
}

/// Kinds that this skopeo does not carry: nested indexes it flattens, and of foreign layers it asks their own hosts.
#[test]
fn kinds_that_clients_do_not_carry_keep_their_digests() {
    let Some(stage) = stage() else { return };
    let api = stage.api();
    for (name, layout) in [("nested", nested()), ("foreign", foreign_layers())] {
        block(async { api.push(name, Some("1"), &layout).await }).expect(name);
        assert_eq!(block(async { api.pull(name, "1").await }).expect(name), layout.digest());
    }
}

#[test]
fn containerd_carries_indexes_of_indexes() {
    if !installed(&["containerd", "ctr"]) {
        return;
    }
    let Some(mut stage) = stage() else { return };
    if !stage.station.containerd() {
        return;
    }
    let (api, layout) = (stage.api(), nested());
    block(async { api.push("nested/from", Some("1"), &layout).await }).expect("a push");
    let (from, to) = (format!("{}/nested/from:1", stage.plain()), format!("{}/nested/to:1", stage.plain()));
    let lines = format!(
        "ctr content fetch --plain-http --all-platforms {from}
         ctr images push --plain-http {to} {from}"
    );
    stage.station.run(&lines).ok();
    assert_eq!(block(async { api.pull("nested/to", "1").await }).expect("a pull"), layout.digest());
}

#[test]
fn artifacts_are_found_by_what_they_are_about() {
    let Some(stage) = stage() else { return };
    let (api, subject) = (stage.api(), plain());
    carried(&stage, "subject", &subject);
    let layout = Layout::new();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let mut manifest = layout.manifest(&config, &[layout.packed("text/plain", b"about", <[u8]>::to_vec)]);
    manifest["subject"] = subject.root();
    manifest["artifactType"] = "application/vnd.example.signature".into();
    let root = layout.document(MANIFEST, &manifest);
    let layout = layout.tagged(&root);
    // Beside what it is about, and by a client that knows nothing of subjects.
    carried(&stage, "artifact", &layout);
    block(async { api.push("kinds/subject", None, &layout).await }).expect("a push");
    let path = format!("kinds/subject/referrers/{}", subject.digest());
    let (status, found) = block(async { api.get(&path).await }).expect("referrers");
    let found: Value = serde_json::from_slice(&found).expect("JSON");
    assert_eq!((status.as_u16(), &found["mediaType"]), (200, &json!(INDEX)));
    assert_eq!(found["manifests"][0]["digest"], layout.root()["digest"], "{found}");
    assert_eq!(found["manifests"][0]["artifactType"], "application/vnd.example.signature");
}

#[test]
fn what_is_named_by_sha512_is_found_by_it() {
    let Some(stage) = stage() else { return };
    let (api, layout) = (stage.api(), Layout::new());
    let layer = Layer { descriptor: layout.blob512(TAR, &tar("first", 0o755, b"long")), diff_id: NOBODY.into() };
    let config = layout.blob512(CONFIG, b"{}");
    let text = layout.manifest(&config, &[layer]).to_string();
    let root = layout.blob512(MANIFEST, text.as_bytes());
    let layout = layout.tagged(&root);
    block(async { api.push("long", None, &layout).await }).expect("a push");
    let digest = layout.digest();
    assert_eq!(block(async { api.pull("long", &digest).await }).expect("a pull"), digest);
    // skopeo 1.9 checks manifests by SHA-256 alone: no client of this system pulls it by this digest.
}

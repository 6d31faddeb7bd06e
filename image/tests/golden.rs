//! Augmentation held to files: what was there, the recipe, and what must come out, byte for byte. The results in
//! `golden/` were computed by another program, in another language.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::{Base, Platform, Recipe, Replaced, augment, augment_index, wanted};
use model::Meaning;
use sha2::{Digest, Sha256};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn bytes(path: &str) -> Vec<u8> {
    fs::read(golden(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text(path: &str) -> String {
    String::from_utf8(bytes(path)).expect("text")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_case_comes_out_as_written() {
    let mut cases = 0;
    for case in fs::read_dir(golden("")).expect("the cases") {
        let case = case.expect("a case").file_name().into_string().expect("text");
        if !golden(&format!("{case}/recipe.json")).exists() {
            continue;
        }
        let (manifest, config) = (bytes(&format!("{case}/manifest.json")), bytes(&format!("{case}/config.json")));
        let recipe: Recipe = serde_json::from_slice(&bytes(&format!("{case}/recipe.json"))).expect("a recipe");
        let base = Base { manifest: &manifest, sent_as: None, config: &config };
        let found = augment(&base, &recipe, None).unwrap_or_else(|error| panic!("{case}: {error}"));
        for (document, name) in [(&found.config, "config"), (&found.manifest, "manifest")] {
            let made = String::from_utf8(document.bytes.to_vec()).expect("text");
            assert_eq!(made, text(&format!("{case}/after.{name}.json")), "{case}: {name}");
            assert_eq!(document.blob.digest.to_string(), sha256(&document.bytes), "{case}: {name}");
            assert_eq!(document.blob.size, document.bytes.len() as u64, "{case}: {name}");
        }
        assert_eq!(augment(&base, &recipe, None).expect("again"), found, "{case}");
        cases += 1;
    }
    assert!(cases >= 10, "only {cases} cases were found");
}

#[test]
fn an_index_keeps_all_its_entries() {
    let index = bytes("index/index.json");
    let replaced: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&bytes("index/replaced.json")).expect("a map");
    let replaced: Vec<Replaced> = replaced
        .iter()
        .map(|(old, new)| {
            let digest: image::ContentDigest = new["digest"].as_str().expect("text").parse().expect("a digest");
            let new =
                model::Blob { digest: digest.sha256().expect("SHA-256"), size: new["size"].as_u64().expect("a size") };
            Replaced { old: old.parse().expect("a digest"), new }
        })
        .collect();
    let made = augment_index(&index, None, &replaced).expect("an index");
    assert_eq!(String::from_utf8(made.bytes.to_vec()).expect("text"), text("index/after.index.json"));
    assert_eq!(augment_index(&index, None, &[]).expect("an index").bytes, index);
    let sizes = |platform: Option<&str>| {
        let platform: Option<Platform> = platform.map(|platform| platform.parse().expect("a platform"));
        let found = wanted(&index, None, platform.as_ref()).expect("entries");
        found.iter().map(|entry| entry.size).collect::<Vec<_>>()
    };
    // The attestation (13) never; the inner index (14) always; what says no platform (15) only where all are asked for.
    assert_eq!(sizes(Some("linux/amd64")), [11, 14, 11]);
    assert_eq!(sizes(Some("arm64")), [12, 14]);
    assert_eq!(sizes(None), [11, 12, 14, 11, 15]);
    let other = Replaced { old: format!("sha256:{}", "0".repeat(64)).parse().expect("a digest"), new: replaced[0].new };
    assert_eq!(augment_index(&index, None, &[other]).expect_err("not in it").meaning(), &Meaning::Absent);
}

/// An index in an index: from the inside out, as whoever has the documents does it.
#[test]
fn nested_indexes_are_made_from_the_inside_out() {
    let (manifest, config) = (bytes("hello-world/manifest.json"), bytes("hello-world/config.json"));
    let inner = text("hello-world/list.json");
    let entry = |of: &str| format!(r#""digest":"sha256:{}","size":{}"#, sha256(of.as_bytes()), of.len());
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let outer = format!(r#"{{"mediaType":"{list}","manifests":[{{"mediaType":"{list}",{}}}]}}"#, entry(&inner));
    let amd64: Platform = "linux/amd64".parse().expect("a platform");
    let found = wanted(outer.as_bytes(), None, Some(&amd64)).expect("the inner index");
    let images = wanted(inner.as_bytes(), None, Some(&amd64)).expect("one image");
    assert_eq!((found.len(), images.len()), (1, 1));
    let recipe = Recipe { env: vec!["A=b".into()], ..Recipe::default() };
    let made = augment(&Base { manifest: &manifest, sent_as: None, config: &config }, &recipe, Some(&amd64))
        .expect("an image");
    let new = [Replaced { old: images[0].digest.clone(), new: made.manifest.blob }];
    let inner = augment_index(inner.as_bytes(), None, &new).expect("the inner index");
    let new = [Replaced { old: found[0].digest.clone(), new: inner.blob }];
    let outer = augment_index(outer.as_bytes(), None, &new).expect("the outer index");
    let expected = format!(
        r#"{{"mediaType":"{list}","manifests":[{{"mediaType":"{list}",{}}}]}}"#,
        entry(str::from_utf8(&inner.bytes).expect("text"))
    );
    assert_eq!(outer.bytes, expected.as_bytes());
    let none = wanted(&inner.bytes, None, Some(&"linux/sparc".parse().expect("a platform"))).expect_err("none");
    assert!(none.text().contains("linux/sparc") && none.text().contains("linux/arm/v7"), "{none}");
}

#[test]
fn what_cannot_be_augmented_names_the_field() {
    let (manifest, config) = (text("oci-everything/manifest.json"), text("oci-everything/config.json"));
    let recipe: Recipe = serde_json::from_slice(&bytes("oci-everything/recipe.json")).expect("a recipe");
    let refused = |manifest: &str, config: &str, recipe: &Recipe| {
        let base = Base { manifest: manifest.as_bytes(), sent_as: None, config: config.as_bytes() };
        augment(&base, recipe, None).expect_err("refused")
    };
    let sealed = |config: &str| {
        let old: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        let pointer = &old["config"];
        let text = manifest
            .replace(pointer["digest"].as_str().expect("text"), &format!("sha256:{}", sha256(config.as_bytes())));
        text.replace(&format!("\"size\": {}", pointer["size"]), &format!("\"size\": {}", config.len()))
    };
    let error = refused(&manifest, "{}", &recipe);
    assert_eq!(error.meaning(), &Meaning::Mismatch);
    for (config, field, meaning) in [
        ("{}", "config.rootfs", Meaning::Unsupported),
        ("[]", "config", Meaning::Malformed),
        (r#"{"rootfs":{"diff_ids":3}}"#, "config: rootfs.diff_ids", Meaning::Malformed),
        (r#"{"rootfs":{},"config":[]}"#, "config: config", Meaning::Malformed),
        (r#"{"rootfs":{},"config":{"Env":"A=b"}}"#, "config: config.Env", Meaning::Malformed),
        (r#"{"rootfs":{},"config":{"Entrypoint":{}}}"#, "config: config.Entrypoint", Meaning::Malformed),
        (r#"{"rootfs":{},"history":[1]}"#, "config: history[0]", Meaning::Malformed),
        (r#"{"rootfs":{},"rootfs":{}}"#, "config: the field \"rootfs\" is there twice", Meaning::Malformed),
    ] {
        let error = refused(&sealed(config), config, &recipe);
        assert_eq!(error.meaning(), &meaning, "{config}: {error}");
        assert!(error.text().starts_with(field), "{config}: {error}");
    }
    assert_eq!(refused(&text("index/index.json"), &config, &recipe).meaning(), &Meaning::Unsupported);
    assert_eq!(refused("{\"layers\":[]}", &config, &recipe).meaning(), &Meaning::Unsupported);
    let mut wrong = recipe.clone();
    wrong.layers[1].tar_digest = "sha256:222".into();
    assert!(refused(&manifest, &config, &wrong).text().starts_with("layers[1].tarDigest"));
}

/// Wave's own results for a real image (its specification, sections 9.4 and 9.5): digest and size of the
/// configuration, the manifest and the index. Where ours differ, and why:
///
/// * A, C (added layers): ours have a history entry for each layer. Without it they are Wave's, which is checked.
/// * F: its layer has a digest of three digits and a wrong size; ours refuse it, naming the field.
#[test]
fn a_real_image_comes_out_as_waves() {
    let list = bytes("hello-world/list.json");
    let layer = r#""layers":[{"location":"https://s3.example.org/wave-layer.tar.gzip","gzipDigest":"sha256:e9d6f29eecde29c12f0d32a1bc81aa9f4fcb76f8d813b8f1a37e8af5ee6b7657","gzipSize":13219265,"tarDigest":"sha256:2648cf125a9a4c4c5c9a2d3799b3a57983b5297442d7995746273c615bc4e316"}]"#;
    let null = "\"Entrypoint\":null,\"OnBuild\":null,\"Labels\":null}";
    let shell = null.replacen("null", r#"["/bin/sh","-c","echo hi"]"#, 1);
    let tini = null.replacen("null", r#"["/tini"]"#, 1);
    for (name, recipe, entrypoint, config, manifest, index) in [
        (
            "A",
            format!("{{{layer}}}"),
            null,
            ("11c1e0119150831f777df5ce1fec59f61386e103615c15a11e6f442dbea93f68", 1543),
            ("9167a73a4b092a610603877cdbb1c11fbeaa4ffcb0752b297e97187fa191070c", 590),
            "d5cf681d99882a1322f6c6974aadddbc49e0a235bff859c6ed5bfc1e0ff33412",
        ),
        (
            "B",
            r#"{"env":["FOO=bar"]}"#.to_owned(),
            null,
            ("893015280cfbeac5dbf4836a0879ee943262d1383c504ee5c658bb4216545382", 1479),
            ("46bb8c98e0cf4e8cb077aad590882f34a8477d7b404c9aabf7fd24614be178d6", 425),
            "a7ae33c1e8b1e01d2c930e51cbc71706e3ed84f798db553ce9e720208544cc8a",
        ),
        (
            "C",
            format!(r#"{{"entrypoint":["/opt/fusion/entry.sh"],"env":["FOO=bar"],{layer}}}"#),
            null,
            ("ff8baca2de407460ff008f2e322b4ab888c57c3d48419af5dc7b0f26a832f49d", 1573),
            ("a763b7ca5e9ee6cdf4e214e3ffecff50edd2411abcaf2593d6865fae291cad26", 590),
            "00b3905410746fd4deaf4a53b89473d0e3a5a898c911b08113cf7402eeb73dfa",
        ),
        (
            "D",
            r#"{"workingDir":"/some/work/dir"}"#.to_owned(),
            null,
            ("c8ac4e1383a9712e33df36877193ec09b880565930184bf94c740cf1c894bf09", 1483),
            ("038ce23d5485997fabefbec55280b2c9cd17d7d243d15d0a417fda990c723d14", 425),
            "3010f75c6f67b4ebb7ea1641ff7c1ddf80fb7368eef238c9a2c1d89a7bf2dddb",
        ),
        (
            "E",
            r#"{"entrypoint":["my","entry"],"cmd":["run"],"workingDir":"/some/work/dir","env":["THIS=THAT"]}"#
                .to_owned(),
            null,
            ("f4776c9d047adc87a5b2a39099d578b5a82cfd9676b9d8741afe4dd3b9294b50", 1502),
            ("1661572b410f8ccc4ac2d57317a66c4560d0b4cfc62b87da2497dddc347031e4", 425),
            "00148ca5972dde3ed0de44029fc97697d1a9c5c5dffff1ff77eef15360c89113",
        ),
        (
            "G",
            r#"{"env":["FOO=bar"]}"#.to_owned(),
            &*shell,
            ("898c1d7c7fc5f6bcb4e5ae1eb0aefcc4bf409acc8d71ac9834975dc5e04ff3f0", 1553),
            ("96aa9c3697ecaaa404dfd862e16a8fddd03204ddb2c83140078e183896525c39", 425),
            "926fc6a1255a258056c3bce04d46f1196fd7ac8e23b95d63e760b0171fa0c56b",
        ),
        (
            "H",
            r#"{"env":["FOO=bar"]}"#.to_owned(),
            &*tini,
            ("5c6d67d742184f2885ec08b2465988cfbfa6f4b13f581da0b2d8214d56634ade", 1509),
            ("28cffef40fe69439d9d0b1ea0dc0aaaa2f8fd83dc7982e90bb896ff29ada94c6", 425),
            "e7e50f2f3524263a20243fc43c5fc28d490938b05a407d46126f7239f80a6ed8",
        ),
    ] {
        let recipe: Recipe = serde_json::from_str(&recipe).expect("a recipe");
        // The first of two: what the image runs, not what its builder ran.
        let base_config = text("hello-world/config.json").replacen(null, entrypoint, 1);
        let base_manifest = text("hello-world/manifest.json")
            .replace(
                "feb5d9fea6a5e9606aa995e879d862b825965ba48de054caab5ef356dc6b3412",
                &sha256(base_config.as_bytes()),
            )
            .replace("\"size\": 1469", &format!("\"size\": {}", base_config.len()));
        let base = Base { manifest: base_manifest.as_bytes(), sent_as: None, config: base_config.as_bytes() };
        let made = augment(&base, &recipe, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let step = r#",{"created":"2021-09-23T23:47:57.442225064Z","created_by":"entrepot augment","comment":"sha256:e9d6f29eecde29c12f0d32a1bc81aa9f4fcb76f8d813b8f1a37e8af5ee6b7657"}"#;
        let ours = str::from_utf8(&made.config.bytes).expect("text");
        assert_eq!(ours.matches(step).count(), recipe.layers.len(), "{name}");
        let config_text = ours.replace(step, "");
        assert_eq!((&*sha256(config_text.as_bytes()), config_text.len()), config, "{name}: config");
        let manifest_text = str::from_utf8(&made.manifest.bytes).expect("text");
        let manifest_text = manifest_text
            .replace(&made.config.blob.digest.to_string(), config.0)
            .replace(&format!("\"size\":{}", made.config.blob.size), &format!("\"size\":{}", config.1));
        assert_eq!((&*sha256(manifest_text.as_bytes()), manifest_text.len()), manifest, "{name}: manifest");
        let old = "sha256:f54a58bc1aac5ea1a25d796ae155dc228b3f0e11d046ae276b39c4bf2f13d8c4".parse().expect("a digest");
        let new = model::Blob { digest: manifest.0.parse().expect("a digest"), size: manifest.1 as u64 };
        let made = augment_index(&list, None, &[Replaced { old, new }]).expect("an index");
        assert_eq!((made.blob.digest.to_string().as_str(), made.blob.size), (index, 2550), "{name}: index");
    }
    let f = format!(
        r#"{{"layers":[{{"location":"data:SGVsbG8gd29ybGQ=","gzipDigest":"sha256:{}","gzipSize":100,"tarDigest":"sha256:222"}}]}}"#,
        sha256(b"Hello world")
    );
    let recipe: Recipe = serde_json::from_str(&f).expect("a recipe");
    assert!(recipe.check().expect_err("three digits").text().starts_with("layers[0].tarDigest"));
}

//! What holds for any image and any recipe.

use image::{Base, ContentDigest, ENTRY_CHAIN, ExtraLayer, Manifest, Recipe, augment};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Any JSON, as vendors put it into documents.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), members(inner).prop_map(Value::from)]
    })
}

fn members(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    // No field of a specification begins like this.
    btree_map("x-[a-z\"\\\\é/]{0,8}", of, 0..4).prop_map(|members| members.into_iter().collect())
}

fn variables() -> impl Strategy<Value = Vec<String>> {
    vec("[A-D]=[ -~é]{0,6}", 0..5)
}

#[derive(Debug, Clone)]
struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    unknown: [Map<String, Value>; 3],
    env: Vec<String>,
    layers: usize,
}

fn images() -> impl Strategy<Value = Image> {
    let shape = (0..4_usize, any::<bool>(), any::<bool>(), proptest::option::of(vec("[ -~]{1,5}", 0..3)));
    let unknown = [members(anything()), members(anything()), members(anything())];
    (shape, unknown, variables()).prop_map(|((layers, docker, pretty, entrypoint), unknown, env)| {
        let diff_ids: Vec<_> = (0..layers).map(|at| digest(&at.to_be_bytes())).collect();
        let mut config = json!({"config": {"Env": env, "Entrypoint": entrypoint}, "architecture": "amd64",
            "rootfs": {"diff_ids": diff_ids, "type": "layers"}});
        config.as_object_mut().expect("an object").extend(unknown[0].clone());
        config["config"].as_object_mut().expect("an object").extend(unknown[1].clone());
        let write = |value: &Value| if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
        let config = write(&config).expect("JSON");
        let media_type = if docker { image::DOCKER_MANIFEST } else { image::OCI_MANIFEST };
        let list: Vec<_> = diff_ids.iter().map(|id| json!({"mediaType": "l", "digest": id, "size": 1})).collect();
        let mut manifest = json!({"schemaVersion": 2, "mediaType": media_type, "layers": list,
            "config": {"mediaType": "c", "size": config.len(), "digest": digest(&config)}});
        manifest.as_object_mut().expect("an object").extend(unknown[2].clone());
        Image { manifest: write(&manifest).expect("JSON"), config, unknown, env, layers }
    })
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let layers = vec((any::<u32>(), 1..1000_u64, any::<bool>()), 0..3);
    (vec("[ -~é]{1,6}", 0..3), vec("[ -~]{0,6}", 0..3), variables(), layers).prop_map(
        |(entrypoint, cmd, env, layers)| {
            let layer = |(seed, size, zstd): (u32, u64, bool)| ExtraLayer {
                location: "https://example.org/layer".into(),
                gzip_digest: digest(&seed.to_be_bytes()),
                gzip_size: Some(size),
                tar_digest: digest(&seed.to_le_bytes()),
                media_type: zstd.then(|| "application/vnd.oci.image.layer.v1.tar+zstd".to_owned()),
                ..ExtraLayer::default()
            };
            Recipe { entrypoint, cmd, env, layers: layers.into_iter().map(layer).collect(), ..Recipe::default() }
        },
    )
}

fn value<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))
}

proptest! {
    #[test]
    fn documents_fit_together(image in images(), recipe in recipes()) {
        let base = Base { manifest: &image.manifest, sent_as: None, config: &image.config };
        let made = augment(&base, &recipe, None).expect("it can be augmented");
        prop_assert_eq!(&augment(&base, &recipe, None).expect("again"), &made);
        let manifest = Manifest::read(&made.manifest.bytes, None).expect("a manifest");
        let config: Value = serde_json::from_slice(&made.config.bytes).expect("JSON");
        // Each descriptor names what it should.
        let pointer = manifest.config.as_ref().expect("a config");
        prop_assert_eq!((pointer.digest.to_string(), pointer.size), (digest(&made.config.bytes), made.config.bytes.len() as u64));
        prop_assert_eq!(ContentDigest::from(made.config.blob.digest), pointer.digest.clone());
        prop_assert_eq!(ContentDigest::from(made.manifest.blob.digest).to_string(), digest(&made.manifest.bytes));
        // As many diff_ids as layers, the new ones last and in their order.
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
        prop_assert_eq!(diff_ids.len(), manifest.layers.len());
        prop_assert_eq!(diff_ids.len(), image.layers + recipe.layers.len());
        for (at, layer) in recipe.layers.iter().enumerate() {
            let at = image.layers + at;
            prop_assert_eq!(diff_ids[at].as_str(), Some(layer.tar_digest.as_str()));
            prop_assert_eq!(manifest.layers[at].digest.to_string(), layer.gzip_digest.as_str());
            prop_assert_eq!(Some(manifest.layers[at].size), layer.gzip_size);
            let family = if manifest.is_docker() { "vnd.docker" } else { "vnd.oci" };
            prop_assert!(manifest.layers[at].media_type.contains(family));
        }
        // What nobody asked to change is there.
        let whole: Value = serde_json::from_slice(&made.manifest.bytes).expect("JSON");
        for (document, unknown) in [(&config, &image.unknown[0]), (&config["config"], &image.unknown[1]), (&whole, &image.unknown[2])] {
            for (name, kept) in unknown {
                prop_assert_eq!(&document[name], kept, "{}", name);
            }
        }
        // The environment means what both said, and the chain is there at most once.
        let env: Vec<String> = serde_json::from_value(config["config"]["Env"].clone()).expect("a list");
        for name in ["A", "B", "C", "D"] {
            prop_assert_eq!(value(&env, name), value(&recipe.env, name).or(value(&image.env, name)));
        }
        prop_assert!(env.iter().filter(|variable| variable.starts_with(ENTRY_CHAIN)).count() <= 1);
    }

    #[test]
    fn an_empty_recipe_changes_nothing(image in images()) {
        let base = Base { manifest: &image.manifest, sent_as: None, config: &image.config };
        let made = augment(&base, &Recipe::default(), None).expect("an image");
        prop_assert_eq!(&made.manifest.bytes[..], &image.manifest[..]);
        prop_assert_eq!(&made.config.bytes[..], &image.config[..]);
    }

    /// The same layer as in two recipes, one after the other, is there twice: nothing is guessed.
    #[test]
    fn an_augmented_image_can_be_augmented(image in images(), first in recipes(), second in recipes()) {
        let base = Base { manifest: &image.manifest, sent_as: None, config: &image.config };
        let once = augment(&base, &first, None).expect("once");
        let base = Base { manifest: &once.manifest.bytes, sent_as: None, config: &once.config.bytes };
        let twice = augment(&base, &second, None).expect("twice");
        let manifest = Manifest::read(&twice.manifest.bytes, None).expect("a manifest");
        prop_assert_eq!(manifest.layers.len(), image.layers + first.layers.len() + second.layers.len());
        let chains = str::from_utf8(&twice.config.bytes).expect("text").matches(ENTRY_CHAIN).count();
        prop_assert!(chains <= 1);
    }

    #[test]
    fn any_bytes_are_an_image_or_an_error(manifest: Vec<u8>, config: Vec<u8>, recipe in recipes()) {
        let _ = augment(&Base { manifest: &manifest, sent_as: None, config: &config }, &recipe, None);
    }

    #[test]
    fn equal_recipes_have_equal_fingerprints(recipe in recipes(), other in recipes()) {
        let text = serde_json::to_string(&recipe).expect("JSON");
        let again: Recipe = serde_json::from_str(&text).expect("a recipe");
        prop_assert_eq!(again.fingerprint(), recipe.fingerprint());
        prop_assert_eq!(recipe == other, recipe.fingerprint() == other.fingerprint());
    }
}

#[test]
fn absent_null_and_empty_are_one() {
    let read = |text: &str| serde_json::from_str::<Recipe>(text).expect("a recipe");
    let empty = Recipe::default().fingerprint();
    for text in ["{}", r#"{"env":null,"layers":[]}"#, r#"{"workingDir":"","entrypoint":[],"labels":null}"#] {
        assert!(read(text).is_empty(), "{text}");
        assert_eq!(read(text).fingerprint(), empty, "{text}");
    }
    let layer = |more: &str| read(&format!(r#"{{"layers":[{{"location":"x"{more}}}]}}"#)).fingerprint();
    assert_eq!(layer(r#","skipHashing":true"#), layer(""));
    assert_eq!(layer(r#","mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip""#), layer(""));
    assert_ne!(layer(r#","mediaType":"application/vnd.oci.image.layer.v1.tar+zstd""#), layer(""));
    // No text runs into the next.
    assert_ne!(read(r#"{"cmd":["ab","c"]}"#).fingerprint(), read(r#"{"cmd":["a","bc"]}"#).fingerprint());
    assert_ne!(read(r#"{"cmd":["a"]}"#).fingerprint(), read(r#"{"entrypoint":["a"]}"#).fingerprint());
}

#[test]
fn a_recipe_beyond_the_bounds_is_refused() {
    let layer = || ExtraLayer {
        location: "https://example.org/l".into(),
        gzip_digest: digest(b"a"),
        gzip_size: Some(1),
        tar_digest: digest(b"b"),
        ..ExtraLayer::default()
    };
    let many = |count: usize| vec![String::from("A=b"); count];
    for (recipe, field) in [
        (Recipe { layers: vec![layer(); 101], ..Recipe::default() }, "layers"),
        (Recipe { env: many(1001), ..Recipe::default() }, "env"),
        (Recipe { cmd: vec!["x".repeat(2 << 20)], ..Recipe::default() }, "containerConfig"),
        (Recipe { cmd: vec!["a\0".into()], ..Recipe::default() }, "cmd[0]"),
        (Recipe { env: vec!["=x".into()], ..Recipe::default() }, "env[0]"),
        (Recipe { working_dir: Some("x".into()), ..Recipe::default() }, "workingDir"),
        (
            Recipe { layers: vec![ExtraLayer { location: String::new(), ..layer() }], ..Recipe::default() },
            "layers[0].location",
        ),
        (
            Recipe { layers: vec![layer(), ExtraLayer { gzip_size: Some(0), ..layer() }], ..Recipe::default() },
            "layers[1].gzipSize",
        ),
        (
            Recipe { layers: vec![ExtraLayer { gzip_size: Some(u64::MAX), ..layer() }], ..Recipe::default() },
            "layers[0].gzipSize",
        ),
        (
            Recipe {
                layers: vec![ExtraLayer { gzip_digest: format!("sha512:{}", "0".repeat(128)), ..layer() }],
                ..Recipe::default()
            },
            "layers[0].gzipDigest",
        ),
        (
            Recipe {
                layers: vec![ExtraLayer { media_type: Some("text/plain".into()), ..layer() }],
                ..Recipe::default()
            },
            "layers[0].mediaType",
        ),
    ] {
        let error = recipe.check().expect_err(field);
        assert!(error.text().starts_with(field), "{field}: {error}");
    }
    Recipe { layers: vec![layer(); 100], env: many(1000), ..Recipe::default() }.check().expect("within the bounds");
}

#[test]
fn an_image_beyond_the_bounds_is_refused() {
    let image = |config: Value| {
        let config = config.to_string();
        let pointer = json!({"digest": digest(config.as_bytes()), "size": config.len()});
        (json!({"config": pointer, "layers": []}).to_string(), config)
    };
    let recipe = Recipe { env: vec!["A=b".into()], labels: [("l".into(), "v".into())].into(), ..Recipe::default() };
    let many: Vec<_> = (0..10_001).map(|at| format!("V{at}=")).collect();
    let labels: Map<String, Value> = many.iter().map(|name| (name.clone(), "".into())).collect();
    let wide = "\u{1f600}".repeat(1_000_000);
    for (config, field) in [
        (json!({"rootfs": {}, "config": {"Env": many}}), "config: config.Env"),
        (json!({"rootfs": {}, "config": {"Labels": labels}}), "config: config.Labels"),
        // Four bytes here are twelve when they are written as ASCII.
        (json!({"rootfs": {}, "author": wide}), "config: it would have"),
    ] {
        let (manifest, config) = image(config);
        let base = Base { manifest: manifest.as_bytes(), sent_as: None, config: config.as_bytes() };
        let error = augment(&base, &recipe, None).expect_err(field);
        assert!(error.text().starts_with(field), "{field}: {error}");
        assert_eq!(error.meaning(), &model::Meaning::TooBig);
    }
}

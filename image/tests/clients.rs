//! Packed layers and augmented images in the hands of podman: it checks each digest, size and diff_id as it unpacks.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Base, Compression, ContentDigest, ExtraLayer, Member, Node, Packed, Packing, Recipe, augment, pack};
use serde_json::{Value, json};

/// A file of a layer: path, mode, text.
type File = (&'static str, u32, &'static str);

/// A layer of these files, and its compressed bytes.
fn layer(files: &[File], compression: Compression) -> (Packed, Vec<u8>) {
    let members = files.iter().map(|(path, mode, text)| Member {
        path: (*path).to_owned(),
        mode: *mode,
        node: Node::File(text.len() as u64),
    });
    let open = |member: &Member| {
        let found = files.iter().find(|(path, ..)| *path == member.path).expect("a file");
        Ok(found.2.as_bytes())
    };
    let mut packed = Vec::new();
    let how = Packing { compression, ..Packing::default() };
    let done = pack(members.collect(), open, std::io::sink(), &mut packed, how).expect("packed");
    (done, packed)
}

fn name(blob: model::Blob) -> String {
    ContentDigest::from(blob.digest).to_string()
}

fn podman(storage: &Path, arguments: &[&str]) -> Output {
    let (root, run) = (storage.join("root"), storage.join("run"));
    let mut command = Command::new("podman");
    command.arg("--root").arg(root).arg("--runroot").arg(run).args(["--storage-driver", "vfs"]).args(arguments);
    command.output().expect("podman runs")
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn podman_takes_augmented_images() {
    let there = Command::new("podman").arg("--version").output().is_ok_and(|output| output.status.success());
    let root = fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0);
    if !there || !root {
        println!("not run: augmented images in podman, because of podman or the rights of root that are missing");
        return;
    }
    let base_files = [("etc/base.txt", 0o644, "base"), ("etc/gone.txt", 0o600, "gone")];
    let extra_files =
        [("foo.txt", 0o640, "from a layer"), ("etc/.wh.gone.txt", 0, ""), ("opt/run", 0o4755, "#!/bin/sh\n")];
    let (base, base_bytes) = layer(&base_files, Compression::Gzip);
    // Schema 2 has no zstd that podman would take.
    for (docker, compression) in [(false, Compression::Gzip), (false, Compression::Zstd), (true, Compression::Gzip)] {
        let case = format!("docker: {docker}, {compression}");
        let config = json!({"architecture": "amd64", "os": "linux", "created": "2024-05-01T10:00:00Z",
            "config": {"Env": ["PATH=/bin", "A=old"], "Entrypoint": ["/app", "-v"], "Cmd": ["now"]},
            "rootfs": {"type": "layers", "diff_ids": [name(base.tar)]}, "history": [{"created_by": "base"}]});
        let config = config.to_string().into_bytes();
        let (manifest_type, config_type) = if docker {
            (image::DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
        } else {
            (image::OCI_MANIFEST, "application/vnd.oci.image.config.v1+json")
        };
        let sha256 = <sha2::Sha256 as sha2::Digest>::digest(&config);
        let pointer = format!("sha256:{}", sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type,
            "config": {"mediaType": config_type, "digest": pointer, "size": config.len()},
            "layers": [{"mediaType": Compression::Gzip.media_type(docker), "digest": name(base.packed), "size": base.packed.size}]});
        let manifest = manifest.to_string().into_bytes();
        let (extra, extra_bytes) = layer(&extra_files, compression);
        let recipe = Recipe {
            entrypoint: vec!["/opt/run".into()],
            env: vec!["A=new".into(), "B=ü".into()],
            working_dir: Some("/etc".into()),
            layers: vec![ExtraLayer {
                location: "layer".into(),
                gzip_digest: name(extra.packed),
                gzip_size: Some(extra.packed.size),
                tar_digest: name(extra.tar),
                media_type: Some(compression.media_type(false).into()),
                ..ExtraLayer::default()
            }],
            labels: [("l".to_owned(), "v".to_owned())].into(),
            ..Recipe::default()
        };
        let made =
            augment(&Base { manifest: &manifest, sent_as: None, config: &config }, &recipe, None).expect("an image");

        // The layout of podman's `dir:`: the manifest, and each blob under its digits.
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = temporary.path().join("image");
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("version"), "Directory Transport Version: 1.1\n").expect("written");
        fs::write(directory.join("manifest.json"), &made.manifest.bytes).expect("written");
        fs::write(directory.join(made.config.blob.digest.to_string()), &made.config.bytes).expect("written");
        fs::write(directory.join(base.packed.digest.to_string()), &base_bytes).expect("written");
        fs::write(directory.join(extra.packed.digest.to_string()), &extra_bytes).expect("written");
        let storage = temporary.path().join("storage");
        let id = said(podman(&storage, &["pull", "--quiet", &format!("dir:{}", directory.display())]));
        assert_eq!(id, made.config.blob.digest.to_string(), "{case}");
        let shown: Value = serde_json::from_str(&said(podman(&storage, &["image", "inspect", &id]))).expect("JSON");
        let run = &shown[0]["Config"];
        assert_eq!(run["Entrypoint"], json!(["/opt/run"]), "{case}");
        assert_eq!(run["Cmd"], json!(["now"]), "{case}");
        assert_eq!(run["Env"], json!(["PATH=/bin", "A=new", "B=ü", "WAVE_ENTRY_CHAIN=[\"/app\",\"-v\"]"]), "{case}");
        assert_eq!((&run["WorkingDir"], &run["Labels"]["l"]), (&json!("/etc"), &json!("v")), "{case}");
        assert_eq!(shown[0]["History"].as_array().map(Vec::len), Some(2), "{case}");
        let files = said(podman(&storage, &["image", "mount", &id]));
        let files = Path::new(&files);
        assert_eq!(fs::read_to_string(files.join("foo.txt")).expect("the layer's file"), "from a layer", "{case}");
        assert_eq!(fs::read_to_string(files.join("etc/base.txt")).expect("the base's file"), "base", "{case}");
        assert!(!files.join("etc/gone.txt").exists(), "{case}: the whiteout counts");
        let mode = fs::metadata(files.join("opt/run")).expect("the launcher").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o7777, 0o4755, "{case}");
        said(podman(&storage, &["image", "unmount", &id]));
    }
}

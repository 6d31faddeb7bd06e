//! `entrepot pack` and its guide, as a user runs them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::LayerFile;

const PROGRAM: &str = env!("CARGO_BIN_EXE_entrepot");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn pack<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.current_dir(directory).env_remove("SOURCE_DATE_EPOCH").arg("pack").args(arguments);
    command.output().expect("the program runs")
}

fn packed<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) {
    let output = pack(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tree() -> tempfile::TempDir {
    let temporary = tempfile::tempdir().expect("a directory");
    let inside = temporary.path().join("in");
    fs::create_dir_all(inside.join("empty")).expect("a directory");
    fs::create_dir_all(inside.join("bin")).expect("a directory");
    fs::write(inside.join("bin/run"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(inside.join("bin/run"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    fs::set_permissions(inside.join("empty"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    fs::write(inside.join(".hidden"), "x").expect("a file");
    symlink("bin/run", inside.join("link")).expect("a link");
    temporary
}

#[test]
fn a_directory_packs_the_same_each_time() {
    let temporary = tree();
    let here = temporary.path();
    for (compression, suffix) in [("gzip", "gzip"), ("zstd", "zstd")] {
        let arguments = ["in", "--compression", compression, "--entrypoint", "/bin/run", "--cmd", "-x", "--env", "A=b"];
        let run = |output: &str| {
            packed(here, &[&arguments[..], &["--output", output, "--workdir", "/w"]].concat());
            ["layer.tar", &format!("layer.tar.{suffix}"), "layer.json"].map(|name| {
                fs::read(here.join(output).join("layers").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
            })
        };
        let [tar, layer, json] = run("one");
        // Another moment, and another order in which the names were made.
        let touched = fs::File::options().append(true).open(here.join("in/.hidden")).expect("a file");
        touched.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(9)).expect("a moment");
        fs::remove_file(here.join("in/link")).expect("removed");
        symlink("bin/run", here.join("in/link")).expect("a link");
        assert!(run("two") == [tar, layer.clone(), json.clone()], "{compression}");
        let read = LayerFile::read(&json).expect("a recipe").recipe;
        assert_eq!((&read.entrypoint[..], &read.cmd[..]), (&["/bin/run".to_owned()][..], &["-x".to_owned()][..]));
        assert_eq!((&read.env[..], read.working_dir.as_deref()), (&["A=b".to_owned()][..], Some("/w")));
        assert_eq!(read.layers[0].gzip_size, Some(layer.len() as u64));
        assert_eq!(read.layers[0].location, format!("layer.tar.{suffix}"));
        assert_eq!(read.layers[0].compression().expect("a compression").to_string(), compression);
        let left: Vec<_> = fs::read_dir(here.join("one/layers")).expect("files").collect();
        assert!(
            left.iter().all(|entry| !entry.as_ref().expect("a file").file_name().to_string_lossy().starts_with('.'))
        );
    }
}

/// The tar program of the system reads what we write as we meant it.
#[test]
fn tar_unpacks_what_was_packed() {
    let temporary = tree();
    let here = temporary.path();
    let long = "long/".repeat(60) + "name";
    fs::create_dir_all(here.join("in").join(&long)).expect("directories");
    fs::write(here.join("in/grüße"), "x").expect("a file");
    packed(here, &["in"]);
    fs::create_dir(here.join("out")).expect("a directory");
    let unpacked =
        Command::new("tar").current_dir(here).args(["-xpzf", "pack/layers/layer.tar.gzip", "-C", "out"]).output();
    let unpacked = unpacked.expect("tar is here");
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    let mode = |path: &str| fs::metadata(here.join("out").join(path)).expect(path).permissions().mode() & 0o7777;
    assert_eq!((mode("bin/run"), mode("empty")), (0o4755, 0o1777));
    assert_eq!(fs::read_link(here.join("out/link")).expect("a link"), Path::new("bin/run"));
    assert_eq!(fs::read_to_string(here.join("out/.hidden")).expect("a file"), "x");
    assert_eq!(fs::read_to_string(here.join("out/grüße")).expect("a file"), "x");
    assert!(here.join("out").join(long).is_dir());
}

#[test]
fn the_output_is_not_packed_into_itself() {
    let temporary = tree();
    let inside = temporary.path().join("in");
    packed(&inside, &["."]);
    let first = fs::read(inside.join("pack/layers/layer.json")).expect("a recipe");
    packed(&inside, &["."]);
    assert_eq!(fs::read(inside.join("pack/layers/layer.json")).expect("a recipe"), first);
}

#[test]
fn what_cannot_be_packed_is_told() {
    let temporary = tree();
    let here = temporary.path();
    let said = |arguments: &[&str]| {
        let output = pack(here, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&["nowhere"]).contains("nowhere"));
    assert!(said(&["in", "--env", "A"]).contains("env[0]"));
    assert!(said(&["in", "--label", "A"]).contains("--label A"));
    assert!(said(&["in", "--workdir", "w"]).contains("workingDir"));
    assert!(said(&["in", "--level", "10"]).contains("levels up to 9"));
    let _socket = std::os::unix::net::UnixListener::bind(here.join("in/socket")).expect("a socket");
    assert!(said(&["in"]).contains("in/socket"));
    assert!(!here.join("pack/layers/layer.json").exists(), "nothing was made");
    assert_eq!(fs::read_dir(here.join("pack/layers")).expect("a directory").count(), 0, "nothing is left");
}

/// Each command of the guide runs, in its order, beside the examples.
#[test]
fn the_guide_is_right() {
    let guide = fs::read_to_string(root().join("docs/guides/layers.md")).expect("the guide");
    let blocks: Vec<_> = guide.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "only {} blocks were found", blocks.len());
    let temporary = tempfile::tempdir().expect("a directory");
    symlink(root().join("examples"), temporary.path().join("examples")).expect("a link");
    let program = Path::new(PROGRAM).parent().expect("a directory").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([program].into_iter().chain(std::env::split_paths(&path))).expect("a PATH");
    let mut command = Command::new("sh");
    command.current_dir(temporary.path()).env("PATH", path).args(["-euxc", &blocks.concat()]);
    let output = command.output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("foo.txt") && said.contains("pack/layers/layer.json: OK"), "{said}");
}

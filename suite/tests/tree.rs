//! The tree is as ARCHITECTURE.md says: dependencies point down only, the kernel knows no wire format, files are
//! small and named for what is in them, lints are not silenced, and licences are permissive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Beyond this many lines of code a file is two things.
const LINES: usize = 500;

/// What a folder may depend on.
const LAYERS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("image", &["model"]),
    ("kernel", &["model"]),
    ("catalogs", &["model"]),
    ("stores", &["model"]),
    ("upstreams", &["model", "image"]),
    ("server", &["kernel", "model"]),
    ("jobs", &["kernel", "model", "image"]),
    ("protocols", &["server", "kernel", "model", "image"]),
];

/// Folders at the top that stand above all layers.
const ABOVE: [&str; 5] = ["entrepot", "mount", "suite", "fuzz", "bench"];

/// What the kernel must not know: HTTP, gRPC, protobuf, GVariant, JSON and other formats, TLS, databases.
const NOT_IN_THE_KERNEL: &str = "axum bazel-remote-apis h2 http http-body hyper prost prost-types reqwest rusqlite \
     rustls serde_json tokio-postgres toml tonic tower zgvariant zvariant";

/// Names of drawers.
const DRAWERS: &str = "util utils common helper helpers misc shared mod";

/// Licences that ask for no more than a notice.
const PERMISSIVE: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

fn listed(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|listed| listed == word)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the suite lies in the workspace").to_owned()
}

fn metadata(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["metadata", "--format-version", "1", "--locked"]).args(arguments);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Dependencies of a package, without those of its tests.
fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().into_iter().flatten().filter(|dependency| text(dependency, "kind") != "dev")
}

/// The folder at the top in which a path lies.
fn folder(path: &str) -> String {
    let inside = Path::new(path).strip_prefix(root()).unwrap_or(Path::new(path));
    inside.iter().next().map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
}

fn walk(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().expect("a type").is_dir() {
            if !name.starts_with('.') && !listed("target data corpus artifacts", &name) {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            let inside = path.strip_prefix(root()).expect("below the root").display().to_string();
            found.push((inside, fs::read_to_string(&path).expect("text")));
        }
    }
}

/// All Rust files, by their paths from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

#[test]
fn dependencies_point_down_only() {
    let mut wrong = Vec::new();
    for package in metadata(&["--no-deps"]) {
        let (name, from) = (text(&package, "name"), folder(text(&package, "manifest_path")));
        let Some((_, may)) = LAYERS.iter().find(|(layer, _)| *layer == from) else {
            if !ABOVE.contains(&from.as_str()) {
                wrong.push(format!("{from} has no place in the layers"));
            }
            continue;
        };
        for dependency in dependencies(&package) {
            let to = folder(text(dependency, "path"));
            if !to.is_empty() && !may.contains(&to.as_str()) {
                wrong.push(format!("{name} must not depend on {}", text(dependency, "name")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_kernel_knows_no_wire_format() {
    let packages = metadata(&["--no-deps"]);
    for layer in ["model", "kernel"] {
        let package = packages.iter().find(|package| text(package, "name") == layer).expect("the package");
        let known: Vec<_> = dependencies(package)
            .map(|dependency| text(dependency, "name"))
            .filter(|name| listed(NOT_IN_THE_KERNEL, name))
            .collect();
        assert!(known.is_empty(), "{layer} depends on {known:?}");
    }
}

#[test]
fn a_file_is_one_thing() {
    let tests = |path: &str| path.split('/').any(|part| listed("tests suite fuzz bench", part));
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !tests(path))
        .map(|(path, code)| (path, code.lines().take_while(|line| *line != "#[cfg(test)]").count()))
        .filter(|(_, lines)| *lines > LINES)
        .collect();
    assert!(long.is_empty(), "beyond {LINES} lines: {long:?}");
}

#[test]
fn nothing_is_a_drawer() {
    let drawers: Vec<_> = sources()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.split('/').any(|part| listed(DRAWERS, part.trim_end_matches(".rs"))))
        .collect();
    assert!(drawers.is_empty(), "name it for the one thing in it: {drawers:?}");
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    // Put together here, so that this file is not found.
    let silenced = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(_, code)| silenced.iter().any(|silenced| code.contains(silenced)))
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Code that asks the reader to take its word for it is in one place, which says why it is right.
#[test]
fn only_mappings_are_unsafe() {
    // Put together here, so that this file is not found.
    let unsafe_code = [concat!("unsafe", " {"), concat!("unsafe", " impl"), concat!("unsafe", " fn")];
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(_, code)| unsafe_code.iter().any(|unsafe_code| code.contains(unsafe_code)))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(found, ["server/src/mapped.rs"]);
}

/// True when each side of an `AND` has an alternative that is permissive.
fn permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut sides = vec![String::new()];
    let mut depth = 0;
    for word in expression.split_whitespace() {
        match word {
            "AND" if depth == 0 => sides.push(String::new()),
            "(" => depth += 1,
            ")" => depth -= 1,
            word => {
                let side = sides.last_mut().expect("there is one");
                *side = format!("{side} {word}").trim().to_owned();
            }
        }
    }
    sides.iter().all(|side| side.split(" OR ").any(|licence| PERMISSIVE.contains(&licence.trim())))
}

#[test]
fn only_permissive_licences() {
    assert!(permissive("MIT OR Apache-2.0") && permissive("MIT/Apache-2.0") && permissive("MIT OR GPL-3.0-only"));
    assert!(permissive("ISC AND (Apache-2.0 OR GPL-2.0-only)"));
    assert!(!permissive("GPL-3.0-only") && !permissive("MIT AND GPL-3.0-only") && !permissive(""));
    let wrong: Vec<_> = metadata(&[])
        .iter()
        .filter(|package| !permissive(text(package, "license")))
        .map(|package| format!("{}: {}", text(package, "name"), text(package, "license")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let promises = fs::read_to_string(root().join("docs/semantics.md")).expect("the promises");
    let sources = sources();
    let tests = promises.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let names =
        tests.flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>());
    let missing: Vec<String> = names
        .filter(|name| !name.ends_with(".rs"))
        .filter(|name| !sources.iter().any(|(_, text)| text.contains(&format!("fn {name}("))))
        .collect();
    assert!(missing.is_empty(), "docs/semantics.md names tests that are not there: {missing:?}");
}

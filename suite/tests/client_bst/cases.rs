//! The cases of BuildStream's own tests that a server has to survive, under their names.

use std::path::Path;

use suite::clients::{BUILDSTREAM, Hub, Machine, Project, Remote, artifacts, installed};
use tempfile::{TempDir, tempdir};

use crate::stage::{pull_hello, shared};

fn hub() -> (TempDir, Hub, Remote) {
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let remote = Remote::at(hub.url());
    (data, hub, remote)
}

/// Does something to every blob that lies in a file.
fn blobs(data: &Path, harm: impl Fn(&Path)) {
    let mut harmed = 0;
    let mut directories = vec![data.join("blobs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            harm(&path);
            harmed += 1;
        }
    }
    assert!(harmed > 0, "no blob lies in a file");
}

/// Removes every blob that lies in a file, behind the back of its hub.
pub(crate) fn remove_blobs(data: &Path) {
    blobs(data, |path| std::fs::remove_file(path).expect("a blob"));
}

/// Turns a byte of every blob that lies in a file.
fn damage_blobs(data: &Path) {
    blobs(data, |path| {
        let mut bytes = std::fs::read(path).expect("a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("a blob");
    });
}

/// One directory whose message is more than a mebibyte: neither it nor its files fit into one call.
#[test]
fn test_large_directory() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (_data, _hub, remote) = hub();
    let project = Project::new();
    project.sandbox();
    project.manual(
        "large.bst",
        "mkdir -p %{install-root}\ncd %{install-root}\nfor i in $(seq 16385); do echo $i > $i; done",
    );
    let machine = Machine::new(&artifacts(&[remote.push()]));
    machine.bst(&project, "build large.bst").ok().says("Pushed artifact");
    machine.forget();
    machine.bst(&project, "artifact pull large.bst").ok().says("Pulled artifact");
    let tree = machine.checkout(&project, "large.bst");
    assert_eq!(tree.len(), 16385);
    assert_eq!(tree["777"], r#"file 644 "777\n""#);
}

#[test]
fn test_pull_missing_blob() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, _hub, remote) = hub();
    let project = Project::hello();
    let machine = Machine::new(&artifacts(&[remote.clone().push()]));
    machine.bst(&project, "build hello.bst").ok().says("Pushed artifact");
    remove_blobs(data.path());
    machine.forget();
    machine.bst(&project, "build hello.bst").ok().says("Running commands").says("Pushed data from artifact");
    pull_hello(&project, &remote);
}

/// A process reads what it has not seen yet before it gives it away, so the damage is done while none runs.
#[test]
fn a_damaged_blob_is_never_pulled_and_heals() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, mut hub, remote) = hub();
    let project = Project::hello();
    let machine = Machine::new(&artifacts(&[remote.clone().push()]));
    machine.bst(&project, "build hello.bst").ok().says("Pushed artifact");
    hub.stop();
    damage_blobs(data.path());
    let _hub = Hub::drop_in_at(hub.port(), data.path(), "--enable-push");
    machine.forget();
    machine.bst(&project, "build hello.bst").ok().says("Running commands").says("Pushed data from artifact");
    pull_hello(&project, &remote);
}

/// The element is another at each build, under the same key.
#[test]
fn test_push_after_rebuild() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (_data, _hub, remote) = hub();
    let project = Project::new();
    project.sandbox();
    project.manual("random.bst", "mkdir -p %{install-root}; head -c 99999 /dev/urandom > %{install-root}/random");
    let push = format!("artifact push random.bst --artifact-remote {}", remote.flag());
    let mut before = None;
    for _ in 0..2 {
        let builder = Machine::new("");
        builder.bst(&project, "build random.bst").ok();
        builder.bst(&project, &push).ok().says("Pushed artifact");
        let puller = Machine::new(&artifacts(std::slice::from_ref(&remote)));
        puller.bst(&project, "artifact pull random.bst").ok();
        let pulled = puller.checkout(&project, "random.bst");
        assert_eq!(pulled, builder.checkout(&project, "random.bst"));
        assert_ne!(before.replace(pulled.clone()), Some(pulled));
    }
}

/// Nothing but BuildStream's own habits decides about modes: whoever pulls gets what the builder has.
#[test]
fn test_pull_access_rights() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (_data, _hub, remote) = hub();
    let project = Project::new();
    project.sandbox();
    let commands = "mkdir -p %{install-root}/d\ncd %{install-root}\nfor mode in 400 600 644 711 755 777; do\n  \
                    echo $mode > d/$mode\n  chmod $mode d/$mode\ndone\nchmod 700 d";
    project.manual("modes.bst", commands);
    let builder = Machine::new(&artifacts(&[remote.clone().push()]));
    builder.bst(&project, "build modes.bst").ok().says("Pushed artifact");
    let puller = Machine::new(&artifacts(&[remote]));
    puller.bst(&project, "artifact pull modes.bst").ok().says("Pulled artifact");
    let pulled = puller.checkout(&project, "modes.bst");
    assert_eq!(pulled, builder.checkout(&project, "modes.bst"));
    assert!(pulled["d/755"].starts_with("file 755") && pulled["d/644"].starts_with("file 644"), "{pulled:?}");
}

#[test]
fn artifact_show_tells_what_is_available() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (_data, _hub, remote) = hub();
    let project = Project::hello();
    Machine::new(&artifacts(&[remote.clone().push()])).bst(&project, "build hello.bst").ok();
    let other = Machine::new(&artifacts(&[remote]));
    other.bst(&project, "artifact show hello.bst").ok().says("available");
    other.bst(&project, "artifact pull hello.bst").ok();
    other.bst(&project, "artifact show hello.bst").ok().says("cached");
}

/// Without strict keys, an artifact counts although what it was built with changed.
#[test]
fn test_push_no_strict() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (_data, _hub, remote) = hub();
    let project = Project::hello();
    project.write("files/dependency", "before");
    project.write("elements/dependency.bst", "kind: import\nsources:\n- kind: local\n  path: files\n");
    let target = "kind: manual\nbuild-depends:\n- base.bst\n- dependency.bst\nconfig:\n  install-commands:\n  \
                  - mkdir -p %{install-root}; cp /dependency %{install-root}/seen\n";
    project.write("elements/target.bst", target);
    let builder = Machine::new(&artifacts(&[remote.clone().push()]));
    builder.bst(&project, "--no-strict build target.bst").ok().says("Pushed artifact");
    project.write("files/dependency", "after");
    let other = Machine::new(&artifacts(std::slice::from_ref(&remote)));
    other.bst(&project, "--no-strict artifact pull target.bst").ok().says("Pulled artifact");
    let puller =
        Machine::new(&format!("projects: {{demo: {{strict: false}}}}\n{}", artifacts(std::slice::from_ref(&remote))));
    puller.bst(&project, "artifact pull target.bst").ok().says("Pulled artifact");
    assert_eq!(puller.checkout(&project, "target.bst")["seen"], r#"file 644 "before""#);
    assert!(!shared(&project, &remote, "target.bst"), "with strict keys it is another artifact");
}

#[test]
fn test_push_cross_junction() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (_data, _hub, remote) = hub();
    let project = Project::new();
    project.write("sub/project.conf", "name: sub\nmin-version: 2.0\n");
    project.write("sub/part.bst", "kind: import\nsources:\n- kind: local\n  path: files\n");
    project.write("sub/files/part", "a part");
    project.write("elements/sub.bst", "kind: junction\nsources:\n- kind: local\n  path: sub\n");
    project.write("elements/whole.bst", "kind: stack\ndepends:\n- sub.bst:part.bst\n");
    let builder = Machine::new(&artifacts(&[remote.clone().push()]));
    builder.bst(&project, "build whole.bst").ok().says("Pushed artifact");
    let other = Machine::new(&artifacts(&[remote]));
    other.bst(&project, "artifact pull --deps all whole.bst").ok().says("processed 2");
    assert_eq!(other.checkout(&project, "sub.bst:part.bst")["part"], r#"file 644 "a part""#);
}

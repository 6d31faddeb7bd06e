//! The index in one place, the bytes in another.

use suite::clients::{BUILDSTREAM, Hub, Machine, Project, Remote, artifacts, hello_tree, installed};
use tempfile::tempdir;

use crate::cases::remove_blobs;

/// Pushes to and pulls from an index and a storage, each used for nothing else.
fn cycle(index: &Hub, storage: &Hub) {
    let project = Project::hello();
    let remotes = [Remote::at(index.url()).kind("index").push(), Remote::at(storage.url()).kind("storage").push()];
    let builder = Machine::new(&artifacts(&remotes));
    builder.bst(&project, "build hello.bst").ok().says("Pushed artifact");
    builder.forget();
    builder.bst(&project, "artifact pull hello.bst").ok().says("Pulled artifact");
    assert_eq!(builder.checkout(&project, "hello.bst"), hello_tree());
}

#[test]
fn an_index_here_goes_with_a_storage_elsewhere() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (here, there) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let index = Hub::drop_in(here.path(), "--enable-push --index-only");
    let storage = Hub::drop_in(there.path(), "--enable-push");
    cycle(&index, &storage);
    assert!(!index.log().contains("ContentAddressableStorage"), "an index has no storage\n{}", index.log());
}

#[test]
fn a_storage_here_goes_with_an_index_elsewhere() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (here, there) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let index = Hub::drop_in(there.path(), "--enable-push --index-only");
    let storage = Hub::serve(here.path(), "");
    cycle(&index, &storage);
}

#[test]
fn a_missing_blob_heals_when_index_and_storage_are_two() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (here, there) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let index = Hub::drop_in(here.path(), "--enable-push --index-only");
    let storage = Hub::drop_in(there.path(), "--enable-push");
    let project = Project::hello();
    let remotes = [Remote::at(index.url()).kind("index").push(), Remote::at(storage.url()).kind("storage").push()];
    let machine = Machine::new(&artifacts(&remotes));
    machine.bst(&project, "build hello.bst").ok().says("Pushed artifact");
    remove_blobs(there.path());
    machine.forget();
    machine.bst(&project, "build hello.bst").ok().says("does not have artifact").says("Running commands");
    machine.forget();
    machine.bst(&project, "artifact pull hello.bst").ok().says("Pulled artifact");
    assert_eq!(machine.checkout(&project, "hello.bst"), hello_tree());
}

//! Every way to name a remote, and remotes that are of no use.

use suite::clients::{BUILDSTREAM, Hub, Machine, Nginx, Project, Remote, artifacts, free_port, installed};
use tempfile::tempdir;

use crate::stage::{pull_hello, shared};

#[test]
fn a_project_names_its_caches() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let remote = Remote::at(hub.url());
    let project = Project::hello();
    let named = remote.clone().push().item();
    project.configure(&format!("artifacts:\n- {named}\nsource-caches:\n- {named}\n"));
    Machine::new("").bst(&project, "build hello.bst").ok().says("Pushed artifact").says("Pushed source");
    let other = Machine::new("");
    other.bst(&project, "artifact pull hello.bst").ok().says("Pulled artifact");
}

/// Remotes of the command line take the place of configured ones.
#[test]
fn test_build_remote_option() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (here, there) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let configured = Hub::drop_in(here.path(), "--enable-push");
    let named = Hub::drop_in(there.path(), "--enable-push");
    let project = Project::hello();
    let machine = Machine::new(&artifacts(&[Remote::at(configured.url()).push()]));
    let line = format!("build hello.bst --artifact-remote {}", Remote::at(named.url()).push().flag());
    machine.bst(&project, &line).ok().says("Pushed artifact");
    pull_hello(&project, &Remote::at(named.url()));
    assert!(!shared(&project, &Remote::at(configured.url()), "hello.bst"));
}

#[test]
fn instances_are_namespaces_of_their_own() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let file = data.path().join("entrepot.toml");
    let text =
        "[namespaces.main]\n[namespaces.a]\n[namespaces.b]\n[instances]\n\"team/a\" = \"a\"\n\"team/b\" = \"b\"\n";
    std::fs::write(&file, text).expect("a file");
    let hub = Hub::serve(&data.path().join("data"), &format!("--config {}", file.display()));
    let project = Project::hello();
    let at = |instance| Remote::at(hub.url()).instance(instance);
    let builder = Machine::new(&artifacts(&[at("team/a").push()]));
    builder.bst(&project, "build hello.bst").ok().says("Pushed artifact");
    pull_hello(&project, &at("team/a"));
    assert!(!shared(&project, &at("team/b"), "hello.bst"));
    assert!(!shared(&project, &Remote::at(hub.url()), "hello.bst"));
}

#[test]
fn a_hub_that_is_down_means_a_local_build() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let nobody = Remote::at(format!("http://localhost:{}", free_port())).push().impatient();
    let machine = Machine::new(&artifacts(&[nobody]));
    let project = Project::hello();
    machine.bst(&project, "build hello.bst").ok().says("Failed to initialize remote");
    assert!(!machine.checkout(&project, "hello.bst").is_empty());
}

#[test]
fn a_miss_means_a_local_build() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "");
    let machine = Machine::new(&artifacts(&[Remote::at(hub.url())]));
    let project = Project::hello();
    machine.bst(&project, "build hello.bst").ok().says_not("Pulled artifact").says("Running commands");
    assert!(hub.log().contains("FetchBlob"), "it was asked\n{}", hub.log());
}

#[test]
fn a_remote_without_any_service_is_skipped() {
    if !installed(BUILDSTREAM) || !installed(&["nginx"]) {
        return;
    }
    let nginx = Nginx::start("listen PORT;");
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let useless = Remote::at(nginx.url()).push().impatient();
    let machine = Machine::new(&artifacts(&[useless, Remote::at(hub.url()).push()]));
    let project = Project::hello();
    machine.bst(&project, "build hello.bst").ok().says("Failed to initialize remote").says("Pushed artifact");
    pull_hello(&project, &Remote::at(hub.url()));
}

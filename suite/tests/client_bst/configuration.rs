//! Every way to name a remote, and remotes that are of no use.

use suite::clients::{BUILDSTREAM, Hub, Machine, Nginx, Project, Remote, artifacts, free_port, installed, sources};
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

#[test]
fn remotes_of_the_command_line_take_the_place_of_configured_ones() {
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

/// The project's source is a file that goes away; whoever has not fetched it gets it from the source cache.
#[test]
fn sources_come_from_the_source_cache_when_their_origin_is_gone() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let remote = Remote::at(hub.url());
    let project = Project::new();
    let mut origins = Vec::new();
    for element in ["by-build", "by-command"] {
        let text = format!("the source of {element}");
        let origin = project.write(&format!("origin/{element}"), &text);
        let kind = format!("kind: import\nsources:\n- kind: remote\n  url: file://{}\n", origin.display());
        project.write(&format!("elements/{element}.bst"), &kind);
        origins.push((element, origin, text));
    }
    let first = Machine::new(&sources(&[remote.clone().push()]));
    first.bst(&project, "source track by-build.bst by-command.bst").ok();
    first.bst(&project, "build by-build.bst").ok().says("Pushed source");
    let line = format!("source push by-command.bst --source-remote {}", remote.flag());
    Machine::new("").bst(&project, &line).ok().says("Pushed source");
    for (element, origin, text) in origins {
        std::fs::remove_file(origin).expect("the origin");
        let next = Machine::new(&sources(std::slice::from_ref(&remote)));
        next.bst(&project, &format!("source fetch {element}.bst")).ok().says("Pulled source");
        next.bst(&project, &format!("build {element}.bst")).ok();
        let tree = next.checkout(&project, &format!("{element}.bst"));
        assert_eq!(tree.get(element), Some(&format!("file {text:?}")), "{tree:?}");
        Machine::new("").bst(&project, &format!("source fetch {element}.bst")).fails();
    }
}

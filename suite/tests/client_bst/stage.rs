//! What most tests do: somebody builds and pushes, somebody else pulls and looks.

use suite::clients::{Machine, Project, Remote, artifacts, hello_tree};

/// Builds `hello.bst` without caches and pushes it by command; then a new machine pulls it and checks it out.
#[track_caller]
pub(crate) fn cycle(remote: &Remote) {
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    push_hello(&builder, &project, remote);
    pull_hello(&project, remote);
}

/// Pushes `hello.bst` by command.
#[track_caller]
pub(crate) fn push_hello(builder: &Machine, project: &Project, remote: &Remote) {
    let line = format!("artifact push hello.bst --artifact-remote {}", remote.flag());
    builder.bst(project, &line).ok().says("Pushed artifact");
}

/// A new machine pulls `hello.bst`, checks it out and compares.
#[track_caller]
pub(crate) fn pull_hello(project: &Project, remote: &Remote) {
    let puller = Machine::new(&artifacts(std::slice::from_ref(remote)));
    puller.bst(project, "artifact pull hello.bst").ok().says("Pulled artifact");
    assert_eq!(puller.checkout(project, "hello.bst"), hello_tree());
}

/// Whether a new machine finds the element's artifact at the remote, and gets all of it.
#[track_caller]
pub(crate) fn shared(project: &Project, remote: &Remote, element: &str) -> bool {
    let puller = Machine::new(&artifacts(std::slice::from_ref(remote)));
    let said = puller.bst(project, &format!("artifact pull {element}"));
    let pulled = said.text().contains("Pulled artifact");
    if pulled {
        said.ok();
        assert!(!puller.checkout(project, element).is_empty());
    }
    pulled
}

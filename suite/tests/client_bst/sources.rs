//! Source caches.

use suite::clients::{BUILDSTREAM, Hub, Machine, Project, Remote, installed, sources};
use tempfile::tempdir;

use crate::cases::remove_blobs;

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
        assert_eq!(tree.get(element), Some(&format!("file 644 {text:?}")), "{tree:?}");
        Machine::new("").bst(&project, &format!("source fetch {element}.bst")).fails();
    }
}

/// What the source cache has lost is fetched from its origin again.
#[test]
fn test_source_pull_partial_fallback_fetch() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let project = Project::new();
    let origin = project.write("origin/large", &"a line of a large source\n".repeat(10_000));
    let text = format!("kind: import\nsources:\n- kind: remote\n  url: file://{}\n", origin.display());
    project.write("elements/large.bst", &text);
    let machine = Machine::new(&sources(&[Remote::at(hub.url()).push()]));
    machine.bst(&project, "source track large.bst").ok();
    machine.bst(&project, "source push large.bst").ok().says("Pushed source");
    remove_blobs(data.path());
    machine.forget();
    machine.bst(&project, "source fetch large.bst").ok().says("does not have source");
    machine.bst(&project, "build large.bst").ok();
    assert!(machine.checkout(&project, "large.bst")["large"].ends_with("/250000"));
}

//! What goes when a hub is full, and what does not.

use suite::clients::{BUILDSTREAM, Hub, Machine, Project, Remote, artifacts, installed};
use tempfile::{TempDir, tempdir};

use crate::stage::shared;

/// A hub with a quota, a project, and a machine that pushes what it builds.
struct Full {
    _data: TempDir,
    _hub: Hub,
    remote: Remote,
    project: Project,
    builder: Machine,
}

fn full(quota: u32) -> Full {
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), &format!("--enable-push --quota {quota}"));
    let remote = Remote::at(hub.url());
    let builder = Machine::new(&artifacts(&[remote.clone().push()]));
    Full { _data: data, _hub: hub, remote, project: Project::new(), builder }
}

impl Full {
    fn build(&self, element: &str, bytes: usize) {
        self.project.sized(element, bytes);
        self.builder.bst(&self.project, &format!("build {element}")).ok().says("Pushed artifact");
    }

    fn shared(&self, element: &str) -> bool {
        shared(&self.project, &self.remote, element)
    }
}

#[test]
fn test_artifact_expires() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let full = full(22_000_000);
    full.build("element1.bst", 15_000_000);
    full.build("element2.bst", 5_000_000);
    assert!(full.shared("element1.bst") && full.shared("element2.bst"));
    full.build("element3.bst", 5_000_000);
    assert!(!full.shared("element1.bst"));
    assert!(full.shared("element2.bst") && full.shared("element3.bst"));
}

#[test]
fn test_recently_pulled_artifact_does_not_expire() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let full = full(22_000_000);
    full.build("element1.bst", 10_000_000);
    full.build("element2.bst", 10_000_000);
    // Used now, and so not the oldest any more.
    assert!(full.shared("element1.bst"));
    full.build("element3.bst", 10_000_000);
    assert!(!full.shared("element2.bst"));
    assert!(full.shared("element1.bst") && full.shared("element3.bst"));
}

#[test]
fn test_artifact_too_large() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let full = full(5_000_000);
    full.build("small.bst", 1_000_000);
    full.project.sized("large.bst", 6_000_000);
    full.builder.bst(&full.project, "build large.bst").fails().says_not("Pushed artifact");
    assert!(full.shared("small.bst") && !full.shared("large.bst"));
}

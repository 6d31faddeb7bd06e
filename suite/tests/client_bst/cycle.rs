//! Build, push, pull into a clean cache, check out, compare.

use suite::clients::{BUILDSTREAM, Hub, Keys, Machine, Project, Remote, artifacts, installed};
use tempfile::tempdir;

use crate::stage::{cycle, pull_hello, push_hello};

#[test]
fn what_was_pushed_is_pulled_and_equal_plain() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let remote = Remote::at(hub.url());
    cycle(&remote);
}

#[test]
fn what_was_pushed_is_pulled_and_equal_over_tls() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, keys) = (tempdir().expect("a directory"), Keys::new());
    let hub = Hub::drop_in(data.path(), &format!("--enable-push {}", keys.tls()));
    let remote = Remote::at(hub.secure_url()).trusting(&keys);
    cycle(&remote);
}

/// The two `openssl` commands and the `cat` run here as the document has them.
#[test]
fn the_seed_s_keys_work_for_mutual_tls() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, keys) = (tempdir().expect("a directory"), Keys::fresh().authorized());
    let hub = Hub::drop_in(data.path(), &keys.mutual());
    let remote = Remote::at(hub.secure_url()).trusting(&keys).showing(&keys);
    cycle(&remote);
}

#[test]
fn entrepot_serve_speaks_buildstream_too() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::serve(data.path(), "");
    let remote = Remote::at(hub.url());
    cycle(&remote);
}

#[test]
fn a_build_pushes_by_itself_at_its_end() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let remote = Remote::at(hub.url());
    let project = Project::hello();
    let builder = Machine::new(&artifacts(&[remote.clone().push()]));
    builder.bst(&project, "build hello.bst").ok().says("Pushed artifact");
    pull_hello(&project, &remote);
    // And a build on another machine pulls it instead of building.
    let other = Machine::new(&artifacts(&[remote]));
    other.bst(&project, "build hello.bst").ok().says("Pulled artifact").says_not("Running commands");
}

#[test]
fn a_server_restarted_between_push_and_pull_has_everything() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let mut hub = Hub::drop_in(data.path(), "--enable-push");
    let remote = Remote::at(hub.url());
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    push_hello(&builder, &project, &remote);
    hub.stop();
    let mut hub = Hub::drop_in_at(hub.port(), data.path(), "--enable-push");
    pull_hello(&project, &remote);
    hub.kill();
    let _hub = Hub::drop_in_at(hub.port(), data.path(), "");
    pull_hello(&project, &remote);
}

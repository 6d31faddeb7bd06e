//! Real clients against real servers: the programs that people run, as child processes, on loopback.
//!
//! Nothing here knows how the product works inside: a [`Hub`] is its binary, a [`Machine`] is somebody's BuildStream
//! with caches of its own, and what they did is read from exit statuses, messages and checked-out trees.
//!
//! A client that is not installed is told as *not run*, never as passed; see [`installed`].

mod api;
mod authority;
mod hub;
mod keys;
mod machine;
mod nginx;
mod project;
mod remote;
mod running;
mod said;
mod seed;
mod sshd;
mod station;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use api::Api;
pub use authority::{Authority, users};
pub use hub::{Hub, command, entrepot, free_port};
pub use keys::Keys;
pub use machine::Machine;
pub use nginx::Nginx;
pub use project::{Project, hello_tree};
pub use remote::{Remote, artifacts, sources};
pub use running::Running;
pub use said::Said;
pub use seed::{AUTHORIZE, AUTHORIZE_SSH, CLIENT_KEY, FORCE_COMMAND, PULL_UNIT, PUSH_UNIT, SERVER_KEY};
pub use sshd::Sshd;
pub use station::{Station, as_root};
pub use tree::tree;

/// What a BuildStream that builds in a sandbox needs; `openssl` makes its keys.
pub const BUILDSTREAM: &[&str] = &["bst", "bwrap", "busybox", "openssl"];

/// The programs, and how each is installed.
const PROGRAMS: &[(&str, &str)] = &[
    ("bst", "python3 -m venv .clients/bst && .clients/bst/bin/pip install 'BuildStream==2.8.1'"),
    ("bwrap", "apt-get install bubblewrap"),
    ("busybox", "apt-get install busybox-static"),
    ("openssl", "apt-get install openssl"),
    ("nginx", "apt-get install nginx-light"),
    ("skopeo", "apt-get install skopeo"),
    ("ssh", "apt-get install openssh-client"),
    ("ssh-keygen", "apt-get install openssh-client"),
    ("sshd", "apt-get install openssh-server"),
    ("bazel", "apt-get install bazel-bootstrap"),
    ("systemd-analyze", "apt-get install systemd"),
    ("skopeo", "apt-get install skopeo"),
    ("podman", "apt-get install podman"),
    ("buildah", "apt-get install buildah"),
    ("runc", "apt-get install runc"),
    ("containerd", "apt-get install containerd"),
    ("ctr", "apt-get install containerd"),
    ("umoci", "apt-get install umoci"),
    ("docker", "apt-get install docker.io"),
    ("dockerd", "apt-get install docker.io"),
    ("htpasswd", "apt-get install apache2-utils"),
    ("zstd", "apt-get install zstd"),
    ("oras", "python3 -m venv .clients/oras && .clients/oras/bin/pip install 'oras==0.2.43'"),
    ("ostree", "apt-get install ostree"),
];

/// Whether all of the programs are there. For each that is not, the line that says so is printed: the caller
/// returns, and its test counts as not run.
#[must_use]
pub fn installed(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| find(name).is_none()).collect();
    for name in &missing {
        let how = PROGRAMS.iter().find(|(known, _)| known == name).map_or("", |(_, how)| *how);
        println!("not run: {name} is missing ({how})");
    }
    missing.is_empty()
}

/// Where the program is.
///
/// # Panics
/// When it is missing: ask [`installed`] first.
pub fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing"))
}

/// Below `$ENTREPOT_CLIENTS` (`.clients` of the repository where nothing is said), in `PATH`, or where Debian keeps
/// what administrators use.
fn find(name: &str) -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let clients = std::env::var_os("ENTREPOT_CLIENTS").map_or_else(|| repository.join(".clients"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = [clients.join(name).join("bin")].into_iter().chain(std::env::split_paths(&path));
    places.chain([PathBuf::from("/usr/sbin")]).map(|place| place.join(name)).find(|file| file.is_file())
}

/// Waits until something is so.
///
/// # Panics
/// When it is not so after `limit`.
pub fn until(what: &str, limit: Duration, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        #[expect(clippy::disallowed_methods, reason = "between two looks at the condition")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

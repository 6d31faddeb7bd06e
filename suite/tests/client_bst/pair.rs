//! Two processes on one directory, as the seed document recommends: a public one, and one that takes pushes.

use std::path::Path;

use suite::clients::{BUILDSTREAM, Hub, Keys, Machine, Project, Remote, artifacts, free_port, installed};
use tempfile::tempdir;

use crate::stage::{pull_hello, push_hello, shared};

/// Which of the two came first: it owns the directory, and the other is its guest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Instance {
    Public,
    Private,
}
use Instance::{Private, Public};

struct Pair<'a> {
    data: &'a Path,
    keys: &'a Keys,
    ports: [u16; 2],
    hubs: [Hub; 2],
}

impl<'a> Pair<'a> {
    fn start(data: &'a Path, keys: &'a Keys, first: Instance) -> Self {
        let ports = [free_port(), free_port()];
        let start = |instance| start(data, keys, instance, ports[instance as usize]);
        let hubs = match first {
            Public => [start(Public), start(Private)],
            Private => {
                let private = start(Private);
                [start(Public), private]
            }
        };
        Self { data, keys, ports, hubs }
    }

    fn kill(&mut self, victim: Instance) {
        self.hubs[victim as usize].kill();
    }

    fn restart(&mut self, instance: Instance) {
        self.hubs[instance as usize] = start(self.data, self.keys, instance, self.ports[instance as usize]);
    }

    fn public(&self) -> Remote {
        Remote::at(self.hubs[Public as usize].secure_url()).trusting(self.keys)
    }

    fn private(&self) -> Remote {
        Remote::at(self.hubs[Private as usize].secure_url()).trusting(self.keys).showing(self.keys)
    }
}

fn start(data: &Path, keys: &Keys, instance: Instance, port: u16) -> Hub {
    let options = if instance == Public { keys.tls() } else { keys.mutual() };
    Hub::drop_in_at(port, data, &options)
}

#[test]
fn a_public_pull_and_an_authenticated_push_at_once_in_either_start_order() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let keys = Keys::new().authorized();
    let project = Project::hello();
    project.manual("other.bst", "mkdir -p %{install-root}; head -c 3000000 /dev/urandom > %{install-root}/random");
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst other.bst").ok();
    for first in [Public, Private] {
        let data = tempdir().expect("a directory");
        let pair = Pair::start(data.path(), &keys, first);
        push_hello(&builder, &project, &pair.private());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let line = format!("artifact push other.bst --artifact-remote {}", pair.private().flag());
                builder.bst(&project, &line).ok().says("Pushed artifact");
            });
            scope.spawn(|| pull_hello(&project, &pair.public()));
        });
        let puller = Machine::new(&artifacts(&[pair.public()]));
        puller.bst(&project, "artifact pull other.bst").ok().says("Pulled artifact");
        assert_eq!(puller.checkout(&project, "other.bst"), builder.checkout(&project, "other.bst"));
    }
}

#[test]
fn a_pair_survives_kill_9_of_its_public_instance() {
    survives(Public);
}

#[test]
fn a_pair_survives_kill_9_of_its_private_instance() {
    survives(Private);
}

/// The survivor serves at once, whether it was the owner or the guest; the other one comes back as its guest.
fn survives(victim: Instance) {
    if !installed(BUILDSTREAM) {
        return;
    }
    let keys = Keys::new().authorized();
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    for first in [Public, Private] {
        let data = tempdir().expect("a directory");
        let mut pair = Pair::start(data.path(), &keys, first);
        if victim == Private {
            push_hello(&builder, &project, &pair.private());
        }
        pair.kill(victim);
        // No wait here: BuildStream itself tries for a few seconds.
        if victim == Private {
            pull_hello(&project, &pair.public());
        } else {
            push_hello(&builder, &project, &pair.private());
        }
        pair.restart(victim);
        assert!(shared(&project, &pair.public(), "hello.bst"), "{victim:?} was killed, {first:?} came first");
        let line = format!("artifact push hello.bst --artifact-remote {}", pair.private().flag());
        builder.bst(&project, &line).ok();
    }
}

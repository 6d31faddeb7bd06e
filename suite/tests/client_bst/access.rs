//! Who may push, and who may pull.

use std::time::Duration;
use suite::clients::{AUTHORIZE, BUILDSTREAM, Hub, Keys, Machine, Project, Remote, artifacts, installed, until};
use tempfile::tempdir;

use crate::stage::{pull_hello, push_hello};

#[test]
fn a_push_without_a_listed_certificate_is_refused() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, keys) = (tempdir().expect("a directory"), Keys::new());
    let hub = Hub::drop_in(data.path(), &keys.mutual());
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    let known = Remote::at(hub.secure_url()).trusting(&keys).push().impatient();
    for remote in [known.clone(), known.showing(&keys)] {
        builder.configure(&artifacts(&[remote]));
        let said = builder.bst(&project, "artifact push hello.bst").fails();
        said.says("Failed to initialize remote").says("No artifact caches available").says_not("Pushed");
    }
    assert!(!hub.log().contains("PushBlob"), "a refused connection carries no request\n{}", hub.log());
}

#[test]
fn an_appended_certificate_counts_while_the_server_runs() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, keys, other) = (tempdir().expect("a directory"), Keys::new(), Keys::fresh());
    let hub = Hub::drop_in(data.path(), &keys.mutual());
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    let certificates = format!("cat {} >> authorized.crt", other.file("client.crt"));
    for (command, client) in [(AUTHORIZE, &keys), (&certificates, &other)] {
        keys.run(command);
        // A certificate that the server takes gets an answer.
        let probe = format!(
            "printf 'GET /livez HTTP/1.1\\r\\nHost: artifacts.com\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client \
             -quiet -connect localhost:{} -CAfile server.crt -cert {} -key {} | grep -q '200 OK'",
            hub.port(),
            client.file("client.crt"),
            client.file("client.key"),
        );
        until("the new certificate counts", Duration::from_secs(10), || keys.runs(&probe));
    }
    for client in [&keys, &other] {
        let remote = Remote::at(hub.secure_url()).trusting(&keys).showing(client);
        let line = format!("artifact push hello.bst --artifact-remote {}", remote.flag());
        builder.bst(&project, &line).ok();
        pull_hello(&project, &remote);
    }
}

#[test]
fn the_public_instance_is_pulled_from_and_never_pushed_to() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, keys) = (tempdir().expect("a directory"), Keys::new().authorized());
    let public = Hub::drop_in(data.path(), &keys.tls());
    let private = Hub::drop_in(data.path(), &keys.mutual());
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    let at_public = Remote::at(public.secure_url()).trusting(&keys);
    for remote in [at_public.clone(), at_public.clone().showing(&keys)] {
        let line = format!("artifact push hello.bst --artifact-remote {}", remote.flag());
        let said = builder.bst(&project, &line).fails();
        said.says("Remote Asset Push service").says_not("Pushed");
    }
    push_hello(&builder, &project, &Remote::at(private.secure_url()).trusting(&keys).showing(&keys));
    pull_hello(&project, &at_public);
}

#[test]
fn a_pull_instance_does_not_hinder_a_build() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "");
    let project = Project::hello();
    let line = format!("build hello.bst --artifact-remote {}", Remote::at(hub.url()).push().flag());
    Machine::new("").bst(&project, &line).ok().says("Failed to initialize remote").says_not("Pushed");
}

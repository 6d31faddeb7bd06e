//! The seed document's alternative: "you can set up a reverse proxy and handle authentication and authorization
//! there". The proxy is Debian's nginx; the client is BuildStream.

use suite::clients::{
    BUILDSTREAM, Hub, Keys, Machine, Nginx, Project, Remote, artifacts, free_port, hello_tree, installed,
};
use tempfile::tempdir;

/// What goes on to a hub on this port: bodies of any size, not gathered first.
fn pass(port: u16) -> String {
    format!("client_max_body_size 0;\nlocation / {{\ngrpc_pass grpc://127.0.0.1:{port};\nHEADERS\n}}")
}

/// TLS with the keys of the document.
fn tls(keys: &Keys, clients: &str) -> String {
    let (certificate, key) = (keys.file("server.crt"), keys.file("server.key"));
    let authorized = keys.file("authorized.crt");
    format!(
        "listen PORT ssl http2;\nssl_certificate {certificate};\nssl_certificate_key {key};\nssl_client_certificate \
         {authorized};\nssl_verify_client {clients};\n"
    )
}

/// A machine that has built `hello.bst` and pushed it nowhere.
fn built() -> (Project, Machine) {
    let project = Project::hello();
    let builder = Machine::new("scheduler: {network-retries: 0}\n");
    builder.bst(&project, "build hello.bst").ok();
    (project, builder)
}

fn push(to: &Remote) -> String {
    format!("artifact push hello.bst --artifact-remote {}", to.flag())
}

fn pull(project: &Project, from: &Remote) {
    let puller = Machine::new(&artifacts(std::slice::from_ref(from)));
    puller.bst(project, "artifact pull hello.bst").ok().says("Pulled artifact");
    assert_eq!(puller.checkout(project, "hello.bst"), hello_tree());
}

fn ready() -> bool {
    installed(BUILDSTREAM) && installed(&["nginx"])
}

#[test]
fn grpc_goes_through_nginx() {
    if !ready() {
        return;
    }
    let data = tempdir().expect("a directory");
    let hub = Hub::drop_in(data.path(), "--enable-push");
    let nginx = Nginx::start(&format!("listen PORT http2;\n{}", pass(hub.port()).replace("HEADERS", "")));
    let (project, builder) = built();
    let remote = Remote::at(nginx.url());
    builder.bst(&project, &push(&remote)).ok().says("Pushed artifact");
    pull(&project, &remote);
    pull(&project, &Remote::at(hub.url()));
}

/// Two plain instances on one directory; TLS and certificates end in nginx, once without and once with them.
#[test]
fn nginx_ends_tls_and_client_certificates() {
    if !ready() {
        return;
    }
    let (data, keys) = (tempdir().expect("a directory"), Keys::new().authorized());
    let (read, write) = (Hub::drop_in(data.path(), ""), Hub::drop_in(data.path(), "--enable-push"));
    let public = Nginx::start(&(tls(&keys, "off") + &pass(read.port()).replace("HEADERS", "")));
    let private = Nginx::start(&(tls(&keys, "on") + &pass(write.port()).replace("HEADERS", "")));
    let (project, builder) = built();
    let known = |nginx: &Nginx| Remote::at(nginx.secure_url()).trusting(&keys);
    builder.bst(&project, &push(&known(&private))).fails().says("Failed to initialize remote");
    builder.bst(&project, &push(&known(&public).showing(&keys))).fails().says("Failed to initialize remote");
    assert!(!write.log().contains("Push/PushBlob"), "nginx refused it\n{}", write.log());
    builder.bst(&project, &push(&known(&private).showing(&keys))).ok().says("Pushed artifact");
    pull(&project, &known(&public));
}

/// One port for all: nginx says who showed which certificate, and the hub decides.
#[test]
fn the_hub_takes_nginx_s_word_for_a_client_certificate() {
    if !ready() {
        return;
    }
    let (data, keys) = (tempdir().expect("a directory"), Keys::new().authorized());
    let file = data.path().join("entrepot.toml");
    let port = free_port();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:{port}\"\nanonymous = [\"pull\"]\ncertified = [\"push\"]\n\
         proxies = [\"127.0.0.1\"]\nproxy_certificate = true\n"
    );
    std::fs::write(&file, text).expect("a file");
    let hub = Hub::serve_at(port, &data.path().join("data"), &format!("--config {}", file.display()));
    let headers = "grpc_set_header X-SSL-Client-Verify $ssl_client_verify;\n\
                   grpc_set_header X-SSL-Client-S-DN $ssl_client_s_dn;";
    let nginx = Nginx::start(&(tls(&keys, "optional") + &pass(hub.port()).replace("HEADERS", headers)));
    let (project, builder) = built();
    let anybody = Remote::at(nginx.secure_url()).trusting(&keys);
    builder.bst(&project, &push(&anybody)).fails().says("Failed to initialize remote");
    builder.bst(&project, &push(&anybody.clone().showing(&keys))).ok().says("Pushed artifact");
    pull(&project, &anybody);
}

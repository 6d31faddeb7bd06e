//! What the guides tell people to type, letter for letter but for ports and paths.

use std::path::Path;

use suite::clients::{Authority, Hub, Station, as_root, entrepot, free_port, installed, users};
use suite::layout::Layout;
use tempfile::{TempDir, tempdir};

use crate::stage::{PASSWORD, USER, block};

/// What all tests here need.
const NEEDED: &[&str] = &["podman", "runc", "skopeo", "busybox", "htpasswd", "openssl"];

/// A guide, of which a test runs the blocks that have a name.
struct Guide {
    text: String,
}

impl Guide {
    fn read(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides").join(name);
        Self { text: std::fs::read_to_string(file).expect("a guide") }
    }

    /// The block with this name: the second word after its fence.
    fn block(&self, name: &str) -> &str {
        let named = |fence: &str| fence.split_whitespace().nth(1) == Some(name);
        let block = self.text.split("```").skip(1).step_by(2).find(|block| named(block.lines().next().unwrap_or("")));
        let block = block.unwrap_or_else(|| panic!("the guide has no block {name}"));
        block.split_once('\n').expect("lines").1
    }
}

/// A team's registry as the guide configures it, and a machine that trusts it.
struct Team {
    hub: Hub,
    station: Station,
    root: TempDir,
    _authority: Authority,
    guide: Guide,
}

impl Team {
    fn new() -> Self {
        let (guide, root, authority) = (Guide::read("registry.md"), tempdir().expect("a directory"), Authority::new());
        let port = free_port();
        users(&root.path().join("users"), USER, PASSWORD);
        let configuration = format!("{}\n{}", guide.block("rules.toml"), guide.block("entrepot.toml"))
            .replace("[::]:5000", &format!("127.0.0.1:{port}"))
            .replace("/etc/entrepot/users", &root.path().join("users").display().to_string())
            .replace("/etc/entrepot/server.crt", &authority.file("server.crt"))
            .replace("/etc/entrepot/server.key", &authority.file("server.key"));
        let hub = Hub::configured_at(port, root.path(), &configuration);
        let station = Station::new();
        station.trust(&format!("registry.example:{port}"), &authority.path().join("ca.crt"));
        let hosts = format!("etc/containerd/certs.d/registry.example:{port}/hosts.toml");
        let team = Self { hub, station, root, _authority: authority, guide };
        team.station.write(&hosts, &team.here(team.guide.block("hosts.toml")));
        team
    }

    /// With the ports of this test.
    fn here(&self, text: &str) -> String {
        text.replace("registry.example:5000", &format!("registry.example:{}", self.hub.port()))
    }

    fn run(&self, block: &str) -> suite::clients::Said {
        self.station.run(&format!("PASSWORD={PASSWORD}\n{}", self.here(self.guide.block(block))))
    }

    /// The commands of the hub's operator.
    fn operate(&self, block: &str) -> suite::clients::Said {
        let called = format!("{} --data {}", entrepot().display(), self.root.path().join("data").display());
        self.station.run(&self.guide.block(block).replace("entrepot tag", &format!("{called} tag")))
    }
}

#[test]
fn the_guide_to_the_registry_works_with_podman() {
    if !(installed(NEEDED) && as_root()) {
        return;
    }
    let team = Team::new();
    team.station.podman_has(&Layout::busybox("guide"), "localhost/my-image:latest");
    team.run("podman").ok().says("team/copy");
    // On one's own machine.
    let root = tempdir().expect("a directory");
    let hub = Hub::serve(root.path(), "");
    let here = |text: &str| text.replace("localhost:9090", &format!("localhost:{}", hub.port()));
    team.station.write("etc/containers/registries.conf.d/here.conf", &here(team.guide.block("here.conf")));
    team.station.run(&here(team.guide.block("podman-here"))).ok();
}

#[test]
fn the_guide_to_the_registry_works_with_docker_and_containerd() {
    if !(installed(&["docker", "dockerd", "containerd", "ctr"]) && installed(NEEDED) && as_root()) {
        return;
    }
    let mut team = Team::new();
    if !(team.station.docker() && team.station.containerd()) {
        return;
    }
    let image = Layout::busybox("guide");
    let from = image.path().display();
    let lines = format!("skopeo copy oci:{from}:1 docker-archive:i.tar:my-image:latest && docker load -i i.tar");
    team.station.run(&lines).ok();
    team.run("docker").ok();
    team.run("containerd").ok();
}

#[test]
fn the_guide_to_versions_works() {
    if !(installed(NEEDED) && as_root()) {
        return;
    }
    let team = Team::new();
    let address = format!("registry.example:{}", team.hub.port());
    team.station.run(&format!("podman login -u {USER} -p {PASSWORD} {address}")).ok();
    let (old, new) = (Layout::busybox("old"), Layout::busybox("new"));
    let publish = |image: &Layout, version: &str| {
        team.station.podman_has(image, "localhost/runner:latest");
        team.station.run(&team.here(team.guide.block("publish")).replace("1.4.2", version))
    };
    publish(&old, "1.4.2").ok();
    publish(&new, "1.4.3").ok();
    publish(&new, "1.4.2").fails().says("the tag 1.4.2 never moves once it is there");
    team.operate("history").ok().says("1.4.3").says("by user:alice");
    let run = format!("podman pull -q {address}/setup-factory/runner:latest && podman run --rm $_");
    let run = run.replace("$_", &format!("{address}/setup-factory/runner:latest"));
    team.station.run(&run).ok().says("it runs new");
    team.operate("rollback").ok().says("no longer at");
    team.station.run(&run).ok().says("it runs old");
}

/// A hub that stands for Docker Hub, and one that is its mirror.
struct Mirror {
    upstream: Hub,
    hub: Hub,
    station: Station,
    guide: Guide,
    _roots: [TempDir; 2],
}

impl Mirror {
    fn new() -> Self {
        let (guide, roots) = (Guide::read("mirrors.md"), [(); 2].map(|()| tempdir().expect("a directory")));
        let upstream = Hub::serve(roots[0].path(), "");
        let image = Layout::busybox("mirrored");
        let api = suite::clients::Api::new(&upstream.url());
        block(async move { api.push("library/tool", Some("1"), &image).await }).expect("a push");
        // The hub's own idea of where Docker Hub is.
        let configuration = format!(
            "{}endpoint = \"http://127.0.0.1:{}\"\nplain_http = true\nprivate = true\n[[listen]]\naddress = \
             \"127.0.0.1:PORT\"\n",
            guide.block("entrepot.toml"),
            upstream.port()
        );
        let hub = Hub::configured(roots[1].path(), &configuration);
        Self { upstream, hub, station: Station::new(), guide, _roots: roots }
    }

    fn here(&self, block: &str) -> String {
        self.guide.block(block).replace("localhost:9090", &format!("localhost:{}", self.hub.port()))
    }

    /// Once through, and once more when there is no other side.
    fn pulls(&mut self, block: &str, forget: &str) {
        self.station.run(&self.here(block)).ok();
        self.upstream.kill();
        self.station.run(&format!("{forget}\n{}", self.here(block))).ok();
    }
}

#[test]
fn the_guide_to_mirrors_works_with_podman() {
    if !(installed(NEEDED) && as_root()) {
        return;
    }
    let mut mirror = Mirror::new();
    mirror.station.write("etc/containers/registries.conf.d/mirror.conf", &mirror.here("mirror.conf"));
    mirror.pulls("podman", "podman rmi docker.io/library/tool:1");
    let named = format!("podman pull --tls-verify=false localhost:{}/docker.io/library/tool:1", mirror.hub.port());
    mirror.station.run(&named).ok();
}

#[test]
fn the_guide_to_mirrors_works_with_containerd() {
    if !(installed(&["containerd", "ctr", "busybox"]) && as_root()) {
        return;
    }
    let mut mirror = Mirror::new();
    mirror.station.write("etc/containerd/certs.d/docker.io/hosts.toml", &mirror.here("hosts.toml"));
    if mirror.station.containerd() {
        mirror.pulls("containerd", "ctr images rm --sync docker.io/library/tool:1");
    }
}

#[test]
fn the_guide_to_mirrors_works_with_docker() {
    if !(installed(&["docker", "dockerd", "busybox"]) && as_root()) {
        return;
    }
    let mut mirror = Mirror::new();
    mirror.station.write("etc/docker/daemon.json", &mirror.here("daemon.json"));
    if mirror.station.docker() {
        mirror.pulls("docker", "docker rmi tool:1");
    }
}

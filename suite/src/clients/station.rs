//! Somebody's machine with container tools: settings, storage, caches and engines of its own.
//!
//! The tools of one machine share things in places that they do not let anybody choose (sockets, locks, a memory of
//! which registry has which layer), so that each machine of a test sees its own `/etc`, `/run`, `/var/lib` and
//! `/dev/shm`, in a mount namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Running, Said, program, until};
use crate::layout::Layout;

/// Seconds after which a command is ended: it hangs.
const LIMIT: &str = "240";
/// What is mounted over what, before a command runs.
const MOUNTS: &str = r#"for place in etc run var/lib dev/shm; do mount --bind "$1/$place" "/$place" || exit 1; done
export HOME="$1/home" XDG_RUNTIME_DIR="$1/home/run"; unset DOCKER_HOST DOCKER_CONFIG REGISTRY_AUTH_FILE
unset ENTREPOT_BINARY ENTREPOT_CLIENTS http_proxy https_proxy HTTP_PROXY HTTPS_PROXY; cd "$1/home"; shift; exec "$@""#;
/// What engines need to run here as root, wherever "here" is: no network, no systemd, no limits to raise.
const CONTAINERS: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\nnetns = \
                          \"none\"\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_backend = \
                          \"file\"\n";
const STORAGE: &str = "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \
                       \"/var/lib/containers/storage\"\n";
const POLICY: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
/// No plugins that want more than pushing and pulling does.
const CONTAINERD: &str = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";

/// Whether this is root, without whom there are no mount namespaces and no engines; else the line that says so is
/// printed.
#[must_use]
pub fn as_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("not run: clients that run containers, because this is not root");
    }
    root
}

/// A machine.
#[derive(Debug)]
pub struct Station {
    // Ended before their files go.
    engines: Vec<Running>,
    home: tempfile::TempDir,
}

impl Station {
    /// A machine that knows `registry.example` as itself, and nobody's certificates.
    ///
    /// # Panics
    /// When the files cannot be written; the others here too.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let station = Self { engines: Vec::new(), home };
        for place in ["etc/containers", "etc/docker", "run", "var/lib", "dev/shm", "home/run"] {
            fs::create_dir_all(station.path(place)).expect("a directory");
        }
        for file in ["passwd", "group", "nsswitch.conf", "ld.so.cache", "subuid", "subgid"] {
            // What this system does without, its programs do, too.
            let _ = fs::copy(Path::new("/etc").join(file), station.path("etc").join(file));
        }
        // Debian chooses some programs by links in there.
        let mut copy = Command::new("cp");
        copy.args(["-a", "/etc/alternatives"]).arg(station.path("etc")).stderr(Stdio::null());
        copy.status().expect("cp runs");
        station.write("etc/hosts", "127.0.0.1 localhost registry.example\n");
        station.write("etc/containers/policy.json", POLICY);
        station.write("etc/containers/storage.conf", STORAGE);
        station.write("etc/containers/containers.conf", CONTAINERS);
        station
    }

    /// A place of this machine, such as `etc/hosts`, as everybody sees it.
    pub fn path(&self, place: &str) -> PathBuf {
        self.home.path().join(place)
    }

    /// Writes a file of this machine.
    pub fn write(&self, place: &str, text: &str) {
        let file = self.path(place);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, text).expect("a file");
    }

    /// Its administrator lets podman, buildah and skopeo speak without TLS to the registry at this address.
    pub fn plain(&self, address: &str) {
        let file = format!("etc/containers/registries.conf.d/{}.conf", address.replace(':', "-"));
        self.write(&file, &format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"));
    }

    /// Its administrator trusts an authority for the registry at this address, in the place of each tool.
    pub fn trust(&self, address: &str, authority: &Path) {
        let text = fs::read_to_string(authority).expect("a certificate");
        for tool in ["containers", "docker", "containerd"] {
            self.write(&format!("etc/{tool}/certs.d/{address}/ca.crt"), &text);
        }
        let hosts = format!("server = \"https://{address}\"\n[host.\"https://{address}\"]\n  ca = \"ca.crt\"\n");
        self.write(&format!("etc/containerd/certs.d/{address}/hosts.toml"), &hosts);
    }

    /// A command in the namespace of this machine.
    fn enter(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNTS, "sh"]).arg(self.home.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs lines of a shell, as its user types them.
    pub fn run(&self, lines: &str) -> Said {
        let mut command = self.enter();
        command.args(["timeout", "--kill-after=10", LIMIT, "sh", "-e", "-c", lines]);
        Said::new(lines.into(), &command.output().expect("a shell runs"))
    }

    /// Podman and buildah have an image under a whole name.
    pub fn podman_has(&self, image: &Layout, name: &str) {
        self.run(&format!("skopeo copy -q oci:{}:1 containers-storage:{name}", image.path().display())).ok();
    }

    /// Starts an engine; it ends with the machine, with all that it started.
    fn engine(&mut self, name: &str, arguments: &[&str], socket: &str) -> bool {
        let mut command = self.enter();
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(program(name)).args(arguments);
        let mut engine = Running::start(name, &mut command);
        let socket = self.path(socket);
        let mut ended = None;
        until(&format!("{name} listens"), Duration::from_secs(60), || {
            ended = engine.ended();
            ended.is_some() || socket.exists()
        });
        if let Some(status) = ended {
            let log = engine.log();
            let why = log.lines().last().unwrap_or_default();
            println!("not run: {name} does not start here ({status}): {why}");
            return false;
        }
        self.engines.push(engine);
        true
    }

    /// Starts containerd, where that is possible; else says why it is not.
    #[must_use]
    pub fn containerd(&mut self) -> bool {
        self.write("etc/containerd/config.toml", CONTAINERD);
        self.engine("containerd", &[], "run/containerd/containerd.sock")
    }

    /// Starts Docker's engine, where that is possible; else says why it is not.
    #[must_use]
    pub fn docker(&mut self) -> bool {
        let arguments = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"];
        let started = self.engine("dockerd", &arguments, "run/docker.sock");
        if started {
            let answers = || self.run("docker version").succeeded();
            until("docker's engine answers", Duration::from_secs(60), answers);
        }
        started
    }
}

impl Default for Station {
    fn default() -> Self {
        Self::new()
    }
}

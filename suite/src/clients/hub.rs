//! The product: its binary, under either of its names, on a free port.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{Running, until};

/// Ports are taken below those that the system gives to connections, so that none is lost between choosing it and
/// listening on it.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let spread = std::process::id() % 1000 * 20;
    AtomicU16::new(11_000 + u16::try_from(spread).expect("less than 20000"))
});

/// A port on which nobody listens.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    (0..1000)
        .map(|_| NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| TcpListener::bind(("::", *port)).is_ok())
        .expect("a free port")
}

/// The binary: `$ENTREPOT_BINARY`, or the one beside this test, built now so that it is never an old one.
///
/// # Panics
/// When it does not build.
pub fn entrepot() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(given) = std::env::var_os("ENTREPOT_BINARY") {
            return given.into();
        }
        let test = std::env::current_exe().expect("the path of this test");
        let profile = test.ancestors().nth(2).expect("target/<profile>/deps");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "entrepot"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().is_ok_and(|status| status.success()), "entrepot does not build");
        profile.join("entrepot")
    });
    &BINARY
}

/// The binary as a command; what is set for the suite is no configuration of it.
pub fn command() -> Command {
    let mut command = Command::new(entrepot());
    without_settings(&mut command);
    command
}

fn without_settings(command: &mut Command) {
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ENTREPOT_")) {
        command.env_remove(key);
    }
}

/// A server under test.
#[derive(Debug)]
pub struct Hub {
    running: Running,
    port: u16,
}

impl Hub {
    /// `bst-artifact-server` with the options of a command line, on a free port.
    pub fn drop_in(data: &Path, options: &str) -> Self {
        Self::drop_in_at(free_port(), data, options)
    }

    /// The same on a given port.
    pub fn drop_in_at(port: u16, data: &Path, options: &str) -> Self {
        let mut command = Command::new(entrepot());
        command.arg0("bst-artifact-server").args(["--log-level", "info", "--port", &port.to_string()]);
        Self::start(port, command.args(options.split_whitespace()).arg(data))
    }

    /// `entrepot serve` on a free port.
    pub fn serve(data: &Path, options: &str) -> Self {
        Self::serve_at(free_port(), data, options)
    }

    /// The same on a given port.
    pub fn serve_at(port: u16, data: &Path, options: &str) -> Self {
        let mut command = Command::new(entrepot());
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(data);
        Self::start(port, command.args(options.split_whitespace()))
    }

    /// `entrepot serve` by a configuration, in which `PORT` is a free port; its data lie in `data` beside.
    pub fn configured(root: &Path, configuration: &str) -> Self {
        Self::configured_at(free_port(), root, configuration)
    }

    /// The same on a given port.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configured_at(port: u16, root: &Path, configuration: &str) -> Self {
        let file = root.join("entrepot.toml");
        std::fs::write(&file, configuration.replace("PORT", &port.to_string())).expect("a configuration");
        let mut command = Command::new(entrepot());
        command.args(["serve", "-c"]).arg(file).arg("--data").arg(root.join("data"));
        Self::start(port, &mut command)
    }

    /// Any command that serves on the port.
    pub fn start(port: u16, command: &mut Command) -> Self {
        without_settings(command);
        let name = command.get_program().to_string_lossy().into_owned();
        let mut running = Running::start(&format!("{name} on port {port}"), command);
        until("the server listens", Duration::from_secs(20), || {
            if let Some(status) = running.ended() {
                panic!("the server ended: {status}\n{}", running.log());
            }
            TcpStream::connect(("localhost", port)).is_ok()
        });
        Self { running, port }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients find it without TLS.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Where clients find it with TLS: under the name in the seed document's certificate.
    pub fn secure_url(&self) -> String {
        format!("https://artifacts.com:{}", self.port)
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Ends it as systemd does.
    ///
    /// # Panics
    /// When it does not end with success.
    pub fn stop(&mut self) {
        let status = self.running.stop();
        assert!(status.success(), "SIGTERM is a clean end: {status}\n{}", self.running.log());
    }
}

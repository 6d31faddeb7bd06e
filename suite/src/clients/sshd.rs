//! Debian's sshd on a port of its own, configured as BuildStream 1's document says: an account `artifacts` whose home
//! directory is a temporary one, which only that sshd sees (bubblewrap lays an `/etc/passwd` over the machine's).

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{FORCE_COMMAND, Running, entrepot, free_port, program, until};

/// What has to be installed for it.
const NEEDS: &[&str] = &["ssh", "ssh-keygen", "sshd", "bwrap"];

/// An sshd, and the home directory of its user.
#[derive(Debug)]
pub struct Sshd {
    running: Running,
    port: u16,
    home: tempfile::TempDir,
}

impl Sshd {
    /// What [`super::installed`] is to be asked for.
    #[must_use]
    pub fn needs() -> &'static [&'static str] {
        NEEDS
    }

    /// Starts it. Nobody is let in yet, and there is no data directory yet.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let home = tempfile::tempdir().expect("a home directory");
        let place = home.path();
        for (name, mode) in [(".ssh", 0o700), ("bin", 0o755)] {
            std::fs::create_dir(place.join(name)).expect("a directory");
            std::fs::set_permissions(place.join(name), PermissionsExt::from_mode(mode)).expect("a mode");
        }
        std::os::unix::fs::symlink(entrepot(), place.join("bin/bst-artifact-receive")).expect("a third name");
        let mut make = Command::new(program("ssh-keygen"));
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.join("host"));
        assert!(make.status().expect("ssh-keygen runs").success());
        let (port, at) = (free_port(), place.display());
        // Beyond ten logins under way sshd drops some at random, unless it is told otherwise; our guide says that, too.
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\nUsePAM no\nLogLevel VERBOSE\nMaxStartups 100\n\
             SetEnv PATH={at}/bin:/usr/bin:/bin\n{FORCE_COMMAND}"
        );
        std::fs::write(place.join("sshd_config"), configuration).expect("a configuration");
        let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let machine = std::fs::read_to_string("/etc/passwd").expect("the machine's accounts");
        // First, because names are looked up by number as well.
        let accounts = format!("artifacts:x:{user}:{group}::{at}:/bin/sh\n{machine}");
        std::fs::write(place.join("passwd"), accounts).expect("accounts");
        let mut command = Command::new(program("bwrap"));
        command.args(["--dev-bind", "/", "/", "--tmpfs", "/run", "--dir", "/run/sshd", "--die-with-parent"]);
        command.arg("--ro-bind").arg(place.join("passwd")).arg("/etc/passwd");
        if user == 0 {
            // It changes its root and its user, where it has the right to.
            command.args(["--cap-add", "ALL"]);
        }
        command.arg(program("sshd")).args(["-D", "-e", "-f"]).arg(place.join("sshd_config"));
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ENTREPOT_")) {
            command.env_remove(key);
        }
        let mut running = Running::start("sshd", &mut command);
        until("sshd listens", Duration::from_secs(20), || {
            assert!(running.ended().is_none(), "sshd ended:\n{}", running.log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { running, port, home }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The home directory of `artifacts`.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// REPO of the document's `ForceCommand`.
    pub fn repository(&self) -> PathBuf {
        self.home().join("artifacts")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.running.log()
    }
}

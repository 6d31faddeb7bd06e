//! Somebody's machine with BuildStream: its caches and configuration, and no artifacts yet.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::{Project, Said, program, tree};

/// Seconds after which a run of `bst` is ended: it hangs.
const LIMIT: &str = "150";

/// `bst` with directories of its own. It runs with a hosts file of its own too, in which `artifacts.com`, the
/// seed document's example, is this machine.
#[derive(Debug)]
pub struct Machine {
    home: tempfile::TempDir,
}

impl Machine {
    /// A machine whose user wrote this configuration.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn new(configuration: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(home.path().join("hosts"), "127.0.0.1 localhost artifacts.com\n").expect("a hosts file");
        let machine = Self { home };
        machine.configure(configuration);
        machine
    }

    /// Its user changes the configuration.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, configuration: &str) {
        std::fs::write(self.home.path().join("buildstream.conf"), configuration).expect("a configuration file");
    }

    /// Forgets every artifact and source, as a new machine of the same user.
    ///
    /// # Panics
    /// When the cache cannot be removed.
    pub fn forget(&self) {
        std::fs::remove_dir_all(self.home.path().join("buildstream")).expect("a cache");
    }

    /// Runs `bst` with the words of a command line.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn bst(&self, project: &Project, line: &str) -> Said {
        let home = self.home.path();
        let mut command = Command::new(program("bwrap"));
        command.args(["--die-with-parent", "--dev-bind", "/", "/", "--ro-bind"]).arg(home.join("hosts"));
        // Asked to end, it ends what it builds and its casd too.
        command.args(["/etc/hosts", "timeout", "--kill-after=10", LIMIT]);
        command.arg(program("bst")).args(["--no-interactive", "--no-colors", "--on-error", "quit"]);
        command.args(line.split_whitespace()).stdin(Stdio::null()).current_dir(project.path());
        // A proxy of the environment is no part of the test.
        for proxy in ["http_proxy", "https_proxy", "grpc_proxy"] {
            command.env_remove(proxy);
        }
        let done = command.env("XDG_CACHE_HOME", home).env("XDG_CONFIG_HOME", home).output().expect("bst runs");
        Said::new(format!("bst {line}"), &done)
    }

    /// Checks an artifact out, which must be in the cache of this machine, and says what is in it.
    ///
    /// # Panics
    /// When it is not there.
    pub fn checkout(&self, project: &Project, element: &str) -> BTreeMap<String, String> {
        let place = self.home.path().join("checkout");
        self.bst(project, &format!("artifact checkout --deps none --directory {} {element}", place.display())).ok();
        let found = tree(&place);
        std::fs::remove_dir_all(place).expect("a checkout");
        found
    }
}

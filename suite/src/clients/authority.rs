//! A private certificate authority, and a server that it knows.

use std::path::Path;
use std::process::{Command, Stdio};

use super::program;

/// What `openssl` is asked for: an authority, and a server's certificate of it.
const MAKE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=A private \
                    authority' -keyout ca.key -out ca.crt && openssl req -x509 -newkey ec -pkeyopt \
                    ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=registry.example -CA ca.crt -CAkey ca.key \
                    -addext 'subjectAltName=DNS:registry.example,DNS:localhost' -addext \
                    basicConstraints=critical,CA:FALSE -keyout server.key -out server.crt";

/// A directory with `ca.crt`, `server.crt` and `server.key`. The server is called `registry.example` and `localhost`.
#[derive(Debug)]
pub struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When `openssl` does not make it: ask [`super::installed`] first.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut shell = Command::new("sh");
        shell.args(["-c", MAKE]).current_dir(directory.path()).stdin(Stdio::null());
        let done = shell.output().expect("a shell");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { directory }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A password file with one user.
///
/// # Panics
/// When it cannot be made.
pub fn users(file: &Path, name: &str, password: &str) {
    let mut command = Command::new(program("htpasswd"));
    // The least work that bcrypt allows: what is slow against guessing is slow for a test, too.
    command.args(["-B", "-C", "4", "-b", "-c"]).arg(file).args([name, password]).stderr(Stdio::null());
    assert!(command.status().is_ok_and(|status| status.success()), "htpasswd makes a file");
}

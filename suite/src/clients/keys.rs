//! Keys and certificates, made by the seed document's commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::{AUTHORIZE, CLIENT_KEY, SERVER_KEY};

/// A directory with `server.key`, `server.crt`, `client.key`, `client.crt`, and `authorized.crt` where somebody
/// was let in.
#[derive(Debug)]
pub struct Keys {
    directory: tempfile::TempDir,
}

impl Keys {
    /// Key pairs of a server and of a client, the same for all tests: they take seconds to make. Nobody is let in.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn new() -> Self {
        static SHARED: LazyLock<PathBuf> = LazyLock::new(|| {
            let test = std::env::current_exe().expect("the path of this test");
            let place = test.with_file_name("client-keys");
            if !place.is_dir() {
                let fresh = Keys::fresh();
                // Somebody else may have been faster: then theirs are as good.
                let _ = std::fs::rename(fresh.directory.keep(), &place);
            }
            place
        });
        let directory = directory();
        for file in ["server.key", "server.crt", "client.key", "client.crt"] {
            std::fs::copy(SHARED.join(file), directory.path().join(file)).expect("a copy of a key");
        }
        std::fs::write(directory.path().join("authorized.crt"), "").expect("an empty file");
        Self { directory }
    }

    /// New key pairs, made now. Nobody is let in.
    pub fn fresh() -> Self {
        let keys = Self { directory: directory() };
        keys.run(SERVER_KEY);
        keys.run(CLIENT_KEY);
        keys
    }

    /// The client is let in, as the document says.
    #[must_use]
    pub fn authorized(self) -> Self {
        self.authorize();
        self
    }

    /// Lets the client in, perhaps while a server runs.
    pub fn authorize(&self) {
        self.run(AUTHORIZE);
    }

    /// Runs a shell command beside the files.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, command: &str) {
        assert!(self.runs(command), "{command}");
    }

    /// Runs a shell command beside the files, and says whether it succeeded.
    pub fn runs(&self, command: &str) -> bool {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.path()).stderr(Stdio::null());
        shell.status().is_ok_and(|status| status.success())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// The options of a server with TLS.
    pub fn tls(&self) -> String {
        format!("--server-key {} --server-cert {}", self.file("server.key"), self.file("server.crt"))
    }

    /// The options of a server with TLS that lets in who is authorized, and takes pushes.
    pub fn mutual(&self) -> String {
        format!("{} --client-certs {} --enable-push", self.tls(), self.file("authorized.crt"))
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

/// On the same file system as the test, so that it can be renamed to where all tests find it.
fn directory() -> tempfile::TempDir {
    let test = std::env::current_exe().expect("the path of this test");
    tempfile::tempdir_in(test.parent().expect("its directory")).expect("a temporary directory")
}

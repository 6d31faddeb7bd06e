//! Certificates and keys, made by the `openssl` program as operators make them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program in a directory and wants it to succeed. Words are split at spaces.
pub(crate) fn run(directory: &Path, line: &str) -> String {
    let mut words = line.split(' ').map(|word| word.trim_matches('"'));
    let program = words.next().expect("a program");
    let done = Command::new(program).args(words).current_dir(directory).output().expect("it is installed");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A pair of files in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    fn named(directory: &Path, name: &str) -> Self {
        Self { certificate: directory.join(format!("{name}.crt")), key: directory.join(format!("{name}.key")) }
    }

    /// A self-signed pair by BuildStream's recipe, with an elliptic key because that is made at once.
    pub(crate) fn quick(directory: &Path, name: &str, subject: &str) -> Self {
        run(
            directory,
            &format!(
                "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -x509 -sha256 -days 3650 -nodes -batch \
                 -subj \"/CN={subject}\" -out {name}.crt -keyout {name}.key"
            ),
        );
        Self::named(directory, name)
    }

    /// The guide's own command for the server.
    pub(crate) fn server_of_the_guide(directory: &Path) -> Self {
        run(
            directory,
            "openssl req -new -newkey rsa:4096 -x509 -sha256 -days 3650 -nodes -batch -subj \"/CN=artifacts.com\" \
             -out server.crt -keyout server.key",
        );
        Self::named(directory, "server")
    }

    /// The guide's own command for a client.
    pub(crate) fn client_of_the_guide(directory: &Path) -> Self {
        run(
            directory,
            "openssl req -new -newkey rsa:4096 -x509 -sha256 -days 3650 -nodes -batch -subj \"/CN=client\" \
             -out client.crt -keyout client.key",
        );
        Self::named(directory, "client")
    }

    /// A pair whose certificate another one signed.
    pub(crate) fn signed(directory: &Path, name: &str, by: &str) -> Self {
        run(
            directory,
            &format!(
                "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch -subj \"/CN={name}\" \
                 -out {name}.csr -keyout {name}.key"
            ),
        );
        std::fs::write(directory.join("leaf.ext"), "basicConstraints=CA:FALSE\n").expect("it is written");
        run(
            directory,
            &format!(
                "openssl x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -days 30 \
                 -extfile leaf.ext -out {name}.crt"
            ),
        );
        Self::named(directory, name)
    }
}

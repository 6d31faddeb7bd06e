//! The keys by which clients know the host: made at the first start, kept for ever, because a changed one makes every
//! client refuse.
//!
//! Ed25519 for all; ECDSA on P-256 for clients that may only use what FIPS 140 lists. No RSA: every OpenSSH since 6.5
//! (2014) knows the others, and our RSA code is for verifying only (docs/decisions/0007-ssh.md).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::{Error, Result};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};

/// The host's private keys, as text in OpenSSH's format: a guest sends them to the owner of the data directory.
#[derive(Clone)]
pub struct HostKeys(Vec<PrivateKey>);

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostKeys").field(&self.fingerprints()).finish()
    }
}

impl HostKeys {
    /// The keys of a data directory, `ssh_host_ed25519_key` and `ssh_host_ecdsa_key` with their `.pub` beside them.
    /// Those that are not there are made, readable by this user only, and durable before this returns.
    ///
    /// # Errors
    /// When the directory cannot be written, or a file in it is no private key.
    pub fn of(directory: &Path) -> Result<Self> {
        let kinds = [
            ("ssh_host_ed25519_key", Algorithm::Ed25519),
            ("ssh_host_ecdsa_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }),
        ];
        let paths = kinds.map(|(name, algorithm)| {
            let path = directory.join(name);
            if !path.exists() {
                make(directory, &path, algorithm)?;
            }
            Ok(path)
        });
        Self::read(&paths.into_iter().collect::<Result<Vec<PathBuf>>>()?)
    }

    /// Keys that are somewhere else, such as those of the machine's sshd, in OpenSSH's format without a passphrase.
    ///
    /// # Errors
    /// `Malformed` when one cannot be used, with what to do.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        paths.iter().map(|path| read(path)).collect::<Result<_>>().map(Self)
    }

    /// The same as texts.
    ///
    /// # Errors
    /// `Broken` when a key cannot be written down.
    pub fn texts(&self) -> Result<Vec<String>> {
        let text = |key: &PrivateKey| Ok(key.to_openssh(LineEnding::LF).map_err(unwritable)?.to_string());
        self.0.iter().map(text).collect()
    }

    /// Keys from the texts of [`HostKeys::texts`].
    ///
    /// # Errors
    /// `Malformed` for what is no key.
    pub fn from_texts(texts: &[String]) -> Result<Self> {
        let read = |text: &String| PrivateKey::from_openssh(text);
        let keys: std::result::Result<_, _> = texts.iter().map(read).collect();
        keys.map(Self)
            .map_err(|error| Error::malformed("a host key that was passed along does not read").because(error))
    }

    /// What `ssh-keygen -l` shows of each.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|key| key.fingerprint(HashAlg::Sha256).to_string()).collect()
    }

    pub(super) fn keys(&self) -> Vec<PrivateKey> {
        self.0.clone()
    }
}

fn unwritable(error: russh::keys::ssh_key::Error) -> Error {
    Error::broken("a host key cannot be written down").because(error)
}

fn make(directory: &Path, path: &Path, algorithm: Algorithm) -> Result<()> {
    let cannot = |error: io::Error| Error::io(format!("cannot make the host key {}", path.display()), error);
    let key = PrivateKey::random(&mut rand::rng(), algorithm).map_err(unwritable)?;
    let text = key.to_openssh(LineEnding::LF).map_err(unwritable)?;
    let public = key.public_key().to_openssh().map_err(unwritable)?;
    write(&path.with_extension("pub"), 0o644, format!("{public} entrepot\n").as_bytes()).map_err(cannot)?;
    // Last, because it is what the next start looks for.
    write(path, 0o600, text.as_bytes()).map_err(cannot)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(cannot)?;
    tracing::warn!(file = %path.display(), fingerprint = %key.fingerprint(HashAlg::Sha256), "made a new SSH host key");
    Ok(())
}

/// Whole and on the disk, or not there.
fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

fn read(path: &Path) -> Result<PrivateKey> {
    let name = path.display();
    let unreadable = |error: io::Error| Error::io(format!("cannot read the host key {name}"), error);
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(Error::malformed(format!("anybody may use the host key {name}: take that away with chmod 600")));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let key = PrivateKey::from_openssh(&text).map_err(|error| {
        Error::malformed(format!("{name} is no private key in OpenSSH's format: make one with ssh-keygen -t ed25519"))
            .because(error)
    })?;
    match key.algorithm() {
        _ if key.is_encrypted() => Err(Error::malformed(format!(
            "the host key {name} has a passphrase, which nobody can type here: remove it with ssh-keygen -p"
        ))),
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(key),
        other => Err(Error::malformed(format!(
            "the host key {name} is {other}: Ed25519 and ECDSA are taken, make one with ssh-keygen -t ed25519"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_are_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = HostKeys::of(directory.path()).expect("new keys");
        let again = HostKeys::of(directory.path()).expect("the same keys");
        assert_eq!(first.fingerprints(), again.fingerprints());
        assert_eq!(first.fingerprints().len(), 2);
        let mode = |name: &str| fs::metadata(directory.path().join(name)).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode("ssh_host_ed25519_key"), mode("ssh_host_ecdsa_key")), (0o600, 0o600));
        let passed = HostKeys::from_texts(&first.texts().expect("texts")).expect("keys");
        assert_eq!(passed.fingerprints(), first.fingerprints());
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        let refused = |path: &Path| HostKeys::read(&[path.to_owned()]).expect_err("refused").text().to_owned();
        assert!(refused(&path).contains("cannot read"));
        write(&path, 0o600, b"nonsense").expect("a file");
        assert!(refused(&path).contains("ssh-keygen -t ed25519"));
        let keys = HostKeys::of(directory.path()).expect("keys");
        write(&path, 0o644, keys.texts().expect("texts")[0].as_bytes()).expect("a file");
        assert!(refused(&path).contains("chmod 600"));
    }
}

//! Who may come in by SSH: an OpenSSH `authorized_keys` file, looked at again whenever somebody connects, so that
//! `cat user_id_rsa.pub >> authorized_keys` counts from the next connection on.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use model::{Error, Result};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{HashAlg, PublicKey};

use super::options::{self, Options};
use crate::watch::Stamps;

/// The most bytes of the file: some thousand keys. A longer one is a mistake, such as a log.
const MOST_BYTES: u64 = 4 << 20;
/// The longest line; sshd's own limit is about the same.
const LONGEST: usize = 16 << 10;
/// RSA keys below 2048 bits can be broken; those above 8192 bits only cost time, and the verifier refuses them.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// Whether a forced command is one that can be run here; else why not.
pub type Commands = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// The keys of one file.
pub struct AuthorizedKeys {
    path: PathBuf,
    commands: Arc<Commands>,
    /// What the file looked like, and the keys that were in it then; held while reading.
    read: Mutex<(Stamps, Arc<Vec<Entry>>)>,
}

/// A key that is let in.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    key: KeyData,
    /// Its comment, by which people know it, or else its fingerprint.
    pub(crate) name: String,
    pub(crate) options: Options,
}

impl std::fmt::Debug for AuthorizedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizedKeys").field("path", &self.path).finish_non_exhaustive()
    }
}

impl AuthorizedKeys {
    /// Reads the file. One that is not there lets nobody in until it is. Keys that cannot be taken are named in the log.
    ///
    /// # Errors
    /// `Malformed` for a file that cannot be read, that anybody may write, or that is too large.
    pub fn open(path: impl Into<PathBuf>, commands: Arc<Commands>) -> Result<Self> {
        let path = path.into();
        let stamps = Stamps::of([&path]);
        let entries = load(&path, &*commands)?;
        if entries.is_empty() {
            tracing::warn!(file = %path.display(), "no key is listed, so nobody can come in by SSH: add some with cat");
        }
        Ok(Self { path, commands, read: Mutex::new((stamps, Arc::new(entries))) })
    }

    /// The keys as they are now. Blocks on the file system. A broken file lets nobody in: whoever takes a key away
    /// must be able to rely on it.
    fn entries(&self) -> Arc<Vec<Entry>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = read.0.again();
        if now != read.0 {
            let entries = load(&self.path, &*self.commands).unwrap_or_else(|error| {
                tracing::error!(%error, "the authorized keys changed and cannot be used: nobody can come in by SSH");
                Vec::new()
            });
            tracing::info!(file = %self.path.display(), keys = entries.len(), "the authorized keys changed");
            *read = (now, Arc::new(entries));
        }
        Arc::clone(&read.1)
    }

    /// The first entry with this key that lets it in from there, now; else why not. Blocks on the file system.
    pub(crate) fn find(&self, key: &KeyData, from: IpAddr) -> Result<Entry, &'static str> {
        let mut refusal = "the key is not in authorized_keys";
        for entry in self.entries().iter().filter(|entry| entry.key == *key) {
            let options = &entry.options;
            if options.expires.is_some_and(|time| time <= Timestamp::now()) {
                refusal = "the key's expiry-time is over";
            } else if options.from.as_ref().is_some_and(|sources| !sources.contain(from)) {
                refusal = "the key may not be used from this address (from=)";
            } else {
                return Ok(entry.clone());
            }
        }
        Err(refusal)
    }

    /// How many keys are let in, and how many lines were refused, of a text.
    #[must_use]
    pub fn count(text: &str) -> (usize, usize) {
        let (keys, wrong): (Vec<_>, Vec<_>) = lines(text, &|_| Ok(())).partition(|(_, read)| read.is_ok());
        (keys.len(), wrong.len())
    }
}

fn load(path: &Path, commands: &Commands) -> Result<Vec<Entry>> {
    let name = path.display();
    let unreadable = |error: io::Error| Error::io(format!("cannot read the authorized keys {name}"), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let data = file.metadata().map_err(unreadable)?;
    if data.permissions().mode() & 0o002 != 0 {
        return Err(Error::malformed(format!("anybody may write to {name}: take that away with chmod o-w")));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::malformed(format!(
            "{name} is larger than {MOST_BYTES} bytes: is it a file of public keys?"
        )));
    }
    // Comments may be in any encoding.
    let text = String::from_utf8_lossy(&bytes);
    let mut entries = Vec::new();
    for (line, read) in lines(&text, commands) {
        match read {
            Ok(entry) => entries.push(entry),
            Err(reason) => tracing::warn!(file = %name, line, %reason, "this key is not taken"),
        }
    }
    Ok(entries)
}

/// Each line that is a key or should be one, with its number.
fn lines<'a>(
    text: &'a str,
    commands: &'a Commands,
) -> impl Iterator<Item = (usize, std::result::Result<Entry, String>)> + 'a {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(move |(number, line)| (number, read(line, commands)))
}

fn read(line: &str, commands: &Commands) -> std::result::Result<Entry, String> {
    if line.len() > LONGEST {
        return Err(format!("the line is longer than {LONGEST} bytes"));
    }
    let first = line.split([' ', '\t']).next().unwrap_or_default();
    // No option begins like a type, so that one that we do not take is told as such.
    let (options, rest) = if ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| first.starts_with(kind)) {
        ("", line)
    } else {
        let length = options::length(line).ok_or("a line is [OPTIONS] TYPE KEY [COMMENT], on one line")?;
        line.split_at(length)
    };
    let options = if options.is_empty() { Options::default() } else { Options::read(options)? };
    let mut words = rest.trim_start().splitn(2, [' ', '\t']);
    let kind = words.next().unwrap_or_default();
    let mut words = words.next().unwrap_or_default().trim_start().splitn(2, [' ', '\t']);
    let (encoded, comment) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().trim());
    if !is_type(kind) {
        return Err(format!(
            "{} is no type of key that is taken here: ssh-rsa, ssh-ed25519 or ecdsa-sha2-*",
            options::shown(kind)
        ));
    }
    let key = PublicKey::from_openssh(&format!("{kind} {encoded}"));
    let key = key.map_err(|error| format!("the key does not read ({error}): copy the whole line of the .pub file"))?;
    if let KeyData::Rsa(rsa) = key.key_data()
        && !RSA_BITS.contains(&rsa.key_size())
    {
        return Err(format!("RSA keys have {} to {} bits here", RSA_BITS.start(), RSA_BITS.end()));
    }
    if let Some(command) = &options.command {
        commands(command)?;
    }
    let name = match options::shown(comment) {
        name if name.is_empty() => key.fingerprint(HashAlg::Sha256).to_string(),
        name => name,
    };
    Ok(Entry { key: key.key_data().clone(), name, options })
}

/// RSA, ECDSA and Ed25519; not DSA, and not those of security keys, whose touches nobody verifies here.
fn is_type(word: &str) -> bool {
    matches!(word, "ssh-rsa" | "ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILgSxpaYx5HqfUqJwyGAJ+jYRRTEnKMQJdg1ZVnyBlV";
    const EC: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";

    fn key(text: &str) -> KeyData {
        PublicKey::from_openssh(text).expect("a key").key_data().clone()
    }

    fn here() -> IpAddr {
        [127, 0, 0, 1].into()
    }

    #[test]
    fn keys_come_and_go_with_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("authorized_keys");
        let keys = AuthorizedKeys::open(&path, Arc::new(|_: &str| Ok(()))).expect("a file that is not there yet");
        assert!(keys.find(&key(ED), here()).is_err());
        fs::write(&path, format!("# all\n\n{ED} ann@example\n")).expect("a file");
        assert_eq!(keys.find(&key(ED), here()).expect("it is listed").name, "ann@example");
        assert!(keys.find(&key(EC), here()).is_err());
        let mut text = fs::read_to_string(&path).expect("text");
        text.push_str(&format!("restrict,from=\"10.0.0.0/8\",command=\"run it\" {EC}\n"));
        fs::write(&path, &text).expect("a file");
        assert_eq!(keys.find(&key(EC), here()).err(), Some("the key may not be used from this address (from=)"));
        let entry = keys.find(&key(EC), [10, 1, 1, 1].into()).expect("from there");
        assert_eq!(entry.options.command.as_deref(), Some("run it"));
        assert!(entry.name.starts_with("SHA256:"), "{}", entry.name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
        fs::write(&path, format!("{text}\n")).expect("a file");
        assert!(keys.find(&key(ED), here()).is_err(), "anybody could have written it");
    }

    #[test]
    fn an_expired_key_is_worth_nothing_but_a_second_line_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("authorized_keys");
        fs::write(&path, format!("expiry-time=\"20200101Z\" {ED}\n")).expect("a file");
        let keys = AuthorizedKeys::open(&path, Arc::new(|_: &str| Ok(()))).expect("a file");
        assert_eq!(keys.find(&key(ED), here()).err(), Some("the key's expiry-time is over"));
        fs::write(&path, format!("expiry-time=\"20200101Z\" {ED}\n{ED} again\n")).expect("a file");
        assert_eq!(keys.find(&key(ED), here()).expect("the second").name, "again");
    }

    #[test]
    fn each_bad_line_has_its_reason_and_harms_no_other() {
        let commands = |command: &str| if command == "good" { Ok(()) } else { Err("not that".to_owned()) };
        for (line, part) in [
            ("ssh-ed25519 AAAA", "does not read"),
            ("ssh-dss AAAA", "no type of key"),
            ("sk-ssh-ed25519@openssh.com AAAA", "no type of key"),
            ("nonsense", "on one line"),
            ("ssh-ed25519", "does not read"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "is not one that can be honoured"),
            (&format!("command=\"evil\" {ED}"), "not that"),
            (&format!("cert-authority {ED}"), "certificates"),
            (&format!("{} {ED}", "x".repeat(LONGEST)), "longer"),
        ] {
            let reason = read(line, &commands).expect_err(line);
            assert!(reason.contains(part), "{line}: {reason}");
        }
        assert!(read(&format!("command=\"good\",no-pty\t{ED}\tann and bob"), &commands).is_ok());
        assert_eq!(AuthorizedKeys::count(&format!("bad\n{ED}\n#{EC}\n{EC}\n")), (2, 1));
    }

    proptest! {
        #[test]
        fn any_text_is_keys_or_reasons(text in "\\PC{0,300}") {
            let (keys, refused) = AuthorizedKeys::count(&text);
            prop_assert!(keys + refused <= text.lines().count());
        }

        #[test]
        fn any_comment_and_blanks_keep_the_key(comment in "[^\n\r]{0,40}", blank in "[ \t]{1,3}") {
            let line = format!("restrict{blank}{}{blank}{comment}", ED.replace(' ', &blank));
            let entry = read(line.trim(), &|_| Ok(())).expect("a key");
            prop_assert_eq!(entry.key, key(ED));
        }
    }
}

//! Users and passwords in a file of Apache's `htpasswd -B` (bcrypt), read again when it changes.
//!
//! bcrypt is slow on purpose. So it runs on blocking threads, a few at a time, and a password that was right is
//! remembered for a minute by a keyed hash of user, stored hash and password: changing either forgets it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{Error, Result};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use crate::watch::Stamps;

/// How long a password that was right needs no bcrypt.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are remembered. Beyond that all are forgotten: users are few, and strangers cannot add any.
const MOST: usize = 4096;
/// How many bcrypt checks run at once: enough for people, too few for strangers to take all processors.
const CHECKS: usize = 2;

/// Users and passwords.
#[derive(Debug)]
pub struct Htpasswd {
    path: PathBuf,
    users: watch::Sender<Arc<HashMap<String, String>>>,
    /// What the file looked like when `users` was read; held while reading.
    stamps: Mutex<Stamps>,
    /// Keyed hashes of what was right, and until when. Never held across bcrypt.
    right: Mutex<HashMap<[u8; 32], Instant>>,
    /// Makes the hashes worthless outside of this process.
    key: [u8; 32],
    checks: Semaphore,
}

impl Htpasswd {
    /// Reads the file.
    ///
    /// # Errors
    /// `Malformed`, naming the line, for a file that cannot be read or has other hashes than bcrypt.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let stamps = Mutex::new(Stamps::of([&path]));
        let users = watch::Sender::new(Arc::new(read(&path)?));
        let (right, checks) = (Mutex::default(), Semaphore::new(CHECKS));
        Ok(Self { path, users, stamps, right, key: rand::random(), checks })
    }

    /// Reads the file again if it changed; a broken one keeps the users of the old one. Blocks on the file system.
    pub fn refresh(&self) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps.again();
        if now == *stamps {
            return;
        }
        *stamps = now;
        match read(&self.path) {
            Ok(users) => {
                tracing::info!(file = %self.path.display(), users = users.len(), "the password file changed");
                self.users.send_replace(Arc::new(users));
            }
            Err(error) => tracing::error!(%error, "the password file changed and cannot be used; the old users stay"),
        }
    }

    /// True when this was the user's password within the last minute, and still is.
    pub(crate) fn remembers(&self, user: &str, password: &str) -> bool {
        let Some(memory) = self.users.borrow().get(user).map(|hash| self.memory(user, hash, password)) else {
            return false;
        };
        let remembered = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&memory).is_some_and(|until| Instant::now() < *until)
    }

    /// True when this is the user's password; a later [`Htpasswd::remembers`] then says so without bcrypt.
    pub(crate) async fn check(&self, user: &str, password: &str) -> bool {
        let users = Arc::clone(&self.users.borrow());
        // For an unknown user somebody else's hash is checked and the result thrown away, to take as long.
        let (known, Some(hash)) = (users.contains_key(user), users.get(user).or_else(|| users.values().next())) else {
            return false;
        };
        let memory = self.memory(user, hash, password);
        // The semaphore is never closed.
        let Ok(_permit) = self.checks.acquire().await else { return false };
        let (hash, password) = (hash.clone(), password.to_owned());
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let right = known && matches!(checked, Ok(Ok(true)));
        if right {
            let mut remembered = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MOST {
                remembered.clear();
            }
            remembered.insert(memory, Instant::now() + REMEMBERED);
        }
        right
    }

    fn memory(&self, user: &str, hash: &str, password: &str) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.key);
        for part in [user, hash, password] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

fn read(path: &Path) -> Result<HashMap<String, String>> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Error::malformed(format!("cannot read {name}: make it with `htpasswd -B -c {name} USER`")).because(error)
    })?;
    let mut users = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line.split_once(':').unwrap_or((line, ""));
        if !["$2y$", "$2b$", "$2a$"].iter().any(|kind| hash.starts_with(kind)) || hash.len() != 60 {
            return Err(Error::malformed(format!(
                "line {} of {name}: the password of {user:?} is not hashed with bcrypt; set it again with \
                 `htpasswd -B {name} {user}`",
                index + 1
            )));
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

//! What operators do with tags: list them, see what they have pointed at, and point them there again.

use std::time::Duration;

use bytes::Bytes;
use image::{ContentDigest, Manifest};
use kernel::Namespace;
use model::{Digest, Error, Name, NameRow, Pointer, Result, Retention, Time, When};

use crate::place::{check, filled_in};

/// Names of one look.
const PAGE: usize = 500;
/// Entries of a history that are looked at, the newest.
const MOST: usize = 1000;

/// The tags of a repository.
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    space: &'a Namespace,
    repository: String,
}

/// What a tag has pointed at since some time.
#[derive(Clone, Debug)]
pub struct Past {
    /// Which manifest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Since when.
    pub since: Time,
    /// Who pointed it there.
    pub by: String,
    name: Name,
}

/// What a rollback did.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// What the tag pointed at before; `None` where it was deleted.
    pub from: Option<Digest>,
    /// What it points at now.
    pub to: Digest,
}

impl<'a> Tags<'a> {
    /// Those of this repository.
    ///
    /// # Errors
    /// `Malformed` when that is no name of a repository.
    pub fn of(space: &'a Namespace, repository: &str) -> Result<Self> {
        check(repository)?;
        Ok(Self { space, repository: filled_in(repository) })
    }

    /// All of them in the order of their names, with what they point at.
    ///
    /// # Errors
    /// `Absent` when there is no such repository; what `list` answers.
    pub async fn list(&self) -> Result<Vec<(String, NameRow)>> {
        let prefix = image::tags(&self.repository);
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.space.list(&prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.as_str().to_owned());
            found.extend(page.into_iter().map(|(name, row)| (name.as_str()[prefix.len()..].to_owned(), row)));
        }
        let known = self.space.find_all(&[image::marker(&self.repository)?]).await?;
        if found.is_empty() && known.iter().all(Option::is_none) {
            return Err(Error::absent(format!("there is no repository {}", self.repository)));
        }
        Ok(found)
    }

    /// What a tag points at and has pointed at, newest first.
    ///
    /// # Errors
    /// `Malformed` when that is no tag; `Absent` when nothing is remembered of it; what `list` answers.
    pub async fn history(&self, tag: &str) -> Result<Vec<Past>> {
        if !image::is_tag(tag) {
            return Err(Error::malformed("a tag has at most 128 letters, digits, _ . and -"));
        }
        let prefix = image::history_of(&self.repository, tag);
        let mut found: Vec<Past> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.space.list(&prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.as_str().to_owned());
            found.extend(page.into_iter().map(|(name, row)| past(name, &row)));
            let over = found.len().saturating_sub(MOST);
            found.drain(..over);
        }
        if found.is_empty() {
            let text = format!("nothing is remembered of what {}:{tag} has pointed at", self.repository);
            return Err(Error::absent(text));
        }
        found.reverse();
        Ok(found)
    }

    /// Points a tag again at what it pointed at before, or at one of what it ever pointed at. That is a change like
    /// any other: it has an entry in the history, which is remembered for so long, so that it can be undone.
    ///
    /// # Errors
    /// `Absent` when it never pointed there as far as is remembered; `Conflict` when somebody moved it meanwhile; what
    /// the verbs answer.
    pub async fn roll_back(
        &self,
        tag: &str,
        to: Option<&ContentDigest>,
        by: &str,
        remember: Duration,
    ) -> Result<Moved> {
        let history = self.history(tag).await?;
        let name = image::tag(&self.repository, tag)?;
        let now = self.space.find_all(std::slice::from_ref(&name)).await?.pop().flatten();
        let from = now.as_ref().map(|row| row.pointer.blob.digest);
        let wanted = match to {
            Some(to) => history.iter().find(|past| ContentDigest::from(past.digest) == *to),
            None => history.iter().find(|past| Some(past.digest) != from),
        };
        let Some(wanted) = wanted else {
            let what = to.map_or_else(|| "anything else".to_owned(), ToString::to_string);
            return Err(Error::absent(format!(
                "{}:{tag} has not pointed at {what} that is remembered",
                self.repository
            )));
        };
        if from == Some(wanted.digest) {
            return Ok(Moved { from, to: wanted.digest });
        }
        let pointer = self.pointer(wanted).await?;
        let keep = now.map_or(Retention::Firm, |row| row.pointer.keep);
        let manifest = image::manifest(&self.repository, &wanted.digest.into())?;
        let mut list = vec![
            (manifest, Pointer { keep: Retention::Weak, ..pointer.clone() }, When::Always),
            (name, Pointer { keep, ..pointer.clone() }, from.map_or(When::Absent, When::Is)),
        ];
        if !remember.is_zero() {
            let at = Time::now();
            let (note, keep) = (Bytes::copy_from_slice(by.as_bytes()), Retention::Until(at.plus(remember)));
            let entry = image::history(&self.repository, tag, at.0)?;
            list.push((entry, Pointer { note, keep, ..pointer }, When::Always));
        }
        self.space.bind(list).await?;
        Ok(Moved { from, to: wanted.digest })
    }

    /// How the manifest of an entry is pointed at. The note of an entry says who, not what; its media type is with the
    /// manifest's own name, or where that was deleted, in its bytes.
    async fn pointer(&self, past: &Past) -> Result<Pointer> {
        let (row, bytes) = self.space.open_small(&past.name).await?;
        let own = image::manifest(&self.repository, &past.digest.into())?;
        let note = match self.space.find_all(&[own]).await?.pop().flatten() {
            Some(own) => own.pointer.note,
            None => Bytes::from(Manifest::read(&bytes, None)?.media_type),
        };
        Ok(Pointer { note, ..row.pointer })
    }
}

fn past(name: Name, row: &NameRow) -> Past {
    let by = String::from_utf8_lossy(&row.pointer.note).into_owned();
    // The name says when it happened; a row may be bound anew.
    let since = image::at_time(&name).map_or(row.bound, Time);
    Past { digest: row.pointer.blob.digest, size: row.pointer.blob.size, since, by, name }
}

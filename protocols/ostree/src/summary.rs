//! The summary: all refs of a repository, with what clients want to know of each commit before they fetch it.
//! `(a(s(taya{sv}))a{sv})`, the refs in byte order of their names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kernel::{Caller, Grant, Namespace};
use model::{Digest, NameRow, Result};
use sha2::{Digest as _, Sha256};

use crate::gvariant::{self, Type};
use crate::refs;

/// libostree up to 2022.7 reads at most 10 MiB; the rest is for the end and its offsets.
const LARGEST: usize = (10 << 20) - (64 << 10);
/// Refs that are listed at a time.
const PAGE: usize = 1000;
/// Summaries that are remembered: one for each repository and set of rights that somebody uses.
const REMEMBERED: usize = 16;

/// A summary as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

/// The summaries of a while ago, which are still right if nothing has changed.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    /// Held for look-ups only.
    remembered: Mutex<Vec<Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    space: String,
    repo: String,
    grants: Arc<[Grant]>,
    changes: u64,
    summary: Summary,
    /// The refs of each commit.
    refs: HashMap<Digest, Vec<String>>,
}

impl Summaries {
    /// The summary of a repository as this caller may see it, as things are now.
    ///
    /// # Errors
    /// When the caller may not read.
    pub(crate) async fn get(&self, namespace: &Namespace, space: &str, repo: &str, caller: &Caller) -> Result<Summary> {
        // Looked at before the listing: what changes meanwhile makes the next one look again.
        let changes = namespace.changes();
        let same = |one: &Remembered| one.space == space && one.repo == repo && one.grants == caller.grants;
        if let Some(found) = self.lock().iter().find(|one| same(one) && one.changes == changes) {
            return Ok(found.summary.clone());
        }
        let listed = list(namespace, repo).await?;
        let mut refs: HashMap<Digest, Vec<String>> = HashMap::new();
        for (name, row) in &listed {
            refs.entry(row.pointer.blob.digest).or_default().push(name.clone());
        }
        let summary = render(listed);
        let mut remembered = self.lock();
        remembered.retain(|one| !same(one));
        if remembered.len() >= REMEMBERED {
            remembered.remove(0);
        }
        let (space, repo, grants) = (space.to_owned(), repo.to_owned(), Arc::clone(&caller.grants));
        remembered.push(Remembered { space, repo, grants, changes, summary: summary.clone(), refs });
        Ok(summary)
    }

    /// The refs of a commit, as far as a summary told them lately: whoever pulls has asked for one before.
    pub(crate) fn refs_of(&self, space: &str, repo: &str, commit: &Digest) -> Vec<String> {
        let remembered = self.lock();
        let mut found: Vec<String> = remembered
            .iter()
            .filter(|one| one.space == space && one.repo == repo)
            .flat_map(|one| one.refs.get(commit).into_iter().flatten().cloned())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All refs of a repository, in byte order.
pub(crate) async fn list(namespace: &Namespace, repo: &str) -> Result<Vec<(String, NameRow)>> {
    let prefix = refs::prefix(repo);
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = namespace.list(&prefix, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = Some(last.as_str().to_owned());
        found.extend(page.into_iter().map(|(name, row)| (name.as_str()[prefix.len()..].to_owned(), row)));
    }
}

/// Makes the summary. Where there are more refs than old clients can read, those that were bound last are in it.
pub(crate) fn render(refs: Vec<(String, NameRow)>) -> Summary {
    let latest = refs.iter().map(|(_, row)| row.bound.0).max();
    let mut entries: Vec<_> = refs.iter().map(|(name, row)| (row.bound, name, entry(name, row))).collect();
    // Padding, and the offset at the end.
    let size = |entry: &[u8]| entry.len() + 12;
    if entries.iter().map(|(.., entry)| size(entry)).sum::<usize>() > LARGEST {
        entries.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
        let mut all = 0;
        let fit = entries
            .iter()
            .take_while(|(.., entry)| {
                all += size(entry);
                all <= LARGEST
            })
            .count();
        tracing::warn!(
            refs = entries.len(),
            shown = fit,
            "a summary has at most 10 MiB: only the newest refs are in it. A smaller quota of the namespace makes old ones go"
        );
        entries.truncate(fit);
        entries.sort_by(|one, other| one.1.cmp(other.1));
    }
    let parts: Vec<_> = entries.into_iter().map(|(.., entry)| entry).collect();
    let metadata = match latest.and_then(|micros| u64::try_from(micros / 1_000_000).ok()) {
        Some(seconds) => gvariant::dictionary(&[
            ("ostree.summary.last-modified", "t", seconds.to_be_bytes().to_vec()),
            ("ostree.summary.mode", "s", gvariant::text("archive-z2")),
            ("ostree.summary.tombstone-commits", "b", vec![0]),
            ("ostree.summary.indexed-deltas", "b", vec![1]),
        ]),
        None => Vec::new(),
    };
    let list = Type::array(entry_type());
    let of = Type::Tuple(vec![list.clone(), Type::dictionary()]);
    let bytes = gvariant::join(&of, &[gvariant::join(&list, &parts), metadata]);
    Summary { digest: Digest::new(Sha256::digest(&bytes).into()), bytes: bytes.into() }
}

fn commit_type() -> Type {
    Type::Tuple(vec![Type::T, Type::bytes(), Type::dictionary()])
}

fn entry_type() -> Type {
    Type::Tuple(vec![Type::Text, commit_type()])
}

fn entry(name: &str, row: &NameRow) -> Vec<u8> {
    let (time, version) = refs::remark(&row.pointer.note);
    let mut about = Vec::new();
    if let Some(time) = time {
        about.push(("ostree.commit.timestamp", "t", time.to_be_bytes().to_vec()));
    }
    if let Some(version) = version {
        about.push(("ostree.commit.version", "s", gvariant::text(version)));
    }
    let blob = row.pointer.blob;
    // The size is the one number in OSTree that is little-endian.
    let parts = [blob.size.to_le_bytes().to_vec(), blob.digest.as_bytes().to_vec(), gvariant::dictionary(&about)];
    gvariant::join(&entry_type(), &[gvariant::text(name), gvariant::join(&commit_type(), &parts)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Blob, Time};

    fn row(bound: i64) -> NameRow {
        let commit = crate::object::Commit {
            parent: None,
            timestamp: 1_700_000_000,
            tree: Digest::EMPTY,
            meta: Digest::EMPTY,
            version: None,
            bindings: None,
        };
        let blob = Blob { digest: Digest::EMPTY, size: 86 };
        NameRow { pointer: refs::pointer(blob, &commit), bound: Time(bound), used: Time(bound) }
    }

    fn names(summary: &Summary) -> Vec<String> {
        let of: Type = "(a(s(taya{sv}))a{sv})".parse().unwrap();
        gvariant::check(&of, &summary.bytes).unwrap();
        let list = gvariant::split(&of, &summary.bytes).unwrap()[0];
        let entries = gvariant::split(&Type::array(entry_type()), list).unwrap();
        entries
            .iter()
            .map(|entry| gvariant::as_text(gvariant::split(&entry_type(), entry).unwrap()[0]).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn without_refs_it_is_there_and_normal() {
        let summary = render(Vec::new());
        assert_eq!(names(&summary), Vec::<String>::new());
        assert!(!summary.bytes.is_empty());
    }

    #[test]
    fn beyond_what_old_clients_read_the_newest_refs_are_in_it() {
        let refs: Vec<_> = (0..100_000).map(|n| (format!("project/element/{n:064}"), row(n * 1_000_000))).collect();
        let summary = render(refs);
        assert!(summary.bytes.len() <= 10 << 20 && summary.bytes.len() > 9 << 20, "{}", summary.bytes.len());
        let names = names(&summary);
        assert!(names.is_sorted() && names.len() < 100_000);
        assert_eq!(names.last().map(String::as_str), Some(&*format!("project/element/{:064}", 99_999)));
        assert_ne!(names[0], format!("project/element/{:064}", 0));
    }
}

//! Refs: what they may be called, and the Names under which they, and what belongs to commits, are bound.

use bytes::Bytes;
use model::{Blob, Digest, Error, Link, Name, Need, Pointer, Result, Retention};

use crate::kinds::COMMIT;
use crate::object::Commit;

/// Longest ref. A Name has at most 1024 bytes.
const LONGEST: usize = 800;

/// Checks the name of a ref: parts of letters, digits, `.`, `_` and `-` that begin with none of the last two or a
/// point, between single slashes; and it must not look like a checksum.
///
/// # Errors
/// `Malformed`, with the name in the text.
pub fn check(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|first| plain(*first))
            && bytes.iter().all(|byte| plain(*byte) || matches!(byte, b'-' | b'.'))
    };
    let shown: String = name.chars().take(100).collect();
    if name.len() > LONGEST || !name.split('/').all(part) {
        return Err(Error::malformed(format!(
            "{shown:?} is no name for a ref: parts between slashes are of letters, digits, '_', '-' and '.', and \
             begin with a letter, a digit or '_'"
        )));
    }
    if name.parse::<Digest>().is_ok() {
        return Err(Error::malformed(format!("{shown:?} is no name for a ref: it looks like a checksum")));
    }
    Ok(())
}

/// Checks the name of a repository.
///
/// # Errors
/// `Malformed`.
pub fn check_repository(name: &str) -> Result<()> {
    if name.len() > 100 || name.contains('/') {
        return Err(Error::malformed("the name of a repository has at most 100 bytes and no slash"));
    }
    check(name)
}

/// What the Names of a repository's refs begin with.
pub(crate) fn prefix(repo: &str) -> String {
    format!("ostree/{repo}/ref/")
}

/// The Name of a ref.
pub(crate) fn name(repo: &str, name: &str) -> Result<Name> {
    Name::new(format!("ostree/{repo}/ref/{name}"))
}

/// The Name of what belongs to a commit and is not part of it.
pub(crate) fn meta_name(repo: &str, commit: &Digest, extension: &str) -> Result<Name> {
    Name::new(format!("ostree/{repo}/meta/{commit}.{extension}"))
}

/// What a ref is bound to. The remark keeps what a summary says of the commit: its time and version.
pub(crate) fn pointer(blob: Blob, commit: &Commit) -> Pointer {
    let mut note = commit.timestamp.to_string();
    if let Some(version) = &commit.version
        && version.len() < 1024
    {
        note.push('\n');
        note.push_str(version);
    }
    Pointer { note: Bytes::from(note), ..Pointer::new(blob, COMMIT) }
}

/// What the remark of a ref says: the commit's time, in seconds since 1970, and version.
pub(crate) fn remark(note: &[u8]) -> (Option<u64>, Option<&str>) {
    let Ok(text) = str::from_utf8(note) else { return (None, None) };
    let (time, version) = text.split_once('\n').map_or((text, None), |(time, version)| (time, Some(version)));
    (time.parse().ok(), version)
}

/// What the detached metadata of a commit is bound to: it stays as long as the commit is here.
pub(crate) fn meta_pointer(blob: Blob, commit: Blob) -> Pointer {
    let beside = Link { need: Need::May, ..Link::must(commit, COMMIT) };
    Pointer { also: vec![beside], keep: Retention::Loose, ..Pointer::new(blob, model::KindId::BYTES) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_libostree() {
        for good in ["plain", "project/element.bst/0123", "a-b_c.d/E", "_x", &format!("a/{}", "0".repeat(64))] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "../x",
            "a/..",
            ".a",
            "-a",
            "a b",
            "a\n",
            "a/b\n",
            "é",
            "a:b",
            &"0".repeat(64),
            &"x".repeat(801),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}

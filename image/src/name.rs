//! The Names under which a registry keeps its things. `<repo>` has none of `! : @ ^ ~`, so that each has one meaning.
//!
//! | name | is |
//! |---|---|
//! | `oci/<repo>!` | the repository is there |
//! | `oci/<repo>!<digest>` | the repository has this blob |
//! | `oci/<repo>@<digest>` | the repository has this manifest |
//! | `oci/<repo>:<tag>` | a tag |
//! | `oci/<repo>^<digest>/<digest>` | the second manifest is about the first |
//! | `oci/<repo>~<tag>/<time>` | what a tag has pointed at |
//!
//! `!` sorts before all that a repository's name may contain, so that the marks of all repositories come in the order
//! of their names.

use model::{Name, Result};

use crate::{ContentDigest, Target};

/// What begins the names of registries.
const ROOT: &str = "oci/";

/// The mark of a repository.
///
/// # Errors
/// `Malformed` when a part is too long for a name; the others here too.
pub fn marker(repository: &str) -> Result<Name> {
    Name::new(format!("{ROOT}{repository}!"))
}

/// A blob of a repository.
///
/// # Errors
/// See [`marker`].
pub fn blob(repository: &str, digest: &ContentDigest) -> Result<Name> {
    Name::new(format!("{ROOT}{repository}!{digest}"))
}

/// A manifest of a repository.
///
/// # Errors
/// See [`marker`].
pub fn manifest(repository: &str, digest: &ContentDigest) -> Result<Name> {
    Name::new(format!("{ROOT}{repository}@{digest}"))
}

/// A tag.
///
/// # Errors
/// See [`marker`].
pub fn tag(repository: &str, tag: &str) -> Result<Name> {
    Name::new(format!("{ROOT}{repository}:{tag}"))
}

/// What begins the names of a repository's tags.
#[must_use]
pub fn tags(repository: &str) -> String {
    format!("{ROOT}{repository}:")
}

/// "The manifest `from` is about the manifest `subject`".
///
/// # Errors
/// See [`marker`].
pub fn referrer(repository: &str, subject: &ContentDigest, from: &ContentDigest) -> Result<Name> {
    Name::new(format!("{ROOT}{repository}^{subject}/{from}"))
}

/// What begins the names of what is about a manifest.
#[must_use]
pub fn referrers(repository: &str, subject: &ContentDigest) -> String {
    format!("{ROOT}{repository}^{subject}/")
}

/// What a tag points at since `time`, in microseconds of the epoch.
///
/// # Errors
/// See [`marker`].
pub fn history(repository: &str, tag: &str, time: i64) -> Result<Name> {
    Name::new(format!("{ROOT}{repository}~{tag}/{time:020}"))
}

/// What begins the names of a tag's history.
#[must_use]
pub fn history_of(repository: &str, tag: &str) -> String {
    format!("{ROOT}{repository}~{tag}/")
}

/// The time at the end of a name of a tag's history.
#[must_use]
pub fn at_time(name: &Name) -> Option<i64> {
    name.as_str().rsplit_once('/')?.1.parse().ok()
}

/// What begins all names of repositories, or with one of the marks `! : @ ^ ~` those of this repository.
#[must_use]
pub fn prefix(repository: &str, mark: &str) -> String {
    format!("{ROOT}{repository}{mark}")
}

/// The repository, the mark and what follows it; `None` for what is no name of a repository.
#[must_use]
pub fn split(name: &str) -> Option<(&str, char, &str)> {
    let rest = name.strip_prefix(ROOT)?;
    // A host's port has a colon too, and only there a slash follows.
    let from = match rest.split_once('/') {
        Some((first, _)) if crate::is_host(first) => first.len(),
        _ => 0,
    };
    let at = from + rest[from..].find(['!', ':', '@', '^', '~'])?;
    Some((&rest[..at], char::from(rest.as_bytes()[at]), &rest[at + 1..]))
}

/// What a name is, of those that an upstream can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A manifest by its tag or digest.
    Manifest(Target),
    /// A blob.
    Blob(ContentDigest),
}

/// A name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The repository.
    pub repository: Box<str>,
    /// What of it.
    pub item: Item,
}

impl Entry {
    /// Takes a name apart; `None` for one that is no blob, manifest or tag of a repository.
    #[must_use]
    pub fn read(name: &Name) -> Option<Self> {
        let (repository, mark, item) = split(name.as_str())?;
        let item = match mark {
            '!' => Item::Blob(item.parse().ok()?),
            '@' => Item::Manifest(Target::Digest(item.parse().ok()?)),
            ':' => Item::Manifest(Target::Tag(item.into())),
            _ => return None,
        };
        Some(Self { repository: repository.into(), item })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_they_are_put_together() {
        let digest: ContentDigest = format!("sha256:{}", "0".repeat(64)).parse().expect("a digest");
        for repository in ["a/b", "docker.io/library/busybox", "localhost:5000/a", "127.0.0.1:5000/a/b"] {
            let read =
                |name: Result<Name>| Entry::read(&name.expect("a name")).map(|entry| (entry.repository, entry.item));
            let repo = || Box::<str>::from(repository);
            assert_eq!(read(blob(repository, &digest)), Some((repo(), Item::Blob(digest.clone()))));
            let by_digest = Item::Manifest(Target::Digest(digest.clone()));
            assert_eq!(read(manifest(repository, &digest)), Some((repo(), by_digest)));
            assert_eq!(read(tag(repository, "1.0")), Some((repo(), Item::Manifest(Target::Tag("1.0".into())))));
            assert_eq!(read(marker(repository)), None);
            assert_eq!(read(referrer(repository, &digest, &digest)), None);
        }
        assert_eq!(at_time(&history("a", "b", 5).expect("a name")), Some(5));
    }
}

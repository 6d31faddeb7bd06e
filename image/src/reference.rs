//! Image references: `registry/repository:tag@digest`, in the forms that people write.

use std::fmt;
use std::str::FromStr;

use model::{Error, Result};

use crate::ContentDigest;

/// Longest repository name (distribution specification, "Pulling manifests").
const LONGEST: usize = 255;

/// True for a repository name of the distribution specification: lower-case components with single separators.
#[must_use]
pub fn is_repository(name: &str) -> bool {
    let component = |part: &str| {
        let mut rest = part.as_bytes();
        let word = |rest: &mut &[u8]| {
            let length = rest.iter().take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')).count();
            *rest = &rest[length..];
            length > 0
        };
        if !word(&mut rest) {
            return false;
        }
        while !rest.is_empty() {
            let separator = match rest {
                [b'_', b'_', ..] => 2,
                [b'.' | b'_', ..] => 1,
                _ => rest.iter().take_while(|byte| **byte == b'-').count(),
            };
            rest = &rest[separator..];
            if separator == 0 || !word(&mut rest) {
                return false;
            }
        }
        true
    };
    (1..=LONGEST).contains(&name.len()) && name.split('/').all(component)
}

/// True for a tag: at most 128 letters, digits, `_`, `.` and `-`, the first neither `.` nor `-`.
#[must_use]
pub fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// True for what is written like a registry's host: with a dot or a port, or `localhost`.
#[must_use]
pub fn is_host(component: &str) -> bool {
    let (host, port) = match component.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (component, None),
    };
    let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let labels = |host: &str| host.split('.').all(|part| !part.is_empty());
    let named = host.len() <= LONGEST && host.bytes().all(label) && labels(host);
    let ported = port.is_none_or(|port| port.parse::<u16>().is_ok());
    named && ported && (host == "localhost" || host.contains('.') || port.is_some())
}

/// What of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A name that may move.
    Tag(Box<str>),
    /// Exactly this manifest.
    Digest(ContentDigest),
}

impl FromStr for Target {
    type Err = Error;

    /// A digest where there is a colon in it, else a tag.
    fn from_str(text: &str) -> Result<Self> {
        if text.contains(':') {
            return Ok(Self::Digest(text.parse()?));
        }
        if is_tag(text) {
            return Ok(Self::Tag(text.into()));
        }
        let text: String = text.chars().take(160).collect();
        Err(Error::malformed(format!(
            "{text:?} is no tag: at most 128 letters, digits, _ . and -, and neither . nor - comes first"
        )))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A whole reference, with what people leave out filled in as docker does: `docker.io`, `library/`, `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry's host, with its port where one is written.
    pub registry: Box<str>,
    /// The repository there.
    pub repository: Box<str>,
    /// What of it. A digest wins over a tag beside it.
    pub target: Target,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let short: String = text.chars().take(300).collect();
        let wrong = |why: &str| Error::malformed(format!("{short:?} is no image: {why}"));
        let rest = match text.split_once("://") {
            Some(("oras", rest)) => rest,
            Some(_) => return Err(wrong("leave the scheme out")),
            None => text,
        };
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<ContentDigest>()?)),
            None => (rest, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => ("docker.io", path),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let repository = match registry {
            "docker.io" if !repository.contains('/') => format!("library/{repository}"),
            _ => repository.to_owned(),
        };
        if !is_repository(&repository) {
            return Err(wrong("a repository is made of lower-case letters, digits and single separators"));
        }
        let target = match (digest, tag) {
            (Some(digest), _) => Target::Digest(digest),
            (None, Some(tag)) => match tag.parse::<Target>()? {
                Target::Tag(tag) => Target::Tag(tag),
                Target::Digest(_) => return Err(wrong("a digest stands after @")),
            },
            (None, None) => Target::Tag("latest".into()),
        };
        Ok(Self { registry: registry.into(), repository: repository.into(), target })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if matches!(self.target, Target::Tag(_)) { ':' } else { '@' };
        write!(f, "{}/{}{separator}{}", self.registry, self.repository, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repositories_are_lower_case_with_single_separators() {
        for right in ["a", "a/b", "library/busybox", "a.b_c__d---e/f0", &"a".repeat(255)] {
            assert!(is_repository(right), "{right}");
        }
        for wrong in
            ["", "A", "a//b", "/a", "a/", "..", "a/..", "a..b", "a___b", "a._b", "-a", "a-", "é", &"a".repeat(256)]
        {
            assert!(!is_repository(wrong), "{wrong}");
        }
    }

    #[test]
    fn tags_are_short_and_plain() {
        assert!(is_tag("latest") && is_tag("_1.0-A") && is_tag(&"a".repeat(128)));
        assert!(!is_tag("") && !is_tag(".a") && !is_tag("-a") && !is_tag("a/b") && !is_tag(&"a".repeat(129)));
    }

    #[test]
    fn references_are_filled_in_as_docker_does() {
        for (written, meant) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a:1", "localhost:5000/a:1"),
            ("quay.io/a/b/c:x", "quay.io/a/b/c:x"),
            ("oras://ghcr.io/a/b:x", "ghcr.io/a/b:x"),
            ("a/b", "docker.io/a/b:latest"),
        ] {
            assert_eq!(written.parse::<Reference>().map(|found| found.to_string()).ok().as_deref(), Some(meant));
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        let both: Reference = format!("a:1@{digest}").parse().expect("a reference");
        assert_eq!(both.to_string(), format!("docker.io/library/a@{digest}"));
        for wrong in ["", "http://a/b", "A", "a b", "a:", "a@sha256:1", "a:1:2", "host.example:x/a"] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_reference_or_an_error(text: String) {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().expect("what is printed can be read");
                prop_assert_eq!(again, reference);
            }
        }
    }
}

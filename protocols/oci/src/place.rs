//! Where a name leads: into a repository of our own, or to an upstream.
//!
//! A repository of our own comes first. Then the query's `ns` (containerd says with it which registry it means), a
//! first component that is a host, and the configured default upstream, in this order, name a copy of an upstream's
//! repository: `oci/<host>/<repository>`.

use image::{ContentDigest, is_host, is_repository};
use kernel::{Namespace, Rights};
use model::{Error, Meaning, Name, Result};

use crate::call::Call;

/// A repository in its namespace.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) space: Namespace,
    pub(crate) repository: String,
}

/// Which name of a repository is wanted.
pub(crate) trait Wanted {
    /// Its name in this repository.
    fn of(&self, repository: &str) -> Result<Name>;
}

impl<F: Fn(&str) -> Result<Name>> Wanted for F {
    fn of(&self, repository: &str) -> Result<Name> {
        self(repository)
    }
}

/// Checks a repository's name, whose first component may be a host.
pub(crate) fn check(name: &str) -> Result<()> {
    let fine = match name.split_once('/') {
        Some((host, rest)) if is_host(host) => is_repository(rest) && name.len() <= 255,
        _ => is_repository(name),
    };
    if fine {
        return Ok(());
    }
    let name: String = name.chars().take(300).collect();
    Err(Error::malformed(format!(
        "{name:?} is no repository: lower-case letters and digits, with single . _ __ - or / between them, at most 255"
    )))
}

impl Place {
    /// Where a push goes: into a repository of our own.
    pub(crate) fn own(call: &Call, name: &str) -> Result<Self> {
        check(name)?;
        Ok(Self { space: call.space()?, repository: filled_in(name) })
    }

    /// The name of something in it.
    pub(crate) fn name(&self, wanted: &impl Wanted) -> Result<Name> {
        wanted.of(&self.repository)
    }

    /// The mark of its repository.
    pub(crate) fn marker(&self) -> Result<Name> {
        image::marker(&self.repository)
    }

    /// A blob in it.
    pub(crate) fn blob(&self, digest: &ContentDigest) -> Result<Name> {
        image::blob(&self.repository, digest)
    }

    /// Asserts that the caller may write into it, before anything is looked at.
    pub(crate) fn may(&self, right: Rights) -> Result<()> {
        self.space.may_on(right, &self.marker()?)
    }

    /// Says why nothing of an upstream is here that is not among ours.
    fn explain(&self, at: Name, error: Error) -> Error {
        if !error.is_absent() || self.space.is_upstream(&at) {
            return error;
        }
        let host = self.repository.split_once('/').map_or("", |(host, _)| host);
        Error::absent(format!("{host} is no upstream of this hub: its operator can add it as [[upstream]]"))
    }

    /// Whether it is a repository of our own, as far as the caller may know.
    pub(crate) async fn is_ours(&self) -> Result<bool> {
        match self.space.find_all(&[self.marker()?]).await {
            Ok(found) => Ok(found.iter().any(Option::is_some)),
            Err(error) if hidden(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it is a copy of an upstream's repository, by its name.
    pub(crate) fn is_copy(&self) -> bool {
        self.repository.split_once('/').is_some_and(|(first, _)| is_host(first))
    }

    /// The copies of upstreams' repositories that a name may mean, best first.
    pub(crate) fn copies(call: &Call, name: &str) -> Result<Vec<Self>> {
        if name.split_once('/').is_some_and(|(first, _)| is_host(first)) {
            return Ok(Vec::new()); // It is one itself.
        }
        let asked = call.parameter("ns").filter(|host| is_host(host));
        let host = asked.or(call.settings.default_upstream.as_deref());
        let space = call.space()?;
        let copy = |host: &str| Self { space: space.clone(), repository: filled_in(&format!("{host}/{name}")) };
        Ok(host.map(copy).into_iter().collect())
    }
}

/// `docker.io` under one of its names, and its official images with what people leave out.
pub(crate) fn filled_in(name: &str) -> String {
    match name.split_once('/') {
        Some(("docker.io" | "index.docker.io" | "registry-1.docker.io", rest)) if rest.contains('/') => {
            format!("docker.io/{rest}")
        }
        Some(("docker.io" | "index.docker.io" | "registry-1.docker.io", rest)) => format!("docker.io/library/{rest}"),
        _ => name.to_owned(),
    }
}

/// Whether a request says itself which upstream it means.
pub(crate) fn names_host(call: &Call, name: &str) -> bool {
    name.split_once('/').is_some_and(|(first, _)| is_host(first)) || call.parameter("ns").is_some()
}

/// True for an error that says no more than that there is nothing for this caller.
fn hidden(error: &Error) -> bool {
    matches!(error.meaning(), Meaning::Absent | Meaning::Denied | Meaning::Unauthenticated)
}

/// Looks for something where a name leads: `look` is asked for each name that may be meant, until it finds one.
pub(crate) async fn find<T, Fut>(
    call: &Call,
    name: &str,
    wanted: impl Wanted,
    look: impl Fn(Place, Name) -> Fut,
) -> Result<T>
where
    Fut: Future<Output = Result<T>>,
{
    let own = Place::own(call, name)?;
    let at = own.name(&wanted)?;
    // In the words of the client's address: the kernel speaks of our own names.
    let plain = at.as_str().trim_start_matches("oci/").replacen('!', "@", 1);
    let refused = match look(own.clone(), at).await {
        Err(error) if error.is_absent() => Error::absent(format!("{plain} is not here")),
        Err(error) if hidden(&error) => error,
        found => return found,
    };
    if own.is_copy() {
        return Err(if refused.is_absent() { own.explain(own.name(&wanted)?, refused) } else { refused });
    }
    if own.is_ours().await? {
        return Err(refused);
    }
    // Who is about to push a new repository asks for it first. An upstream that is away must not stop them, and what it
    // has is not here for them: a layer that they take for pushed would be missing under their manifest.
    let pushes = call.looks && call.parameter("ns").is_none() && own.may(Rights::WRITE).is_ok();
    let mut told = None;
    for copy in Place::copies(call, name)? {
        let at = copy.name(&wanted)?;
        if pushes && matches!(image::split(at.as_str()), Some((_, '!', _))) {
            continue;
        }
        match look(copy.clone(), at.clone()).await {
            Err(error) => told = Some(copy.explain(at, error)),
            found => return found,
        }
    }
    // Who may not know whether there is something of ours learns nothing from what others have.
    let told = told.filter(|error| refused.is_absent() && *error.meaning() != Meaning::Unauthenticated);
    let told = told.map(|error| judged(call, &plain, error));
    Err(told.filter(|error| error.is_absent() || !pushes).unwrap_or(refused))
}

/// An upstream's error as it is told. One that nobody chose and that is away says nothing but that this is not here.
pub(crate) fn judged(call: &Call, what: &str, error: Error) -> Error {
    let guess = call.settings.guessed && call.parameter("ns").is_none();
    if guess && *error.meaning() == Meaning::Upstream {
        return Error::absent(format!("{what} is not here, and {}", error.text()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_io_has_one_name() {
        assert_eq!(filled_in("docker.io/busybox"), "docker.io/library/busybox");
        assert_eq!(filled_in("index.docker.io/a/b"), "docker.io/a/b");
        assert_eq!(filled_in("quay.io/a"), "quay.io/a");
        assert_eq!(filled_in("a"), "a");
    }

    #[test]
    fn names_are_checked() {
        for right in ["a", "a/b", "localhost:5000/a", "docker.io/a/b", "127.0.0.1:80/a"] {
            assert!(check(right).is_ok(), "{right}");
        }
        for wrong in
            ["", "A", "a//b", "../a", "localhost:5000/", "localhost:5000/A", "a:80/../b", "host:x/a", "../a", ".a/b"]
        {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}

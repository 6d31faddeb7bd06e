//! The OSTree repositories of BuildStream 1: what clients call each, and where it is.

use std::collections::BTreeMap;

use anyhow::bail;
use serde::{Deserialize, Serialize};

/// A repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Repository {
    /// The namespace that it is in.
    pub(crate) namespace: String,
    /// Its name in there; the last part of its path where nothing is said.
    pub(crate) name: Option<String>,
    /// From where clients pull that push here. Where nothing is said: the first listener, if it is on loopback.
    pub(crate) pull_url: Option<String>,
}

impl Default for Repository {
    fn default() -> Self {
        Self { namespace: "main".into(), name: None, pull_url: None }
    }
}

/// All of them, by their paths.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Repositories(BTreeMap<String, Repository>);

impl Default for Repositories {
    /// The document that people followed has one, at `/artifacts`.
    fn default() -> Self {
        Self(BTreeMap::from([("/artifacts".into(), Repository::default())]))
    }
}

/// One that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The namespace.
    pub(crate) namespace: String,
    /// Its name in there.
    pub(crate) name: String,
    /// From where to pull, where that is known.
    pub(crate) pull_url: Option<String>,
}

impl Repositories {
    pub(crate) fn check(&self, namespaces: &[&String]) -> anyhow::Result<()> {
        for (path, repository) in &self.0 {
            if !path.starts_with('/') || path.len() < 2 || path.ends_with('/') || path.contains(char::is_whitespace) {
                bail!("repositories.{path:?}: write the path of its URL, such as /artifacts");
            }
            if !namespaces.contains(&&repository.namespace) {
                bail!("repositories.{path:?} names the namespace {:?}, which is not there", repository.namespace);
            }
        }
        Ok(())
    }

    /// Fills in where to pull from: below `base`, the URL of an HTTP listener.
    pub(crate) fn reached_at(mut self, base: Option<&str>) -> Self {
        for (path, repository) in &mut self.0 {
            if repository.pull_url.is_none() {
                repository.pull_url = base.map(|base| format!("{base}{path}"));
            }
        }
        self
    }

    /// The repository at a path.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn at(&self, path: &str) -> Result<Found, String> {
        let path = format!("/{}", path.trim_matches('/'));
        let Some(repository) = self.0.get(&path) else {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let shown: String = path.chars().take(100).collect();
            return Err(format!("there is no repository at {shown:?}; there is: {}", known.join(", ")));
        };
        let last = path.rsplit('/').next().unwrap_or_default();
        Ok(Found {
            namespace: repository.namespace.clone(),
            name: repository.name.clone().unwrap_or_else(|| last.to_owned()),
            pull_url: repository.pull_url.clone(),
        })
    }

    /// As [`Repositories::at`]; but where there is one only, that is meant whatever the path: behind sshd the URL's
    /// path never mattered.
    pub(crate) fn meant(&self, path: Option<&str>) -> Result<Found, String> {
        match (self.0.len(), path) {
            (1, _) => self.at(self.0.keys().next().map_or("", String::as_str)),
            (_, Some(path)) => self.at(path),
            (_, None) => self.at("artifacts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Repositories {
        let text = "[\"/artifacts\"]\n[\"/team/b\"]\nnamespace = \"b\"\npull_url = \"https://b.example\"\n";
        toml::from_str(text).expect("repositories")
    }

    #[test]
    fn paths_lead_to_repositories() {
        let all = two().reached_at(Some("http://127.0.0.1:9090"));
        let first = all.at("/artifacts").expect("it is there");
        assert_eq!(first.pull_url.as_deref(), Some("http://127.0.0.1:9090/artifacts"));
        assert_eq!((first.namespace.as_str(), first.name.as_str()), ("main", "artifacts"));
        let second = all.at("team/b/").expect("it is there");
        assert_eq!((second.name.as_str(), second.pull_url.as_deref()), ("b", Some("https://b.example")));
        let refused = all.at("/other").expect_err("it is not there");
        assert!(refused.contains("/artifacts, /team/b"), "{refused}");
    }

    #[test]
    fn behind_sshd_the_only_one_is_meant() {
        let one = Repositories::default();
        assert_eq!(one.meant(Some("/home/artifacts/x")).expect("the only one").name, "artifacts");
        assert_eq!(two().meant(None).expect("the usual one").name, "artifacts");
        assert!(two().meant(Some("/x")).is_err());
    }

    #[test]
    fn what_is_no_path_or_namespace_is_refused() {
        let main = "main".to_owned();
        assert!(Repositories::default().check(&[&main]).is_ok());
        assert!(two().check(&[&main]).is_err(), "there is no namespace b");
        for path in ["artifacts", "/", "/a/", "/a b"] {
            let wrong: Repositories = toml::from_str(&format!("[{path:?}]")).expect("TOML");
            assert!(wrong.check(&[&main]).is_err(), "{path}");
        }
    }
}

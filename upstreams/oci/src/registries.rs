//! All upstream registries as one `model::Upstream`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use image::{Entry, Item, Target};
use model::{Blob, Body, Error, Found, Name, Pointer, Result, Upstream};

use crate::pace::Pace;
use crate::registry::Registry;
use crate::site::Site;
use crate::token::Tokens;
use crate::watch::{Limit, Outcome, Watch};

/// What all registries share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tokens: Tokens,
    pub(crate) watch: Watch,
    pace: Pace,
}

impl Shared {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { tokens: Tokens::new(), watch: Watch::new(), pace }
    }
}

/// The upstream registries of a configuration. Made by [`crate::Plan::open`].
#[derive(Debug)]
pub struct Registries {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) shared: Arc<Shared>,
}

impl Registries {
    /// True when a host is one that may be asked.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        self.sites.iter().any(|site| site.is_about(host))
    }

    /// Rate limits as upstreams last told them, by host.
    #[must_use]
    pub fn limits(&self) -> Vec<Limit> {
        self.shared.watch.limits()
    }

    /// Requests since the start, by host and outcome.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, Outcome, u64)> {
        self.shared.watch.requests()
    }

    /// The registries to ask for a name, in order, and what of them is meant.
    fn find(&self, name: &Name) -> Result<(Vec<Registry>, Entry)> {
        let entry = Entry::read(name).ok_or_else(|| Error::malformed(format!("no upstream has {name}")))?;
        let (host, repository) = entry
            .repository
            .split_once('/')
            .filter(|(host, repository)| image::is_host(host) && image::is_repository(repository))
            .ok_or_else(|| Error::malformed(format!("{name} names no upstream")))?;
        let site = self
            .sites
            .iter()
            .find(|site| site.is_about(host))
            .ok_or_else(|| Error::denied(format!("{host} is no upstream of this hub: its operator can add it")))?;
        Ok((Registry::all(site, &self.shared, host, repository)?, entry))
    }
}

#[async_trait]
impl Upstream for Registries {
    /// All names of a repository whose first component is a host that may be asked.
    fn knows(&self, name: &Name) -> bool {
        let repository = image::split(name.as_str()).map(|(repository, ..)| repository);
        let host = repository.and_then(|repository| repository.split_once('/')).map(|(host, _)| host);
        host.is_some_and(|host| image::is_host(host) && Self::knows(self, host))
    }

    fn lasts(&self, name: &Name) -> Option<Duration> {
        let moves = Entry::read(name).is_some_and(|entry| matches!(entry.item, Item::Manifest(Target::Tag(_))));
        moves.then(|| self.shared.pace.tag())
    }

    async fn resolve(&self, name: &Name, known: Option<&Pointer>) -> Result<Option<Found>> {
        let (registries, entry) = self.find(name)?;
        let mut last = Ok(None);
        for registry in registries {
            last = registry.resolve(&entry, known).await;
            if matches!(last, Ok(Some(_))) {
                break;
            }
        }
        last
    }

    /// Tags, for nothing else is listed there that has names here.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<Name>>> {
        let Some((repository, ':', "")) = image::split(prefix) else { return Ok(None) };
        let Some(_) = repository.split_once('/').filter(|(host, _)| image::is_host(host) && self.knows(host)) else {
            return Ok(None);
        };
        let (registries, _) = self.find(&image::tag(repository, "_")?)?;
        let mut last = Ok(None);
        for registry in registries {
            last = registry.tags().await;
            if matches!(last, Ok(Some(_))) {
                break;
            }
        }
        let Some(tags) = last? else { return Ok(None) };
        let names =
            tags.iter().map(|tag| image::tag(repository, tag)).collect::<Result<std::collections::BTreeSet<_>>>()?;
        let later = names.into_iter().filter(|name| after.is_none_or(|after| name.as_str() > after));
        Ok(Some(later.take(limit).collect()))
    }

    async fn fetch(&self, name: &Name, blob: Blob) -> Result<Option<Body>> {
        let (registries, entry) = self.find(name)?;
        let mut last = Ok(None);
        for registry in registries {
            last = registry.fetch(&entry.item, blob).await;
            if matches!(last, Ok(Some(_))) {
                break;
            }
        }
        last
    }
}

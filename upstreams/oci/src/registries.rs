//! All upstream registries as one `model::Upstream`.

use std::sync::Arc;

use async_trait::async_trait;
use image::Entry;
use model::{Blob, Body, Error, Found, Name, Pointer, Result, Upstream};

use crate::registry::Registry;
use crate::site::Site;
use crate::token::Tokens;
use crate::watch::{Limit, Outcome, Watch};

/// What all registries share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tokens: Tokens,
    pub(crate) watch: Watch,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { tokens: Tokens::new(), watch: Watch::new() }
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

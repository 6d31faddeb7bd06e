//! The configuration of upstreams.

use std::path::PathBuf;
use std::sync::Arc;

use model::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::credential::{self, Source};
use crate::pace::Pace;
use crate::registries::{Registries, Shared};
use crate::site::Site;

/// All upstream registries. A host that matches no entry is never asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// One entry for each registry or group of registries; the most specific pattern counts.
    pub upstream: Vec<Entry>,
    /// Bounds in time.
    pub pace: Pace,
}

/// One registry, or a group of them with the same settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
    /// The host as people write it in image names (`docker.io`, `localhost:5000`), `*.example.com`, or `*` for all.
    pub host: String,
    /// Where it is, when not at `https://HOST`. A path in it comes before the repository, as proxies of projects want
    /// it. Only for a single host.
    pub endpoint: Option<String>,
    /// Registries that are asked first, without credentials; when they fail or lack something, the endpoint is asked.
    pub mirrors: Vec<String>,
    /// Speak plain HTTP, and follow redirects to it. Loopback hosts are spoken to in plain HTTP anyway.
    pub plain_http: bool,
    /// It may be in a private network or on this machine, and lead there.
    pub private: bool,
    /// PEM file of certificate authorities that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// `http://…` of a proxy; `none` for no proxy. By default the environment says (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub proxy: Option<String>,
    /// Only images for these (`linux/amd64`) are fetched; all when empty.
    pub platforms: Vec<String>,
    /// Who we are there; the longest prefix of the repository counts.
    pub credentials: Vec<credential::Entry>,
}

impl Plan {
    /// Checks everything that can be checked without the network, and opens the upstreams.
    ///
    /// # Errors
    /// `Malformed` for what makes no sense, `Broken` for files that cannot be read; the text names the entry.
    pub fn open(self) -> Result<Registries> {
        self.pace.check()?;
        let mut sites: Vec<Arc<Site>> = Vec::new();
        for entry in &self.upstream {
            let named =
                |error: Error| Error::new(error.meaning().clone(), format!("upstream {:?}: {error}", entry.host));
            if sites.iter().any(|site| site.pattern == entry.host.to_ascii_lowercase()) {
                return Err(named(Error::malformed("it is there twice")));
            }
            let sources = entry.credentials.iter().map(Source::open).collect::<Result<Vec<_>>>().map_err(named)?;
            sites.push(Arc::new(Site::open(entry, sources, self.pace).map_err(named)?));
        }
        // The most specific first: names without a pattern, then the longest.
        sites.sort_by_key(|site| (site.pattern.starts_with('*'), usize::MAX - site.pattern.len()));
        Ok(Registries { sites, shared: Arc::new(Shared::new(self.pace)) })
    }
}

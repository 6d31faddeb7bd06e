//! The configuration: a TOML file, environment over it, flags over that. Every key is known; an unknown one is
//! an error that names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use kernel::{Grant, Rights, Settings};
use serde::{Deserialize, Serialize};
use upstream_oci::{Plan, Registries};

use crate::bytesize::Size;
use crate::destination::Destinations;
use crate::listen::Plan as Listen;
use crate::registry::Registry;
use crate::repository::{self, Plan as Repository};
use crate::ssh::Plan as Ssh;
use crate::upstreams;

/// All of it. Without a file: data under `./data`, one namespace `main`, one listener on 127.0.0.1:9090.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Group id whose processes may become guests of this hub, for example sshd's.
    pub(crate) guests: Option<u32>,
    /// What is logged.
    pub(crate) log: Log,
    /// Bounds of the server.
    pub(crate) limits: Limits,
    /// Bounds of the store.
    pub(crate) store: Store,
    /// The namespaces that exist.
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    /// REAPI instance names that are not the names of namespaces.
    pub(crate) instances: BTreeMap<String, String>,
    /// The registry of images.
    pub(crate) registry: Registry,
    /// Registries that images are pulled through from; every public one where nothing is said.
    pub(crate) upstream: Vec<upstream_oci::Entry>,
    /// How long upstreams may take, and their answers count.
    pub(crate) pace: upstream_oci::Pace,
    /// OSTree repositories; `/artifacts` in the namespace `main` where nothing is said.
    pub(crate) repository: Option<Vec<Repository>>,
    /// Where to listen.
    pub(crate) listen: Vec<Listen>,
    /// Where to listen for pushes by SSH; nowhere where nothing is said.
    pub(crate) ssh: Vec<Ssh>,
}

/// What is logged, to standard error.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,reapi=debug`.
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: Format,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Bounds of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Requests at once.
    pub(crate) requests: usize,
    /// Bytes of files in memory on their way out.
    pub(crate) in_flight: Size,
    /// Seconds that running requests get at the end.
    pub(crate) drain_seconds: u64,
}

/// Bounds of the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// Free bytes that uploads leave on the disk (at most a twentieth of it).
    pub(crate) reserve: Size,
    /// Nothing that was used within these seconds is evicted.
    pub(crate) grace_seconds: u64,
    /// Blobs that each namespace remembers in memory.
    pub(crate) cached: usize,
    /// Hours that an unfinished upload may rest.
    pub(crate) parked_hours: u64,
    /// Days that the journal is kept.
    pub(crate) journal_days: u64,
}

/// A namespace.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Namespace {
    /// Bytes that it may hold; least recently used goes first.
    pub(crate) quota: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: default_data(),
            guests: None,
            log: Log::default(),
            limits: Limits::default(),
            store: Store::default(),
            namespaces: BTreeMap::from([("main".into(), Namespace::default())]),
            instances: BTreeMap::new(),
            registry: Registry::default(),
            upstream: upstreams::everywhere(),
            pace: upstream_oci::Pace::default(),
            repository: None,
            listen: vec![Listen::default()],
            ssh: Vec::new(),
        }
    }
}

/// `$XDG_DATA_HOME/entrepot`, else `./data`.
fn default_data() -> PathBuf {
    match std::env::var_os("XDG_DATA_HOME") {
        Some(home) if !home.is_empty() => PathBuf::from(home).join("entrepot"),
        _ => "data".into(),
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let limits = server::Limits::default();
        Self {
            connections: limits.connections,
            requests: limits.requests,
            in_flight: Size(limits.in_flight as u64),
            drain_seconds: limits.drain.as_secs(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            reserve: Size(settings.disk_reserve),
            grace_seconds: 0,
            cached: settings.cached,
            parked_hours: settings.parked.as_secs() / 3600,
            journal_days: settings.journal.as_secs() / (24 * 3600),
        }
    }
}

impl Default for Namespace {
    /// What `bst-artifact-server` takes without `--quota`.
    fn default() -> Self {
        Self { quota: Size(10_000_000_000) }
    }
}

impl Config {
    /// Reads the file, where one is given, and lays the environment over it.
    pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut tree = match file {
            None => toml::Table::new(),
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                text.parse().with_context(|| format!("{} is not TOML", file.display()))?
            }
        };
        for (key, value) in std::env::vars() {
            // The one that names the file itself is the command line's.
            if let Some(path) = key.strip_prefix("ENTREPOT_").filter(|path| *path != "CONFIG_FILE") {
                overlay(&mut tree, path, &value).with_context(|| format!("environment variable {key}"))?;
            }
        }
        let source = file.map_or_else(|| "the environment".into(), |file| file.display().to_string());
        let config: Self = serde_path_to_error::deserialize(tree)
            .with_context(|| format!("{source} has a key or value that is not understood"))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.namespaces.is_empty() || self.listen.is_empty() {
            bail!("at least one namespace and one listener are needed");
        }
        for name in self.namespaces.keys() {
            if !reapi::is_instance(name) {
                bail!(
                    "namespaces.{name:?}: a name is made of parts between single slashes, none of which REAPI keeps \
                     for itself (blobs, uploads, actions, actionResults, operations, capabilities, compressed-blobs)"
                );
            }
        }
        for (instance, namespace) in &self.instances {
            if !self.namespaces.contains_key(namespace) {
                bail!("instances.{instance:?} names the namespace {namespace:?}, which is not in [namespaces]");
            }
        }
        let namespace = &self.registry.namespace;
        if !self.namespaces.contains_key(namespace) {
            bail!("registry.namespace names {namespace:?}, which is not in [namespaces]");
        }
        self.registry.settings()?;
        self.upstreams()?;
        repository::check(&self.repositories(), |name| self.namespaces.contains_key(name))?;
        for listen in &self.listen {
            listen.check()?;
        }
        for ssh in &self.ssh {
            ssh.check()?;
        }
        Ok(())
    }

    /// Whether nobody said where images are to be pulled through from.
    pub(crate) fn guesses_upstream(&self) -> bool {
        let all = matches!(&self.upstream[..], [one] if one.host == "*");
        all && self.registry.default_upstream == Registry::default().default_upstream
    }

    /// The upstreams, ready to be asked.
    pub(crate) fn upstreams(&self) -> anyhow::Result<Registries> {
        match (Plan { upstream: self.upstream.clone(), pace: self.pace }).open() {
            // A small container has no authorities of its system: it pulls nothing through, and does all else.
            Err(error) if upstreams::is_everywhere(&self.upstream) => {
                tracing::warn!(%error, "images are not pulled through from other registries");
                Ok(Plan { upstream: Vec::new(), pace: self.pace }.open()?)
            }
            opened => Ok(opened?),
        }
    }

    /// The OSTree repositories. The one of BuildStream 1's guide is there for whoever has a namespace `main`.
    pub(crate) fn repositories(&self) -> Vec<Repository> {
        let built_in = || if self.namespaces.contains_key("main") { vec![Repository::default()] } else { Vec::new() };
        self.repository.clone().unwrap_or_else(built_in)
    }

    /// Where pushes by SSH can go.
    pub(crate) fn destinations(&self) -> Destinations {
        let base = self.listen.first().filter(|listen| is_loopback(listen.address())).map(|listen| {
            let scheme = if listen.certificate.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", listen.address())
        });
        Destinations::new(self.repositories(), base.as_deref())
    }

    pub(crate) fn settings(&self) -> Settings {
        let day = 24 * 3600;
        Settings {
            namespaces: self.namespaces.iter().map(|(name, space)| (name.clone(), space.quota.0)).collect(),
            grace: Duration::from_secs(self.store.grace_seconds),
            disk_reserve: self.store.reserve.0,
            cached: self.store.cached,
            parked: Duration::from_secs(self.store.parked_hours.saturating_mul(3600)),
            journal: Duration::from_secs(self.store.journal_days.saturating_mul(day)),
            absent: self.pace.absent(),
            failed: self.pace.failed(),
            ..Settings::default()
        }
    }

    pub(crate) fn limits(&self) -> server::Limits {
        server::Limits {
            connections: self.limits.connections,
            requests: self.limits.requests,
            in_flight: usize::try_from(self.limits.in_flight.0).unwrap_or(usize::MAX),
            drain: Duration::from_secs(self.limits.drain_seconds),
            ..server::Limits::default()
        }
    }
}

/// `ENTREPOT_STORE__RESERVE=1GB` is `store.reserve = "1GB"`.
fn overlay(tree: &mut toml::Table, path: &str, value: &str) -> anyhow::Result<()> {
    let lower = path.to_lowercase();
    let mut keys: Vec<&str> = lower.split("__").collect();
    let last = keys.pop().unwrap_or_default();
    let mut table = tree;
    for key in keys {
        let entry = table.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().with_context(|| format!("{key} is not a table"))?;
    }
    // A value that reads as TOML is that; all others are texts.
    let value = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut read| read.remove("value"));
    let value =
        value.unwrap_or_else(|| toml::Value::String(std::env::var(format!("ENTREPOT_{path}")).unwrap_or_default()));
    table.insert(last.to_owned(), value);
    Ok(())
}

/// What anonymous callers may do where nothing is configured: everything on loopback, else nothing.
pub(crate) fn default_anonymous(address: &str) -> Vec<Grant> {
    if is_loopback(address) { vec![Grant::everywhere(Rights::PUSH | Rights::DELETE)] } else { Vec::new() }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_lies_over_the_file() {
        let mut tree: toml::Table = "[store]\nreserve = \"1MB\"\n".parse().expect("TOML");
        overlay(&mut tree, "STORE__RESERVE", "5").expect("a value");
        overlay(&mut tree, "NAMESPACES__MAIN__QUOTA", "\"7GB\"").expect("a value");
        let config: Config = serde_path_to_error::deserialize(tree).expect("a configuration");
        assert_eq!(config.store.reserve, Size(5));
        assert_eq!(config.namespaces["main"].quota, Size(7_000_000_000));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let tree: toml::Table = "[store]\nreserv = 5\n".parse().expect("TOML");
        let error = serde_path_to_error::deserialize::<_, Config>(tree).expect_err("an error");
        assert!(error.to_string().contains("reserv"), "{error}");
    }

    #[test]
    fn anonymous_callers_write_on_loopback_only() {
        for (address, may) in
            [("127.0.0.1:9090", true), ("[::1]:1", true), ("localhost:1", true), ("0.0.0.0:1", false), (":1", false)]
        {
            assert_eq!(!default_anonymous(address).is_empty(), may, "{address}");
        }
    }
}

//! A listener as data: in the configuration, and on its way from a guest to the owner of the data directory.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use kernel::{Grant, Hub};
use serde::{Deserialize, Serialize};
use server::{Access, Htpasswd, Listener, Material, Pem, Protocol, Proxies, Server, Tls};

use crate::config::default_anonymous;

/// Where and how to listen, and who may do what there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plan {
    /// What it is called in the log and in metrics; its address where nothing is said.
    pub(crate) name: Option<String>,
    /// `HOST:PORT`; 127.0.0.1:9090 where nothing is said.
    pub(crate) address: Option<String>,
    /// The server's certificate (PEM). With it the listener speaks TLS.
    pub(crate) certificate: Option<PathBuf>,
    /// The certificate's key, where it is not in the same file.
    pub(crate) key: Option<PathBuf>,
    /// Client certificates that are let in; nobody else is.
    pub(crate) clients: Option<PathBuf>,
    /// What anonymous callers may do: grants `RIGHTS[:NAMESPACE[:PREFIX]]`. On loopback `push,delete`, else nothing.
    pub(crate) anonymous: Option<Vec<String>>,
    /// What holders of a listed certificate may do; `push,delete` where nothing is said.
    pub(crate) certified: Option<Vec<String>>,
    /// A password file made by `htpasswd -B`.
    pub(crate) users: Option<PathBuf>,
    /// What its users may do; `push,delete` where nothing is said.
    pub(crate) user_grants: Option<Vec<String>>,
    /// Whether the hub's tokens are taken.
    pub(crate) tokens: Option<bool>,
    /// Addresses of proxies that speak for others, such as `127.0.0.1` or `10.0.0.0/8`.
    pub(crate) proxies: Vec<String>,
    /// Those proxies set `X-Forwarded-User`.
    pub(crate) proxy_user: bool,
    /// Those proxies set `X-SSL-Client-Verify` and `X-SSL-Client-S-DN`.
    pub(crate) proxy_certificate: bool,
    /// Anybody may read health and metrics, not only this machine and known callers.
    pub(crate) observers: bool,
    /// Nothing can be pushed here, whoever asks.
    pub(crate) pull_only: bool,
    /// Only the index of artifacts: the bytes are elsewhere.
    pub(crate) index_only: bool,
    /// Which protocols are spoken here; all where nothing is said.
    pub(crate) protocols: Option<Vec<Spoken>>,
}

/// A protocol of a listener.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Spoken {
    /// The remote execution APIs' content store, action cache and assets: BuildStream 2, Bazel.
    Reapi,
    /// A registry of images: docker, podman, containerd.
    Oci,
    /// OSTree repositories: BuildStream 1, `ostree`.
    Ostree,
}

/// What the protocols of all listeners share.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    pub(crate) instances: BTreeMap<String, String>,
    pub(crate) registry: oci::Settings,
    pub(crate) repositories: Vec<ostree::Repository>,
}

/// The PEM texts of a plan: read by the process that may read the files.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Texts {
    certificate: (String, String),
    key: Option<(String, String)>,
    clients: Option<(String, String)>,
}

impl Plan {
    pub(crate) fn address(&self) -> &str {
        self.address.as_deref().unwrap_or("127.0.0.1:9090")
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.address())
    }

    /// As another process has to read it: the password file by its whole path. The owner of the data directory
    /// opens it, because it follows its changes.
    pub(crate) fn absolute(mut self) -> anyhow::Result<Self> {
        self.users = self.users.map(std::path::absolute).transpose()?;
        Ok(self)
    }

    /// What can be said without touching anything.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.certificate.is_none() && (self.key.is_some() || self.clients.is_some()) {
            bail!("listener {}: a key or client certificates need a server certificate", self.name());
        }
        self.access_without_files().map(drop)
    }

    fn access_without_files(&self) -> anyhow::Result<Access> {
        let grants = |list: &Option<Vec<String>>, default: Vec<Grant>| -> anyhow::Result<Vec<Grant>> {
            let Some(list) = list else { return Ok(default) };
            let grants: model::Result<_> = list.iter().map(|grant| grant.parse()).collect();
            grants.with_context(|| format!("listener {}", self.name()))
        };
        let everywhere = |text: &str| text.parse::<Grant>().map(|grant| vec![grant]);
        let networks: model::Result<_> = self.proxies.iter().map(|network| network.parse()).collect();
        let from = networks.with_context(|| format!("listener {}: proxies", self.name()))?;
        Ok(Access {
            anonymous: grants(&self.anonymous, default_anonymous(self.address()))?.into(),
            certificate: grants(&self.certified, everywhere("push,delete")?)?.into(),
            users: None,
            user_grants: grants(&self.user_grants, everywhere("push,delete")?)?.into(),
            tokens: self.tokens.unwrap_or(true),
            proxies: Proxies { from, user: self.proxy_user, certificate: self.proxy_certificate },
            observers: self.observers,
        })
    }

    fn access(&self) -> anyhow::Result<Access> {
        let users = self.users.as_ref().map(Htpasswd::open).transpose()?.map(Arc::new);
        Ok(Access { users, ..self.access_without_files()? })
    }

    /// Reads the files that the plan names.
    pub(crate) fn check_files(&self) -> anyhow::Result<()> {
        self.tls()?;
        self.access().map(drop)
    }

    /// TLS from the plan's files, reloaded when they change.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let file = |path: &PathBuf| Pem::File(path.clone());
        let (key, clients) = (self.key.as_ref().map(file), self.clients.as_ref().map(file));
        Ok(Some(Tls::open(Material { certificate: file(certificate), key, clients })?))
    }

    /// The files' texts, for the owner of the data directory, which may not be able to read the files.
    pub(crate) fn texts(&self) -> anyhow::Result<Option<Texts>> {
        let read = |path: &PathBuf| -> anyhow::Result<(String, String)> {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((path.display().to_string(), String::from_utf8_lossy(&text).into_owned()))
        };
        let Some(certificate) = &self.certificate else { return Ok(None) };
        Ok(Some(Texts {
            certificate: read(certificate)?,
            key: self.key.as_ref().map(read).transpose()?,
            clients: self.clients.as_ref().map(read).transpose()?,
        }))
    }

    fn speaks(&self, protocol: Spoken) -> bool {
        self.protocols.as_ref().is_none_or(|list| list.contains(&protocol))
    }

    /// Makes the listener. `tls` is ready already, so that a bad file is told before anything listens.
    pub(crate) fn open(
        &self,
        hub: &Hub,
        server: &Server,
        wiring: &Wiring,
        socket: TcpListener,
        tls: Option<Arc<Tls>>,
    ) -> anyhow::Result<Listener> {
        let settings = reapi::Settings {
            instances: wiring.instances.clone(),
            push: !self.pull_only,
            index_only: self.index_only,
            ..reapi::Settings::default()
        };
        let registry = oci::Settings { read_only: self.pull_only, ..wiring.registry.clone() };
        let mut protocols: Vec<Arc<dyn Protocol>> = Vec::new();
        if self.speaks(Spoken::Reapi) {
            protocols.push(Arc::new(reapi::Reapi::new(settings)));
        }
        // An index of artifacts has no bytes to make images of.
        if self.speaks(Spoken::Oci) && !self.index_only {
            protocols.push(Arc::new(oci::Oci::new(registry)));
        }
        if self.speaks(Spoken::Ostree) && !self.index_only {
            protocols.push(Arc::new(ostree::Ostree::new(wiring.repositories.clone())));
        }
        Ok(Listener {
            name: self.name().into(),
            socket,
            tls,
            access: Arc::new(self.access()?),
            router: server.router(hub, &protocols)?,
        })
    }
}

impl Texts {
    pub(crate) fn material(self) -> Material {
        let pem = |(name, text): (String, String)| Pem::Text { name, text };
        Material { certificate: pem(self.certificate), key: self.key.map(pem), clients: self.clients.map(pem) }
    }
}

//! An SSH listener as data: in the configuration, and on its way from a guest to the owner of the data directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use kernel::{Grant, Hub};
use serde::{Deserialize, Serialize};
use server::ssh::{AuthorizedKeys, HostKeys, Patience, SshListener};

use crate::destination::Destinations;
use crate::receive::{Asked, Receiving};

/// Where and how to listen for pushes of BuildStream 1.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plan {
    /// What it is called in the log and in metrics; `ssh` and its address where nothing is said.
    pub(crate) name: Option<String>,
    /// `HOST:PORT`; 127.0.0.1:22200 where nothing is said.
    pub(crate) address: Option<String>,
    /// The name that all users log in with; `artifacts` where nothing is said.
    pub(crate) login: Option<String>,
    /// Whose keys are let in; `authorized_keys` of the data directory where nothing is said.
    pub(crate) authorized_keys: Option<PathBuf>,
    /// Private keys of the host in OpenSSH's format; made in the data directory where nothing is said.
    pub(crate) host_keys: Vec<PathBuf>,
    /// What holders of a listed key may do; `push` where nothing is said.
    pub(crate) grants: Option<Vec<String>>,
}

impl Plan {
    pub(crate) fn address(&self) -> &str {
        self.address.as_deref().unwrap_or("127.0.0.1:22200")
    }

    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("ssh {}", self.address()))
    }

    /// As another process has to read it. The owner of the data directory opens the file of keys, because it follows
    /// its changes.
    pub(crate) fn absolute(mut self, data: &Path) -> anyhow::Result<Self> {
        self.authorized_keys = Some(std::path::absolute(self.authorized_keys(data))?);
        Ok(self)
    }

    fn authorized_keys(&self, data: &Path) -> PathBuf {
        self.authorized_keys.clone().unwrap_or_else(|| data.join("authorized_keys"))
    }

    fn grants(&self) -> anyhow::Result<Arc<[Grant]>> {
        let written = self.grants.clone().unwrap_or_else(|| vec!["push".into()]);
        let grants: model::Result<Vec<Grant>> = written.iter().map(|grant| grant.parse()).collect();
        Ok(grants.with_context(|| format!("SSH listener {}", self.name()))?.into())
    }

    /// What can be said without touching anything.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.login.as_ref().is_some_and(|login| login.is_empty() || login.contains(char::is_whitespace)) {
            bail!(
                "SSH listener {}: the login name is the part of the URL before the @, such as artifacts",
                self.name()
            );
        }
        self.grants().map(drop)
    }

    /// Reads the files that the plan names.
    pub(crate) fn check_files(&self, data: &Path) -> anyhow::Result<()> {
        let keys = self.authorized_keys(data);
        if !keys.exists() {
            bail!("{} is not there: add users with `cat user_id_rsa.pub >> {}`", keys.display(), keys.display());
        }
        self.open_keys(data)?;
        HostKeys::read(&self.host_keys).map(drop)?;
        Ok(())
    }

    fn open_keys(&self, data: &Path) -> anyhow::Result<AuthorizedKeys> {
        let forced = Arc::new(|command: &str| Asked::by_operator(command).map(drop));
        Ok(AuthorizedKeys::open(self.authorized_keys(data), forced)?)
    }

    /// The host's keys, made at the first start where none are configured.
    pub(crate) fn host_keys(&self, data: &Path) -> anyhow::Result<HostKeys> {
        Ok(if self.host_keys.is_empty() { HostKeys::of(data)? } else { HostKeys::read(&self.host_keys)? })
    }

    /// Makes the listener.
    pub(crate) fn open(
        &self,
        hub: &Hub,
        data: &Path,
        destinations: Destinations,
        socket: TcpListener,
        host_keys: HostKeys,
    ) -> anyhow::Result<SshListener> {
        Ok(SshListener {
            name: self.name().into(),
            socket,
            host_keys,
            login: self.login.clone().unwrap_or_else(|| "artifacts".into()),
            keys: self.open_keys(data)?,
            grants: self.grants()?,
            exec: Arc::new(Receiving { hub: hub.clone(), destinations }),
            patience: Patience::default(),
        })
    }
}

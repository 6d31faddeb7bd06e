//! Who we are at an upstream: where credentials come from, and which one counts.

mod acr;
mod docker;
mod ecr;
mod program;
mod sigv4;

use std::path::PathBuf;
use std::time::Duration;

use model::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::kept::Kept;
use crate::registry::Registry;
use crate::secret::Secret;

/// How long what files and programs say is kept: they may be changed under us, and a refusal asks them anew anyway.
const FRESH: Duration = Duration::from_secs(60);

/// What a registry gets to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Credential {
    /// A user name and password.
    Basic { user: String, password: Secret },
    /// An identity token: it is exchanged for access tokens (OAuth2's refresh token).
    Identity(Secret),
    /// An access token, as it is.
    Bearer(Secret),
}

/// Credentials of an upstream, for its repositories that begin with a prefix.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
    /// Whole components from the beginning of a repository, such as `library` or `team/project`; empty for all.
    pub prefix: String,
    /// The user's name. For `ecr` the access key's id.
    pub user: Option<String>,
    /// A file whose first line is the password. It is read when it is needed, so that it may change.
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password.
    pub password_env: Option<String>,
    /// Asks the program `docker-credential-NAME`.
    pub helper: Option<String>,
    /// Looks into this file of docker (`config.json`) or podman (`auth.json`); `default` for where these have it.
    pub docker_config: Option<PathBuf>,
    /// How the registry wants it.
    pub dialect: Dialect,
    /// The cloud's interface, where it is not at its usual place (`ecr`).
    pub api: Option<String>,
    /// The directory's tenant (`acr` with an access token of Entra ID as its password).
    pub tenant: Option<String>,
}

/// What a registry does with a name and password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// As the registry asks: Basic, or for a token.
    #[default]
    Static,
    /// Amazon: an access key (from here, or from `AWS_ACCESS_KEY_ID` and so on) is exchanged for a password.
    Ecr,
    /// Azure: an admin user as it is; without a user, an access token is exchanged for a refresh token.
    Acr,
    /// Harbor's robots, whose names have a `$`.
    HarborRobot,
    /// GitLab's deploy tokens.
    GitlabDeployToken,
}

/// An [`Entry`], checked.
#[derive(Debug)]
pub(crate) struct Source {
    prefix: String,
    from: From,
    kept: Kept<Option<Credential>>,
}

#[derive(Debug)]
enum From {
    Password { user: String, password: Password },
    Program(String),
    Docker(PathBuf),
    Ecr(ecr::Keys),
    Acr { tenant: Option<String>, token: Password },
}

/// Where a password is.
#[derive(Clone, Debug)]
enum Password {
    File(PathBuf),
    Variable(String),
}

impl Password {
    async fn read(&self) -> Result<Secret> {
        let text = match self {
            Self::File(file) => tokio::fs::read_to_string(file)
                .await
                .map_err(|cause| Error::io(format!("cannot read the password in {}", file.display()), cause))?,
            Self::Variable(name) => std::env::var(name)
                .map_err(|_| Error::broken(format!("the environment variable {name} with a password is not set")))?,
        };
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(Error::broken("a configured password of an upstream is empty"));
        }
        Ok(Secret::new(line))
    }
}

impl Source {
    pub(crate) fn open(entry: &Entry) -> Result<Self> {
        let password = match (&entry.password_file, &entry.password_env) {
            (Some(_), Some(_)) => return Err(Error::malformed("credentials: password_file or password_env, not both")),
            (Some(file), None) => {
                std::fs::File::open(file)
                    .map_err(|cause| Error::io(format!("cannot read the password in {}", file.display()), cause))?;
                Some(Password::File(file.clone()))
            }
            (None, Some(name)) if std::env::var_os(name).is_none() => {
                return Err(Error::malformed(format!("the environment variable {name} with a password is not set")));
            }
            (None, Some(name)) => Some(Password::Variable(name.clone())),
            (None, None) => None,
        };
        let own = entry.user.is_some() || password.is_some();
        let from = match (entry.dialect, &entry.helper, &entry.docker_config) {
            (Dialect::Ecr, None, None) => From::Ecr(ecr::Keys::open(entry.user.clone(), password, entry.api.clone())?),
            (Dialect::Acr, None, None) if entry.user.is_none() => {
                let token = password.ok_or_else(|| {
                    Error::malformed("credentials of acr: a user with its password, or an access token as the password")
                })?;
                From::Acr { tenant: entry.tenant.clone(), token }
            }
            (_, Some(name), None) if !own => {
                program::check(name)?;
                From::Program(name.clone())
            }
            (_, None, Some(file)) if !own => {
                let file = docker::place(file)?;
                // It is read again whenever it is needed; here only so that a wrong one is told now.
                docker::read(&file)?;
                From::Docker(file)
            }
            (_, None, None) => match (entry.user.clone(), password) {
                (Some(user), Some(password)) if !user.contains(':') => From::Password { user, password },
                (Some(_), Some(_)) => return Err(Error::malformed("credentials: a user's name has no colon")),
                _ => {
                    return Err(Error::malformed(
                        "credentials need a user with password_file or password_env, or a helper, or docker_config",
                    ));
                }
            },
            _ => return Err(Error::malformed("credentials: one of user and password, helper, or docker_config")),
        };
        Ok(Self { prefix: entry.prefix.trim_matches('/').to_owned(), from, kept: Kept::default() })
    }

    /// True when these credentials are for a repository.
    fn is_for(&self, repository: &str) -> bool {
        let rest = repository.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| self.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    async fn get(&self, registry: &Registry) -> Result<Option<Credential>> {
        self.kept
            .get(async {
                let fresh = Instant::now() + FRESH;
                let name = &registry.name;
                Ok(match &self.from {
                    From::Password { user, password } => {
                        (Some(Credential::Basic { user: user.clone(), password: password.read().await? }), fresh)
                    }
                    From::Program(program) => (program::ask(program, name).await?, fresh),
                    From::Docker(file) => (docker::find(file, name, &registry.path).await?, fresh),
                    From::Ecr(keys) => {
                        let (credential, until) = keys.exchange(registry).await?;
                        (Some(credential), until)
                    }
                    From::Acr { tenant, token } => {
                        let (credential, until) =
                            acr::exchange(registry, tenant.as_deref(), &token.read().await?).await?;
                        (Some(credential), until)
                    }
                })
            })
            .await
    }
}

impl Registry {
    fn source(&self) -> Option<&Source> {
        let all = self.site.sources.iter().filter(|source| source.is_for(&self.path));
        all.max_by_key(|source| source.prefix.len())
    }

    /// Who we are for this repository.
    pub(crate) async fn credential(&self) -> Result<Option<Credential>> {
        match self.source() {
            Some(source) if !self.mirror => source.get(self).await,
            _ => Ok(None),
        }
    }

    /// What was refused is looked up again.
    pub(crate) fn forget_credential(&self) {
        if let Some(source) = self.source() {
            source.kept.forget(|_| true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_whole_components() {
        let source =
            |prefix: &str| Source { prefix: prefix.into(), from: From::Program("x".into()), kept: Kept::default() };
        assert!(source("").is_for("a/b") && source("a").is_for("a/b") && source("a/b").is_for("a/b"));
        assert!(!source("a").is_for("ab") && !source("a/b").is_for("a"));
    }

    #[test]
    fn what_makes_no_sense_is_told_at_the_start() {
        let wrong = |entry: Entry| Source::open(&entry).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(wrong(Entry::default()).contains("password_file"));
        assert!(wrong(Entry { user: Some("u".into()), ..Entry::default() }).contains("password_file"));
        let gone = Entry { user: Some("u".into()), password_file: Some("/nowhere/p".into()), ..Entry::default() };
        assert!(wrong(gone).contains("/nowhere/p"));
        let unset = Entry { user: Some("u".into()), password_env: Some("NOT_SET_ANYWHERE".into()), ..Entry::default() };
        assert!(wrong(unset).contains("NOT_SET_ANYWHERE"));
        assert!(!wrong(Entry { helper: Some("../x".into()), ..Entry::default() }).is_empty());
        let two = Entry { helper: Some("x".into()), docker_config: Some("/x".into()), ..Entry::default() };
        assert!(wrong(two).contains("one of"));
    }
}

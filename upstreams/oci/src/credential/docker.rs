//! Files with credentials: docker's `config.json` and podman's `auth.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::{Error, Result};
use serde::Deserialize;

use super::{Credential, program};
use crate::secret::Secret;

/// Largest file; real ones have some kilobytes.
const LARGEST: u64 = 1 << 20;

/// A file, as far as credentials go.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct File {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// `default`: the first file that there is, in the order in which podman and docker look.
pub(super) fn place(file: &Path) -> Result<PathBuf> {
    if file != Path::new("default") {
        return Ok(file.to_owned());
    }
    let below = |variable: &str, rest: &str| {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
        Some(if rest.is_empty() { PathBuf::from(value) } else { PathBuf::from(value).join(rest) })
    };
    let places = [
        below("REGISTRY_AUTH_FILE", ""),
        below("DOCKER_CONFIG", "config.json"),
        below("XDG_RUNTIME_DIR", "containers/auth.json"),
        below("HOME", ".config/containers/auth.json"),
        below("HOME", ".docker/config.json"),
    ];
    let found = places.into_iter().flatten().find(|place| place.is_file());
    found
        .ok_or_else(|| Error::malformed("docker_config = \"default\": there is neither a config.json nor an auth.json"))
}

pub(super) fn read(file: &Path) -> Result<File> {
    let cannot = |cause| Error::io(format!("cannot read the credentials in {}", file.display()), cause);
    if std::fs::metadata(file).map_err(cannot)?.len() > LARGEST {
        return Err(Error::too_big(format!("{} is too large for a file of credentials", file.display())));
    }
    let text = std::fs::read(file).map_err(cannot)?;
    // The parser's own message could repeat what is in the file.
    let wrong = |cause: serde_json::Error| {
        Error::malformed(format!("{} is no config.json or auth.json (line {})", file.display(), cause.line()))
    };
    serde_json::from_slice(&text).map_err(wrong)
}

/// The credentials of a host, or of the longest path below it that the file knows (as podman has it).
pub(super) async fn find(file: &Path, host: &str, repository: &str) -> Result<Option<Credential>> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path)).await;
    let file = read.map_err(|cause| Error::broken("reading credentials was broken off").because(cause))??;
    let key = |text: &str| key(text) == key(host);
    let helper = file.cred_helpers.iter().find(|(name, _)| key(name)).map(|(_, helper)| helper);
    if let Some(helper) = helper.or(file.creds_store.as_ref())
        && let Some(found) = program::ask(helper, host).await?
    {
        return Ok(Some(found));
    }
    file.auths
        .iter()
        .filter(|(name, _)| is_about(name, host, repository))
        .max_by_key(|(name, _)| self::key(name).len())
        .map(|(_, auth)| credential(auth))
        .transpose()
        .map(Option::flatten)
}

/// A file's key in one spelling: without scheme, version and Docker Hub's other names.
fn key(text: &str) -> String {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let text = text.strip_suffix("/v1").or_else(|| text.strip_suffix("/v2")).unwrap_or(text);
    match text.split_once('/').unwrap_or((text, "")) {
        ("index.docker.io" | "registry-1.docker.io" | "docker.io", "") => "docker.io".into(),
        ("index.docker.io" | "registry-1.docker.io" | "docker.io", rest) => format!("docker.io/{rest}"),
        _ => text.into(),
    }
}

fn is_about(name: &str, host: &str, repository: &str) -> bool {
    let key = key(name);
    let wanted = format!("{}/{repository}", self::key(host));
    wanted.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && !key.is_empty()
}

fn credential(auth: &Auth) -> Result<Option<Credential>> {
    if !auth.identitytoken.is_empty() {
        return Ok(Some(Credential::Identity(Secret::new(auth.identitytoken.as_str()))));
    }
    if !auth.registrytoken.is_empty() {
        return Ok(Some(Credential::Bearer(Secret::new(auth.registrytoken.as_str()))));
    }
    if auth.auth.is_empty() {
        let known = !auth.username.is_empty();
        return Ok(known.then(|| Credential::Basic {
            user: auth.username.clone(),
            password: Secret::new(auth.password.as_str()),
        }));
    }
    let wrong = || Error::broken("a file of credentials has an entry that is not base64 of USER:PASSWORD");
    let text = BASE64_STANDARD.decode(auth.auth.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(text).map_err(|_| wrong())?;
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    // Old versions of docker padded with NUL.
    let password = password.trim_end_matches('\0');
    if user.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credential::Basic { user: user.into(), password: Secret::new(password) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_of_docker_and_podman_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.json");
        let text = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "a.example":{"auth":"YTpwOnc="},
            "a.example/team":{"username":"team","password":"x"},
            "b.example:5000":{"identitytoken":"it"},
            "c.example":{}},
            "HttpHeaders":{"x":"y"}}"#;
        std::fs::write(&file, text).expect("written");
        let basic =
            |user: &str, password: &str| Some(Credential::Basic { user: user.into(), password: Secret::new(password) });
        for (host, repository, wanted) in [
            ("docker.io", "library/x", basic("hub", "pw")),
            ("a.example", "x", basic("a", "p:w")),
            ("a.example", "teams/x", basic("a", "p:w")),
            ("a.example", "team/x", basic("team", "x")),
            ("b.example:5000", "x", Some(Credential::Identity(Secret::new("it")))),
            ("c.example", "x", None),
            ("d.example", "x", None),
            ("b.example", "x", None),
        ] {
            assert_eq!(find(&file, host, repository).await.expect("read"), wanted, "{host}/{repository}");
        }
        std::fs::write(&file, r#"{"auths":{"a.example":{"auth":"hunter2!"}}}"#).expect("written");
        let error = find(&file, "a.example", "x").await.expect_err("no base64");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        std::fs::write(&file, r#"{"auths": hunter2"#).expect("written");
        let error = read(&file).err().expect("no JSON");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

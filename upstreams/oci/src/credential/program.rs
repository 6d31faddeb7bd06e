//! Credential helpers: programs `docker-credential-NAME` (docker's credential helper protocol).

use std::process::Stdio;
use std::time::Duration;

use model::{Error, Result};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::Credential;
use crate::secret::Secret;

/// Longest output; tokens of clouds have a few kilobytes.
const LONGEST: u64 = 256 << 10;
/// Longest time: some ask a cloud.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Refuses names that are more than a name.
pub(super) fn check(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Error::malformed(format!(
            "{name:?} is no name of a credential helper: it is what follows docker-credential-"
        )));
    }
    Ok(())
}

/// How helpers know a registry.
pub(super) fn server(host: &str) -> &str {
    if host == "docker.io" { "https://index.docker.io/v1/" } else { host }
}

/// Asks a helper; `None` when it has nothing for the host.
pub(super) async fn ask(name: &str, host: &str) -> Result<Option<Credential>> {
    check(name)?;
    let program = format!("docker-credential-{name}");
    let failed = |how: String| Error::broken(format!("the credential helper {program} {how}"));
    let run = async {
        let mut command = Command::new(&program);
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child =
            command.spawn().map_err(|cause| failed("cannot be run: is it in PATH?".into()).because(cause))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that answers without having read its input closes it.
            let _ = stdin.write_all(server(host).as_bytes()).await;
        }
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(LONGEST + 1).read_to_end(&mut output).await;
            read.map_err(|cause| failed("cannot be read".into()).because(cause))?;
        }
        if output.len() as u64 > LONGEST {
            return Err(failed("says too much".into()));
        }
        let status = child.wait().await.map_err(|cause| failed("cannot be waited for".into()).because(cause))?;
        Ok((status, output))
    };
    let (status, output) = timeout(PATIENCE, run)
        .await
        .map_err(|_| failed(format!("does not answer within {} s", PATIENCE.as_secs())))??;
    if !status.success() {
        // The protocol's only way to say that there is nothing.
        return if String::from_utf8_lossy(&output).contains("credentials not found") {
            Ok(None)
        } else {
            Err(failed(format!("ends with {status}")))
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output).map_err(|_| failed("answers with something else than JSON".into()))?;
    Ok(match (answer.user.as_str(), answer.secret) {
        (_, secret) if secret.is_empty() => None,
        ("<token>", secret) => Some(Credential::Identity(Secret::new(secret))),
        (user, secret) => Some(Credential::Basic { user: user.to_owned(), password: Secret::new(secret) }),
    })
}

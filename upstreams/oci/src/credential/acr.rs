//! Azure: an access token of Entra ID buys a refresh token of the registry (`/oauth2/exchange`), and that buys access
//! tokens (`/oauth2/token`, as with any identity token).

use std::time::Duration;

use model::Result;
use serde::Deserialize;
use tokio::time::Instant;

use super::Credential;
use crate::document;
use crate::failure;
use crate::registry::Registry;
use crate::secret::Secret;

/// Refresh tokens live three hours (Azure's documentation of token authentication); half of it is safe.
const LIFE: Duration = Duration::from_secs(90 * 60);

#[derive(Deserialize)]
struct Answer {
    refresh_token: String,
}

pub(super) async fn exchange(
    registry: &Registry,
    tenant: Option<&str>,
    token: &Secret,
) -> Result<(Credential, Instant)> {
    let mut url = registry.base.clone();
    url.set_path("/oauth2/exchange");
    let mut fields = vec![("grant_type", "access_token"), ("access_token", token.expose())];
    fields.extend(tenant.map(|tenant| ("tenant", tenant)));
    let host = registry.base.host_str().unwrap_or_default();
    let reply = registry.post(&url, Some(host), &[], &fields).await?;
    let what = "the exchange of an access token";
    let (host, status, headers) = (reply.host.clone(), reply.response.status(), reply.response.headers().clone());
    let body = document::read(reply, 1 << 20, &registry.site.pace, what).await?;
    let wrong = || failure::wrong(&host, what, "there is no refresh token in it");
    if !status.is_success() {
        return Err(failure::refusal(&host, what, status, &headers, &body).err().unwrap_or_else(wrong));
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| wrong())?;
    Ok((Credential::Identity(Secret::new(answer.refresh_token)), Instant::now() + LIFE))
}

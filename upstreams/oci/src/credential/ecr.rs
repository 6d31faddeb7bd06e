//! Amazon: `GetAuthorizationToken` of the ECR interface turns an access key into a password for twelve hours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue, Method, header};
use model::{Error, Result};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Credential, Password, sigv4};
use crate::registry::{Ask, Identity, Registry};
use crate::secret::Secret;
use crate::{clock, document, failure};

/// The call (Amazon ECR API Reference, "GetAuthorizationToken").
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// How its bodies are written.
const JSON: &str = "application/x-amz-json-1.1";
/// A password is asked for anew so long before its end.
const MARGIN: Duration = Duration::from_secs(300);
/// Longest time that one is kept.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// An access key, and where to use it.
#[derive(Debug)]
pub(super) struct Keys {
    /// Its id and where its secret is; else the environment has both.
    own: Option<(String, Password)>,
    api: Option<Url>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    authorization_data: Vec<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    authorization_token: String,
    expires_at: Option<f64>,
}

impl Keys {
    pub(super) fn open(user: Option<String>, password: Option<Password>, api: Option<String>) -> Result<Self> {
        let own = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => {
                return Err(Error::malformed(
                    "credentials of ecr: an access key's id as user and its secret, or neither",
                ));
            }
        };
        Ok(Self { own, api: api.map(|api| crate::site::place(&api, false)).transpose()? })
    }

    pub(super) async fn exchange(&self, registry: &Registry) -> Result<(Credential, Instant)> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (id, secret, session) = match &self.own {
            Some((id, secret)) => (id.clone(), secret.read().await?, None),
            None => {
                let both = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
                let (id, secret) = both.ok_or_else(|| {
                    Error::broken("credentials of ecr: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
                })?;
                (id, Secret::new(secret), variable("AWS_SESSION_TOKEN"))
            }
        };
        let region = region(&registry.name)?;
        let url = match &self.api {
            Some(api) => api.clone(),
            None => {
                let china = if registry.name.ends_with(".cn") { ".cn" } else { "" };
                let url = format!("https://api.ecr.{region}.amazonaws.com{china}/");
                url.parse().map_err(|_| Error::malformed(format!("{region:?} is no region")))?
            }
        };
        let ask = ask(&url, region, (&id, &secret, session.as_deref()))?;
        let reply = registry.call(&ask).await?;
        let what = "a password";
        let (host, status, headers) = (reply.host.clone(), reply.response.status(), reply.response.headers().clone());
        let body = document::read(reply, 1 << 20, &registry.site.pace, what).await?;
        let wrong = |how: &str| failure::wrong(&host, what, how);
        if status.is_client_error() && status.as_u16() != 429 {
            return Err(Error::denied(format!(
                "{host} refuses a password ({status}): is the access key right, and may it?"
            )));
        }
        if !status.is_success() {
            let refusal = failure::refusal(&host, what, status, &headers, &body).err();
            return Err(refusal.unwrap_or_else(|| wrong("it has none")));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| wrong("it is no authorization token"))?;
        let data = answer.authorization_data.into_iter().next().ok_or_else(|| wrong("it is no authorization token"))?;
        let text = BASE64_STANDARD.decode(&data.authorization_token).ok().and_then(|text| String::from_utf8(text).ok());
        let text = text.ok_or_else(|| wrong("the token is no base64"))?;
        let (user, password) = text.split_once(':').ok_or_else(|| wrong("the token has no colon"))?;
        let credential = Credential::Basic { user: user.into(), password: Secret::new(password) };
        Ok((credential, Instant::now() + life(data.expires_at, SystemTime::now())))
    }
}

/// How long a password is kept.
fn life(expires_at: Option<f64>, now: SystemTime) -> Duration {
    let end = expires_at.and_then(|end| Duration::try_from_secs_f64(end).ok());
    let left = end.and_then(|end| (UNIX_EPOCH + end).duration_since(now).ok()).unwrap_or_default();
    left.saturating_sub(MARGIN).clamp(Duration::from_secs(60), LONGEST)
}

fn ask(url: &Url, region: &str, (id, secret, session): (&str, &Secret, Option<&str>)) -> Result<Ask> {
    let date = clock::basic(SystemTime::now());
    let host = crate::watch::host(url);
    let mut signed = vec![("content-type", JSON), ("host", host.as_str()), ("x-amz-date", date.as_str())];
    signed.extend(session.map(|session| ("x-amz-security-token", session)));
    signed.push(("x-amz-target", TARGET));
    let request = sigv4::Request {
        method: "POST",
        path: url.path(),
        headers: &signed,
        body: b"{}",
        date: &date,
        region,
        service: "ecr",
    };
    let authorization = sigv4::sign(&request, id, secret);
    let wrong = |_| Error::malformed("the access key cannot be sent in a header");
    let mut ask = Ask::new(Method::POST, url.clone());
    for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::broken("a header has no name"))?;
        ask = ask.with(name, HeaderValue::from_str(value).map_err(wrong)?);
    }
    ask = ask.with(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    ask.body = Some(Secret::new("{}"));
    ask.identity = Identity::Fixed(Some(HeaderValue::from_str(&authorization).map_err(wrong)?));
    ask.follow = false;
    Ok(ask)
}

/// The region in `<account>.dkr.ecr.<region>.amazonaws.com`.
fn region(host: &str) -> Result<&str> {
    let parts: Vec<&str> = host.split('.').collect();
    match parts[..] {
        [_, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com", ..] => Ok(region),
        _ => Err(Error::malformed(format!(
            "{host} is no registry of Amazon: dialect ecr is for ACCOUNT.dkr.ecr.REGION.amazonaws.com"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_in_the_name() {
        assert_eq!(region("123456789012.dkr.ecr.eu-west-1.amazonaws.com").ok(), Some("eu-west-1"));
        assert_eq!(region("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn").ok(), Some("cn-north-1"));
        assert!(region("quay.io").is_err());
    }

    #[test]
    fn a_password_is_kept_until_shortly_before_its_end() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(life(Some(1000.0 + 3600.0), now), Duration::from_secs(3300));
        assert_eq!(life(Some(1e300), now), Duration::from_secs(60));
        assert_eq!(life(Some(900.0), now), Duration::from_secs(60));
        assert_eq!(life(Some(1e9), now), LONGEST);
        assert_eq!(life(None, now), Duration::from_secs(60));
    }
}

//! What an upstream's refusals and failures mean to the one who asked here.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use model::{Error, Meaning, Result};
use serde::Deserialize;

use crate::guard::Refused;

/// Longest time that a `Retry-After` makes us wait: Docker Hub's window is six hours, and an operator may lift a limit
/// before that.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// When an upstream limits us and does not say for how long.
const USUAL_WAIT: Duration = Duration::from_secs(30);

/// Error bodies of registries (distribution specification, "Error Codes").
#[derive(Deserialize)]
struct Body {
    errors: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    code: String,
    #[serde(default)]
    message: String,
}

/// The first error of a body, made fit for a message: its code and text.
fn told(body: &[u8]) -> Option<(String, String)> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let first = body.errors.into_iter().next()?;
    let plain = |text: &str| text.chars().filter(|found| !found.is_control()).take(200).collect::<String>();
    Some((plain(&first.code), plain(&first.message)))
}

/// How long the upstream wants to be left alone (RFC 9110, section 10.2.3), capped.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Duration::try_from_secs_f64(seconds).ok(),
        Ok(_) => None,
        Err(_) => httpdate::parse_http_date(text).ok().map(|at| at.duration_since(now).unwrap_or_default()),
    };
    wait.map(|wait| wait.min(LONGEST_WAIT))
}

/// An answer that is no success: `Ok(())` when it means that the thing is not there.
///
/// # Errors
/// `Denied`, `Busy` or `Upstream`, with a text that says who said what, and what to do.
pub(crate) fn refusal(host: &str, what: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<()> {
    let told = told(body);
    let code = told.as_ref().map(|(code, _)| code.as_str()).unwrap_or_default();
    let says = match &told {
        Some((code, message)) if message.is_empty() => format!("{}, {code}", status.as_u16()),
        Some((code, message)) => format!("{}, {code}: {message}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let unknown = matches!(code, "NAME_UNKNOWN" | "MANIFEST_UNKNOWN" | "BLOB_UNKNOWN" | "NOT_FOUND" | "NAME_INVALID");
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
        StatusCode::TOO_MANY_REQUESTS => Err(limited(host, headers)),
        _ if status.is_client_error() && unknown => Ok(()),
        _ if code == "TOOMANYREQUESTS" => Err(limited(host, headers)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::denied(format!(
            "{host} refuses {what} ({says}): it is not there, or the configured credentials may not read it"
        ))),
        _ if status.is_server_error() => {
            Err(Error::upstream(format!("{host} fails at {what} ({says}): try again later, or ask its operator")))
        }
        _ => Err(Error::upstream(format!("{host} does not give {what} ({says})"))),
    }
}

fn limited(host: &str, headers: &HeaderMap) -> Error {
    let wait = retry_after(headers, SystemTime::now()).unwrap_or(USUAL_WAIT).max(Duration::from_secs(1));
    Error::new(
        Meaning::Busy(wait),
        format!(
            "{host} limits how often this hub may ask: try again in {} s, or configure credentials with a higher limit",
            wait.as_secs()
        ),
    )
}

/// True where trying again would find the same certificate. The TLS library's own error is wrapped too often to be
/// reached by its type; its name is in the text.
pub(crate) fn is_untrusted(cause: &reqwest::Error) -> bool {
    let text = format!("{cause:?}");
    text.contains("InvalidCertificate") || text.contains("UnknownIssuer")
}

/// No answer at all.
pub(crate) fn unreachable(host: &str, cause: reqwest::Error) -> Error {
    let cause = cause.without_url();
    let mut source: Option<&dyn std::error::Error> = Some(&cause);
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Error::denied(refused.to_string());
        }
        source = error.source();
    }
    let text = match () {
        () if is_untrusted(&cause) => {
            format!("{host} shows a certificate that is not trusted: give its authority as `ca` of the upstream")
        }
        () if cause.is_timeout() => format!("{host} does not answer in time: is it up, and is a proxy needed?"),
        () if cause.is_connect() => format!("{host} cannot be reached: is it up, and is a proxy needed?"),
        () => format!("{host} broke the connection, or does not speak HTTP as it should"),
    };
    Error::upstream(text).because(cause)
}

/// An answer that should not be.
pub(crate) fn wrong(host: &str, what: &str, how: impl std::fmt::Display) -> Error {
    Error::upstream(format!("{host} gives a wrong answer for {what}: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> Option<Meaning> {
        let status = StatusCode::from_u16(status).expect("a status");
        refusal("h", "w", status, &HeaderMap::new(), body.as_bytes()).err().map(|error| error.meaning().clone())
    }

    #[test]
    fn refusals_mean_what_registries_mean_by_them() {
        assert_eq!(meaning(404, ""), None);
        assert_eq!(meaning(403, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#), None);
        assert_eq!(meaning(403, r#"{"errors":[{"code":"DENIED","message":"x"}]}"#), Some(Meaning::Denied));
        assert_eq!(meaning(401, "no json"), Some(Meaning::Denied));
        assert_eq!(meaning(429, ""), Some(Meaning::Busy(USUAL_WAIT)));
        assert_eq!(meaning(503, r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#), Some(Meaning::Busy(USUAL_WAIT)));
        assert_eq!(meaning(500, ""), Some(Meaning::Upstream));
        assert_eq!(meaning(400, ""), Some(Meaning::Upstream));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("7"), Some(7));
        assert_eq!(read(&httpdate::fmt_http_date(now + Duration::from_secs(90))), Some(90));
        assert_eq!(read(&httpdate::fmt_http_date(now - Duration::from_secs(90))), Some(0));
        assert_eq!(read("999999999999"), Some(3600));
        for wrong in ["", "soon", "-1", "inf", "nan"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

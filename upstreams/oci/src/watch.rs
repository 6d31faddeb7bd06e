//! What can be seen of the talk with upstreams: log lines of the target `upstream`, counters, rate limits.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;

use crate::fifo::Fifo;

/// Hosts that are counted by name; more than an operator would look at.
const HOSTS: usize = 1000;

/// A rate limit as an upstream last told it (`RateLimit-Limit` and `RateLimit-Remaining` of Docker Hub).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The host.
    pub host: String,
    /// Requests in a window.
    pub limit: u64,
    /// Requests that are left.
    pub remaining: u64,
    /// The window, where it was told.
    pub window: Option<Duration>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// An answer below 400.
    Good,
    /// 404 and 410.
    Absent,
    /// 401 and 403.
    Denied,
    /// 429.
    Limited,
    /// Another 4xx.
    Refused,
    /// 5xx.
    Failed,
    /// No answer.
    Unreachable,
}

impl Outcome {
    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Absent => "absent",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }

    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            0..400 => Self::Good,
            404 | 410 => Self::Absent,
            401 | 403 => Self::Denied,
            429 => Self::Limited,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Counts and remembers. The locks protect the two maps and are held for no longer than a look-up.
#[derive(Debug)]
pub(crate) struct Watch {
    requests: Mutex<Fifo<(String, Outcome), u64>>,
    limits: Mutex<Fifo<String, Limit>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { requests: Mutex::new(Fifo::new(HOSTS * 7)), limits: Mutex::new(Fifo::new(HOSTS)) }
    }

    /// Before a request is sent.
    pub(crate) fn asks(&self, method: &Method, url: &Url, headers: &HeaderMap) {
        tracing::debug!(target: "upstream", "> {method} {}", shown(url));
        tracing::trace!(target: "upstream", "> {}", Shown(headers));
    }

    /// After the head of its answer.
    pub(crate) fn answers(&self, url: &Url, status: StatusCode, headers: &HeaderMap) {
        let host = host(url);
        tracing::debug!(target: "upstream", "< {status} from {host}");
        tracing::trace!(target: "upstream", "< {}", Shown(headers));
        self.count(&host, Outcome::of(status));
        if let Some(limit) = limit(&host, headers) {
            self.limits.lock().unwrap_or_else(PoisonError::into_inner).insert(host, limit);
        }
    }

    /// When there is no answer.
    pub(crate) fn fails(&self, url: &Url, why: &str) {
        let host = host(url);
        tracing::debug!(target: "upstream", "< nothing from {host}: {why}");
        self.count(&host, Outcome::Unreachable);
    }

    fn count(&self, host: &str, outcome: Outcome) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), outcome);
        match requests.get_mut(&key) {
            Some(count) => *count += 1,
            None => requests.insert(key, 1),
        }
    }

    pub(crate) fn requests(&self) -> Vec<(String, Outcome, u64)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = requests.iter().map(|((host, outcome), n)| (host.clone(), *outcome, *n)).collect();
        all.sort();
        all
    }

    pub(crate) fn limits(&self) -> Vec<Limit> {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = limits.iter().map(|(_, limit)| limit.clone()).collect();
        all.sort_by(|a, b| a.host.cmp(&b.host));
        all
    }
}

/// A URL's host and, where it is not the scheme's own, port.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `RateLimit-Limit: 100;w=21600`, `RateLimit-Remaining: 76;w=21600`.
fn limit(host: &str, headers: &HeaderMap) -> Option<Limit> {
    let parts = |name: &str| {
        let mut parts = headers.get(name)?.to_str().ok()?.split(';').map(str::trim);
        let count = parts.next()?.parse::<u64>().ok()?;
        let window = parts.find_map(|part| part.strip_prefix("w="))?.parse().ok();
        Some((count, window.map(Duration::from_secs)))
    };
    let plain = |name: &str| Some((headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok()?, None));
    let read = |name: &str| parts(name).or_else(|| plain(name));
    let (limit, window) = read("ratelimit-limit")?;
    let (remaining, _) = read("ratelimit-remaining")?;
    Some(Limit { host: host.to_owned(), limit, remaining, window })
}

/// A URL without its secrets: signed URLs and token requests carry them in the query.
pub(crate) fn shown(url: &Url) -> String {
    const OPEN: [&str; 7] = ["scope", "service", "account", "client_id", "grant_type", "n", "last"];
    let mut shown = format!("{}://{}{}", url.scheme(), host(url), url.path());
    for (at, (key, value)) in url.query_pairs().enumerate() {
        let value = if OPEN.contains(&key.as_ref()) { value } else { "…".into() };
        let _ = write!(shown, "{}{key}={value}", if at == 0 { '?' } else { '&' });
    }
    shown
}

/// Headers without their secrets.
struct Shown<'a>(&'a HeaderMap);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SECRET: [&str; 8] =
            ["authorization", "cookie", "token", "secret", "signature", "credential", "password", "-key"];
        for (name, value) in self.0 {
            let name = name.as_str();
            let location = (name == "location" || name == "link").then(|| value.to_str().unwrap_or_default());
            match location {
                Some(location) => {
                    let path = location.split(['?', '#']).next().unwrap_or_default();
                    write!(f, "{name}: {path}{}; ", if path.len() < location.len() { "?…" } else { "" })?;
                }
                None if SECRET.iter().any(|secret| name.contains(secret)) => write!(f, "{name}: …; ")?,
                None => write!(f, "{name}: {value:?}; ")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let url = "https://me:pass@a.example:8443/t?scope=x&X-Amz-Signature=hidden1".parse().expect("a URL");
        assert_eq!(shown(&url), "https://a.example:8443/t?scope=x&X-Amz-Signature=…");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Basic hidden2"),
            ("set-cookie", "hidden3"),
            ("x-amz-security-token", "hidden4"),
            ("location", "/next?sig=hidden5"),
            ("content-length", "7"),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        let text = Shown(&headers).to_string();
        assert!(
            !text.contains("hidden") && text.contains("content-length: \"7\"") && text.contains("/next?…"),
            "{text}"
        );
    }

    #[test]
    fn limits_are_kept_as_they_were_told() {
        let watch = Watch::new();
        let url = "https://a.example/v2/".parse().expect("a URL");
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-limit", "100;w=21600".parse().expect("a value"));
        headers.insert("ratelimit-remaining", "76;w=21600".parse().expect("a value"));
        watch.answers(&url, StatusCode::OK, &headers);
        watch.answers(&url, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        watch.answers(&url, StatusCode::OK, &HeaderMap::new());
        let window = Some(Duration::from_secs(21600));
        assert_eq!(watch.limits(), [Limit { host: "a.example".into(), limit: 100, remaining: 76, window }]);
        let host = || "a.example".to_owned();
        assert_eq!(watch.requests(), [(host(), Outcome::Good, 2), (host(), Outcome::Limited, 1)]);
    }
}

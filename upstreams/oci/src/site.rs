//! An entry of the configuration, opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use image::Platform;
use model::{Error, Result};
use reqwest::{Certificate, Client, NoProxy, Proxy, Url};

use crate::credential::Source;
use crate::guard::Guard;
use crate::pace::Pace;
use crate::plan::Entry;

/// Names this program to upstreams, some of which refuse requests without it.
const AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// What registries of one entry have in common.
pub(crate) struct Site {
    /// Lower case; `*` at its beginning stands for anything.
    pub(crate) pattern: String,
    endpoint: Option<Url>,
    pub(crate) mirrors: Vec<Url>,
    pub(crate) plain_http: bool,
    pub(crate) private: bool,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) sources: Vec<Source>,
    pub(crate) pace: Pace,
    pub(crate) client: Client,
    /// Hosts of proxies.
    proxies: Vec<String>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.pattern)
    }
}

impl Site {
    pub(crate) fn open(entry: &Entry, sources: Vec<Source>, pace: Pace) -> Result<Self> {
        let pattern = entry.host.to_ascii_lowercase();
        let single = !pattern.starts_with('*');
        let tail = pattern.trim_start_matches('*');
        let right = pattern == "*" || pattern.starts_with("*.") && tail.len() > 1 || image::is_host(&pattern);
        if !right || tail.contains('*') {
            return Err(Error::malformed("a host is written like docker.io, localhost:5000, *.example.com or *"));
        }
        if !single && entry.endpoint.is_some() {
            return Err(Error::malformed("an endpoint belongs to a single host, not to a pattern"));
        }
        let (proxies, hosts) = proxies(entry)?;
        let url = |text: &String| place(text, entry.plain_http);
        Ok(Self {
            endpoint: entry.endpoint.as_ref().map(url).transpose()?,
            mirrors: entry.mirrors.iter().map(url).collect::<Result<_>>()?,
            plain_http: entry.plain_http,
            private: entry.private,
            platforms: entry.platforms.iter().map(|platform| platform.parse()).collect::<Result<_>>()?,
            sources,
            pace,
            client: client(entry, &pace, proxies, hosts.clone())?,
            proxies: hosts,
            pattern,
        })
    }

    /// True for a host that this entry is about.
    pub(crate) fn is_about(&self, host: &str) -> bool {
        match self.pattern.strip_prefix('*') {
            Some(tail) => host.to_ascii_lowercase().ends_with(tail),
            None => host.eq_ignore_ascii_case(&self.pattern),
        }
    }

    /// True for a URL at a proxy's own host, which the guard lets through for the proxy's sake.
    pub(crate) fn is_proxy(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        !self.private && self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(host))
    }

    /// Where a host's registry is.
    pub(crate) fn endpoint(&self, host: &str) -> Result<Url> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let scheme = if self.plain_http || is_loopback(host) { "http" } else { "https" };
        format!("{scheme}://{host}").parse().map_err(|_| Error::malformed(format!("{host:?} is no host")))
    }
}

/// True for hosts that are this machine by their spelling.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    let name = name.trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An endpoint as it is configured.
pub(crate) fn place(text: &str, plain_http: bool) -> Result<Url> {
    let wrong = |why: &str| Error::malformed(format!("{text:?} is no endpoint: {why}"));
    let url: Url = text.parse().map_err(|_| wrong("write https://HOST[:PORT][/PREFIX]"))?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => {}
        "http" if plain_http || is_loopback(host) => {}
        "http" => return Err(wrong("plain HTTP needs plain_http = true")),
        _ => return Err(wrong("write https://HOST[:PORT][/PREFIX]")),
    }
    let prefix = url.path().trim_matches('/');
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("credentials belong into [[upstream.credentials]], and a query nowhere"));
    }
    if !prefix.is_empty() && !image::is_repository(prefix) {
        return Err(wrong("its path is put before repositories, and must be written like one"));
    }
    Ok(url)
}

fn client(entry: &Entry, pace: &Pace, proxies: Vec<Proxy>, hosts: Vec<String>) -> Result<Client> {
    let build = |authorities: Authorities| {
        let mut builder = Client::builder()
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(pace.connect())
            .http2_adaptive_window(true)
            // Half a minute is what registries and balancers in front of them keep idle connections at least.
            .pool_idle_timeout(Duration::from_secs(25))
            .dns_resolver(Arc::new(Guard { private: entry.private, proxies: hosts.clone() }))
            .no_proxy();
        for proxy in &proxies {
            builder = builder.proxy(proxy.clone());
        }
        match authorities {
            Authorities::System => builder,
            Authorities::With(more) => builder.tls_certs_merge(more),
            Authorities::None => builder.tls_certs_only([]),
        }
        .build()
    };
    let no_client = |cause| {
        let text = "no TLS client can be made: are the system's certificate authorities installed (ca-certificates)?";
        Error::broken(text).because(cause)
    };
    let Some(file) = &entry.ca else {
        // A machine without authorities can speak plain HTTP all the same.
        let plain = entry.plain_http || is_loopback(&entry.host);
        return match build(Authorities::System) {
            Err(_) if plain => build(Authorities::None).map_err(no_client),
            built => built.map_err(no_client),
        };
    };
    let cannot = || format!("cannot read the certificate authorities in {}", file.display());
    let pem = std::fs::read(file).map_err(|cause| Error::io(cannot(), cause))?;
    let more = Certificate::from_pem_bundle(&pem).map_err(|cause| Error::malformed(cannot()).because(cause))?;
    if more.is_empty() {
        return Err(Error::malformed(format!("{}: there is no PEM certificate in it", file.display())));
    }
    build(Authorities::With(more)).map_err(no_client)
}

/// Whose certificates are trusted.
enum Authorities {
    System,
    With(Vec<Certificate>),
    None,
}

/// The proxies of an entry, and their hosts.
fn proxies(entry: &Entry) -> Result<(Vec<Proxy>, Vec<String>)> {
    let variable = |name: &str| {
        let found = std::env::var(name.to_lowercase()).or_else(|_| std::env::var(name));
        found.ok().filter(|value| !value.is_empty())
    };
    let (https, http) = match entry.proxy.as_deref() {
        Some("none") => (None, None),
        Some(proxy) => (Some(proxy.to_owned()), Some(proxy.to_owned())),
        None => {
            let all = variable("ALL_PROXY");
            // In upper case it could come from a request's header of a CGI program; nobody reads that one.
            let http = std::env::var("http_proxy").ok().filter(|value| !value.is_empty());
            (variable("HTTPS_PROXY").or_else(|| all.clone()), http.or(all))
        }
    };
    let no_proxy = || NoProxy::from_env();
    let (mut proxies, mut hosts) = (Vec::new(), Vec::new());
    let mut add = |text: Option<String>, make: fn(Url) -> reqwest::Result<Proxy>| -> Result<()> {
        let Some(text) = text else { return Ok(()) };
        // The text may hold a password: it is not repeated.
        let wrong = || Error::malformed("the proxy is not understood: write http://HOST:PORT");
        let whole = if text.contains("://") { text } else { format!("http://{text}") };
        let url: Url = whole.parse().map_err(|_| wrong())?;
        hosts.extend(url.host_str().map(ToOwned::to_owned));
        proxies.push(make(url).map_err(|_| wrong())?.no_proxy(no_proxy()));
        Ok(())
    };
    add(https, Proxy::https)?;
    add(http, Proxy::http)?;
    Ok((proxies, hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(host: &str, change: impl FnOnce(&mut Entry)) -> Result<Site> {
        let mut entry = Entry { host: host.into(), proxy: Some("none".into()), ..Entry::default() };
        change(&mut entry);
        Site::open(&entry, Vec::new(), Pace::default())
    }

    #[test]
    fn endpoints_are_where_people_expect_them() {
        let all = site("*", |_| {}).expect("a site");
        for (host, url) in [
            ("docker.io", "https://registry-1.docker.io/"),
            ("quay.io", "https://quay.io/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("127.0.0.1:1", "http://127.0.0.1:1/"),
            ("registry.example:8443", "https://registry.example:8443/"),
        ] {
            assert_eq!(all.endpoint(host).map(|url| url.to_string()).ok().as_deref(), Some(url));
        }
        let plain = site("a.example", |entry| entry.plain_http = true).expect("a site");
        assert_eq!(plain.endpoint("a.example").expect("a URL").scheme(), "http");
    }

    #[test]
    fn patterns_are_about_hosts() {
        let below = site("*.example.com", |_| {}).expect("a site");
        assert!(below.is_about("a.example.com") && below.is_about("A.B.example.COM"));
        assert!(!below.is_about("example.com") && !below.is_about("evilexample.com"));
        for wrong in ["", "*a", "*.", "a*b.c", "*.a*", "http://a.example", "a"] {
            assert!(site(wrong, |_| {}).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for endpoint in ["http://a.example", "a.example", "https://u:p@a.example", "https://a.example/A", "ftp://a"] {
            assert!(site("a.example", |entry| entry.endpoint = Some(endpoint.into())).is_err(), "{endpoint}");
        }
        assert!(site("*", |entry| entry.endpoint = Some("https://a.example".into())).is_err());
        assert!(site("a.example", |entry| entry.platforms = vec!["a/b/c/d".into()]).is_err());
        assert!(site("a.example", |entry| entry.ca = Some("/nowhere/ca.pem".into())).is_err());
    }
}

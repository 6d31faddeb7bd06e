//! One registry to talk to: sends requests, says who we are, follows redirects, tries again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::{Error, Result};
use rand::RngExt;
use reqwest::{Response, Url};
use tokio::time::{Instant, sleep, timeout};

use crate::challenge::challenges;
use crate::failure;
use crate::guard;
use crate::registries::Shared;
use crate::site::Site;
use crate::watch::host;

/// Redirects of one request: registry, balancer, object storage are three.
const HOPS: usize = 10;
/// Attempts at one request.
const ATTEMPTS: u32 = 4;
/// First pause between attempts; each next one is about twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest `Retry-After` that we sit out, instead of telling whoever waits for us.
const SHORT: Duration = Duration::from_secs(2);

/// A registry, and the repository of it that is meant.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(crate) site: Arc<Site>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: Url,
    /// The host as image names have it, and the repository there.
    pub(crate) name: String,
    pub(crate) path: String,
    /// The repository as the endpoint has it.
    pub(crate) repository: String,
    /// A mirror gets no credentials: they are the upstream's.
    pub(crate) mirror: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// The body of a POST.
    pub(crate) body: Option<crate::secret::Secret>,
    /// Follow redirects; else the redirect is the answer.
    pub(crate) follow: bool,
    /// Who we say that we are.
    pub(crate) identity: Identity,
}

/// Who a request is from.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Whatever the registry asks for, for pulling from the repository.
    Puller,
    /// This, or nobody.
    Fixed(Option<HeaderValue>),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// Who gave it.
    pub(crate) host: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

impl Ask {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        let mut headers = HeaderMap::new();
        // Anything else would break digests.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Self { method, url, headers, body: None, follow: true, identity: Identity::Puller }
    }

    pub(crate) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Registry {
    /// The mirrors of a host, and the host itself.
    pub(crate) fn all(site: &Arc<Site>, shared: &Arc<Shared>, host: &str, repository: &str) -> Result<Vec<Self>> {
        let one = |base: Url, mirror| {
            let prefix = base.path().trim_matches('/');
            let (name, path) = (host.to_owned(), repository.to_owned());
            let repository = if prefix.is_empty() { path.clone() } else { format!("{prefix}/{path}") };
            Self { site: site.clone(), shared: shared.clone(), base, name, path, repository, mirror }
        };
        let own = one(site.endpoint(host)?, false);
        Ok(site.mirrors.iter().map(|mirror| one(mirror.clone(), true)).chain([own]).collect())
    }

    /// `/v2/<repository>/<kind>/<reference>`.
    pub(crate) fn url(&self, kind: &str, reference: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{kind}/{reference}", self.repository));
        url
    }

    /// How people know it.
    pub(crate) fn host(&self) -> String {
        host(&self.base)
    }

    /// Asks until there is an answer that more asking would not change, or patience ends. Refusals are answers.
    ///
    /// # Errors
    /// See `failure::unreachable`; those of redirects and of tokens.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Reply> {
        let end = Instant::now() + self.site.pace.patience();
        let mut pause = PAUSE;
        for attempt in 1.. {
            let result = self.go(ask).await;
            let wait = match &result {
                Ok(reply) => match reply.response.status().as_u16() {
                    500 | 502 | 503 | 504 => {
                        failure::retry_after(reply.response.headers(), SystemTime::now()).unwrap_or(pause)
                    }
                    // Asking again too early makes it worse: only where we were told, and only once.
                    429 if attempt == 1 => {
                        let told = failure::retry_after(reply.response.headers(), SystemTime::now());
                        told.map_or(Duration::MAX, |told| told.max(PAUSE))
                    }
                    _ => return result.map_err(|failed| failed.error),
                },
                Err(failed) if failed.again => pause,
                Err(_) => Duration::MAX,
            };
            let wait = if wait == pause { pause.mul_f64(rand::rng().random_range(0.5..1.5)) } else { wait };
            if attempt == ATTEMPTS || wait > SHORT.max(pause) || Instant::now() + wait >= end {
                return result.map_err(|failed| failed.error);
            }
            drop(result);
            sleep(wait).await;
            pause *= 2;
        }
        Err(Error::broken("attempts are counted from one"))
    }

    /// The same for what [`Registry::send`] needs itself: tokens and passwords.
    pub(crate) fn call<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Reply>> {
        Box::pin(self.send(ask))
    }

    /// One attempt: with identity and redirects.
    async fn go(&self, ask: &Ask) -> std::result::Result<Reply, Failed> {
        let mut url = ask.url.clone();
        let mut seen = HashSet::new();
        let mut sent: Option<Option<HeaderValue>> = None;
        loop {
            guard::check(&url, self.site.private)?;
            // Credentials and what they buy go nowhere else.
            let own = url.origin() == ask.url.origin();
            let authorization = match &ask.identity {
                _ if !own => None,
                Identity::Fixed(value) => value.clone(),
                Identity::Puller => self.authorization().await?,
            };
            let response = self.step(ask, &url, authorization.clone()).await?;
            let status = response.status();
            let puller = matches!(ask.identity, Identity::Puller);
            if status == StatusCode::UNAUTHORIZED && own && puller && sent.is_none() {
                let found =
                    challenges(response.headers().get_all(header::WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes));
                self.challenged(&found, authorization.as_ref()).await?;
                let next = self.authorization().await?;
                // Saying the same again would get the same answer.
                if next.is_some() && next != authorization {
                    sent = Some(next);
                    continue;
                }
            }
            let moved = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !moved || !ask.follow {
                return Ok(Reply { response, host: host(&url) });
            }
            let next = self.next(&url, &response)?;
            seen.insert(url.to_string());
            if seen.len() > HOPS || seen.contains(next.as_str()) {
                let text = format!("{} redirects in a circle", self.host());
                return Err(Error::upstream(text).into());
            }
            url = next;
        }
    }

    /// Where a redirect leads.
    fn next(&self, from: &Url, response: &Response) -> Result<Url> {
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let wrong = |how| failure::wrong(&host(from), "a redirect", how);
        let mut next = from
            .join(location.ok_or_else(|| wrong("it says not whereto"))?)
            .map_err(|_| wrong("it leads to no URL"))?;
        if from.scheme() == "https" && next.scheme() != "https" && !self.site.plain_http {
            return Err(wrong("it leads from https to http; set plain_http = true for its upstream if that is meant"));
        }
        if self.site.is_proxy(&next) {
            return Err(Error::denied("an upstream redirects to the proxy itself"));
        }
        // Credentials in a URL would be sent along.
        let _ = next.set_username("").and_then(|()| next.set_password(None));
        next.set_fragment(None);
        Ok(next)
    }

    /// One request and the head of its answer.
    async fn step(
        &self,
        ask: &Ask,
        url: &Url,
        authorization: Option<HeaderValue>,
    ) -> std::result::Result<Response, Failed> {
        let mut headers = ask.headers.clone();
        if let Some(mut value) = authorization {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let watch = &self.shared.watch;
        watch.asks(&ask.method, url, &headers);
        let mut request = self.site.client.request(ask.method.clone(), url.clone()).headers(headers);
        if let Some(body) = ask.body.as_ref().filter(|_| url.origin() == ask.url.origin()) {
            request = request.body(body.expose().to_owned());
        }
        match timeout(self.site.pace.head(), request.send()).await {
            Ok(Ok(response)) => {
                watch.answers(url, response.status(), response.headers());
                Ok(response)
            }
            Ok(Err(cause)) => {
                watch.fails(url, if cause.is_timeout() { "it takes too long" } else { "the connection failed" });
                let trusted = !failure::is_untrusted(&cause);
                let error = failure::unreachable(&host(url), cause);
                // A certificate that is not trusted, or a network that is refused, is so a second later, too.
                let again = trusted && !matches!(error.meaning(), model::Meaning::Denied);
                Err(Failed { error, again })
            }
            Err(_) => {
                watch.fails(url, "it takes too long");
                let text = format!("{} does not answer in time: is it up, and is a proxy needed?", host(url));
                Err(Failed { error: Error::upstream(text), again: false })
            }
        }
    }
}

/// A failed attempt, and whether another one may end better.
#[derive(Debug)]
struct Failed {
    error: Error,
    again: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: false }
    }
}

//! Who we are to a registry: what it asked for, and the tokens that its token endpoint gave us (distribution's token
//! specification; Docker's OAuth2 form for identity tokens).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Method, StatusCode, header};
use model::{Error, Result};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::credential::Credential;
use crate::document;
use crate::failure;
use crate::fifo::Fifo;
use crate::kept::Kept;
use crate::registry::{Ask, Identity, Registry};
use crate::secret::Secret;
use crate::site::is_loopback;

/// Tokens and challenges that are remembered: one for each repository in use.
const MOST: usize = 10_000;
/// Largest answer of a token endpoint. Tokens of some registries have many kilobytes.
const LARGEST: u64 = 1 << 20;
/// How long a token lives that does not say (token specification, "expires_in").
const USUAL_LIFE: u64 = 60;

/// What a registry asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Purpose {
    origin: String,
    scheme: Scheme,
    scopes: Vec<String>,
    credential: Option<Credential>,
}

/// What is remembered between requests. The lock protects the three maps, for no longer than a look-up.
#[derive(Debug)]
pub(crate) struct Tokens(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// What a registry asked for, by its origin.
    schemes: Fifo<String, Scheme>,
    /// Scopes that a repository asked for beside the usual one.
    scopes: Fifo<(String, String), BTreeSet<String>>,
    slots: Fifo<Purpose, Arc<Kept<HeaderValue>>>,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let (schemes, scopes, slots) = (Fifo::new(MOST), Fifo::new(MOST), Fifo::new(MOST));
        Self(Mutex::new(Inner { schemes, scopes, slots }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place of a token.
    fn slot(&self, purpose: &Purpose) -> Arc<Kept<HeaderValue>> {
        self.with(|inner| match inner.slots.get(purpose) {
            Some(slot) => slot.clone(),
            None => {
                let slot = Arc::<Kept<HeaderValue>>::default();
                inner.slots.insert(purpose.clone(), slot.clone());
                slot
            }
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
    issued_at: Option<String>,
}

impl Registry {
    fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// What to say so that the registry lets us pull; nothing where it never asked.
    pub(crate) async fn authorization(&self) -> Result<Option<HeaderValue>> {
        let origin = self.origin();
        let tokens = &self.shared.tokens;
        let Some(scheme) = tokens.with(|inner| inner.schemes.get(&origin).cloned()) else { return Ok(None) };
        let credential = if self.mirror { None } else { self.credential().await? };
        match (&scheme, credential) {
            (Scheme::Basic, Some(Credential::Basic { user, password })) => basic(&user, &password).map(Some),
            (Scheme::Basic, Some(Credential::Identity(token))) => basic("<token>", &token).map(Some),
            (Scheme::Basic, None) => Ok(None),
            (_, Some(Credential::Bearer(token))) => bearer(token.expose()).map(Some),
            (Scheme::Bearer { realm, service }, credential) => {
                let purpose = self.purpose(&scheme, credential);
                let slot = tokens.slot(&purpose);
                slot.get(self.token(realm, service.as_deref(), &purpose)).await.map(Some)
            }
        }
    }

    fn purpose(&self, scheme: &Scheme, credential: Option<Credential>) -> Purpose {
        let origin = self.origin();
        let usual = format!("repository:{}:pull", self.repository);
        let mut scopes = vec![usual.clone()];
        let key = (origin.clone(), self.repository.clone());
        let more = self.shared.tokens.with(|inner| inner.scopes.get(&key).cloned().unwrap_or_default());
        scopes.extend(more.into_iter().filter(|scope| *scope != usual));
        Purpose { origin, scheme: scheme.clone(), scopes, credential }
    }

    /// Learns from a 401 what the registry wants, and forgets what it refused.
    pub(crate) async fn challenged(&self, found: &[Challenge], refused: Option<&HeaderValue>) -> Result<()> {
        let tokens = &self.shared.tokens;
        let origin = self.origin();
        let bearer = found.iter().find(|challenge| challenge.scheme == "bearer");
        let scheme = match bearer {
            Some(challenge) => {
                let service = challenge.get("service").filter(|service| !service.is_empty());
                let realm = self.realm(challenge.get("realm").unwrap_or_default())?;
                Scheme::Bearer { realm, service: service.map(ToOwned::to_owned) }
            }
            None if found.iter().any(|challenge| challenge.scheme == "basic") => Scheme::Basic,
            None => {
                let names: Vec<_> = found.iter().map(|challenge| challenge.scheme.as_str()).take(5).collect();
                let asks = if names.is_empty() { "without saying how".to_owned() } else { format!("by {names:?}") };
                return Err(Error::denied(format!(
                    "{} wants to know who asks, {asks}: this hub speaks Basic and Bearer",
                    self.host()
                )));
            }
        };
        if let (Some(refused), Scheme::Bearer { .. }) = (refused, &scheme) {
            // It refused what we have: perhaps it wants another scope. Asking for more at once would make some
            // endpoints refuse it all.
            if let Some(scope) = bearer.and_then(|challenge| challenge.get("scope")) {
                let scopes: BTreeSet<String> =
                    scope.split_whitespace().take(8).filter(|scope| scope.len() < 512).map(ToOwned::to_owned).collect();
                tokens.with(|inner| inner.scopes.insert((origin.clone(), self.repository.clone()), scopes));
            }
            let credential = if self.mirror { None } else { self.credential().await? };
            tokens.slot(&self.purpose(&scheme, credential)).forget(|token| token == refused);
        }
        if refused.is_some() {
            self.forget_credential();
        }
        tokens.with(|inner| inner.schemes.insert(origin, scheme));
        Ok(())
    }

    /// A token endpoint that may be asked: over https; or in plain HTTP by a registry that is spoken to so, on the same
    /// host. What an https registry says is as trustworthy as the registry, which could ask for the password itself.
    fn realm(&self, text: &str) -> Result<Url> {
        let short: String = text.chars().filter(|found| !found.is_control()).take(200).collect();
        let wrong = |how: &str| failure::wrong(&self.host(), "a log-in", format!("its realm {short:?} {how}"));
        let realm: Url = text.parse().map_err(|_| wrong("is no URL"))?;
        let (ours, theirs) = (self.base.host_str().unwrap_or_default(), realm.host_str().unwrap_or_default());
        let near = ours == theirs || is_loopback(ours) && is_loopback(theirs);
        let same = self.base.scheme() == "http" && near;
        match realm.scheme() {
            "https" => {}
            "http" if same => {}
            "http" => return Err(wrong("is plain HTTP, which anybody on the way could read")),
            _ => return Err(wrong("is no http URL")),
        }
        if !realm.username().is_empty() || realm.password().is_some() || self.site.is_proxy(&realm) {
            return Err(wrong("is not where tokens come from"));
        }
        crate::guard::check(&realm, self.site.private)?;
        Ok(realm)
    }

    async fn token(&self, realm: &Url, service: Option<&str>, purpose: &Purpose) -> Result<(HeaderValue, Instant)> {
        let asked = (Instant::now(), SystemTime::now());
        let reply = match &purpose.credential {
            Some(Credential::Identity(token)) => {
                let fields = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
                self.post(realm, service, &purpose.scopes, &fields).await?
            }
            credential => {
                let reply = self.get(realm, service, &purpose.scopes, credential.as_ref()).await?;
                match (reply.response.status(), credential) {
                    (
                        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED,
                        Some(Credential::Basic { user, password }),
                    ) => {
                        let fields = [("grant_type", "password"), ("username", user), ("password", password.expose())];
                        self.post(realm, service, &purpose.scopes, &fields).await?
                    }
                    _ => reply,
                }
            }
        };
        let (host, what) = (reply.host.clone(), format!("a token for {}", self.repository));
        let (status, headers) = (reply.response.status(), reply.response.headers().clone());
        let body = document::read(reply, LARGEST, &self.site.pace, &what).await?;
        if !status.is_success() {
            let absent = || Error::upstream(format!("{host} has no token endpoint at {}", crate::watch::shown(realm)));
            return Err(failure::refusal(&host, &what, status, &headers, &body).err().unwrap_or_else(absent));
        }
        let wrong = |how: &str| failure::wrong(&host, &what, how);
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| wrong("it is no JSON of a token"))?;
        let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
        if token.is_empty() {
            return Err(wrong("there is no token in it"));
        }
        let life = life(answer.expires_in, answer.issued_at.as_deref(), asked.1);
        Ok((bearer(&token).map_err(|_| wrong("the token cannot be sent"))?, asked.0 + life))
    }

    async fn get(
        &self,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        credential: Option<&Credential>,
    ) -> Result<crate::registry::Reply> {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            scopes.iter().for_each(|scope| {
                query.append_pair("scope", scope);
            });
        }
        let mut ask = Ask::new(Method::GET, url).with(header::ACCEPT, HeaderValue::from_static("application/json"));
        let who = match credential {
            Some(Credential::Basic { user, password }) => Some(basic(user, password)?),
            _ => None,
        };
        ask.identity = Identity::Fixed(who);
        self.call(&ask).await
    }

    pub(crate) async fn post(
        &self,
        url: &Url,
        service: Option<&str>,
        scopes: &[String],
        fields: &[(&str, &str)],
    ) -> Result<crate::registry::Reply> {
        // The form is written as a query is; this URL is never asked.
        let mut form: Url = url.clone();
        form.set_query(None);
        {
            let mut query = form.query_pairs_mut();
            query.extend_pairs(fields);
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            if !scopes.is_empty() {
                query.append_pair("scope", &scopes.join(" "));
            }
            query.append_pair("client_id", "entrepot");
        }
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut ask = Ask::new(Method::POST, url.clone()).with(header::CONTENT_TYPE, kind);
        ask.body = form.query().map(Secret::new);
        ask.identity = Identity::Fixed(None);
        // A redirected POST would carry the password along.
        ask.follow = false;
        self.call(&ask).await
    }
}

/// How long a token may be used: as long as it says, less a margin for clocks and for the time on the way.
fn life(expires_in: Option<f64>, issued_at: Option<&str>, now: SystemTime) -> Duration {
    let told = expires_in.filter(|seconds| seconds.is_finite() && *seconds >= 1.0);
    // A day is longer than any registry's; what says more is looked at again.
    let life = told.map_or(Duration::from_secs(USUAL_LIFE), |told| Duration::from_secs_f64(told.min(86_400.0)));
    // An endpoint may hand out a token that it made before.
    let age = issued_at.and_then(crate::clock::rfc3339).and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
    // One that is already over by our clock came from an endpoint whose clock is wrong.
    let life = if age < life { life - age } else { life };
    life - (life / 10).min(Duration::from_secs(30))
}

pub(crate) fn basic(user: &str, password: &Secret) -> Result<HeaderValue> {
    let text = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
    sensitive(format!("Basic {text}"))
}

fn bearer(token: &str) -> Result<HeaderValue> {
    sensitive(format!("Bearer {token}"))
}

fn sensitive(text: String) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| Error::malformed("a token or password cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

//! Who asks. Gives each request its [`Caller`]; the only place, beside the admin commands, that makes one.
//!
//! The first of these that is there decides: the request's `Authorization`, a certificate that TLS accepted, what a
//! configured proxy vouches for, and else the caller is anonymous. Wrong credentials are refused and never fall
//! through to the next.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use kernel::{Caller, Grant};

use crate::connection::Connection;
use crate::htpasswd::Htpasswd;
use crate::origin::{Proxies, Vouched};
use crate::refusal::Refusal;
use crate::server::Kernel;

const WRONG: Refusal = Refusal::Unauthenticated("these credentials are wrong, expired or revoked: log in again");

/// The holder of an SSH key that was proved.
pub(crate) fn key_holder(name: &str, grants: &Arc<[Grant]>) -> Caller {
    Caller::known(format!("key:{name}"), Arc::clone(grants))
}

/// Who may do what at a listener.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// What callers may do who say nothing about themselves.
    pub anonymous: Arc<[Grant]>,
    /// What the holder of an accepted client certificate may do.
    pub certificate: Arc<[Grant]>,
    /// Users with passwords, or none.
    pub users: Option<Arc<Htpasswd>>,
    /// What those users may do.
    pub user_grants: Arc<[Grant]>,
    /// Whether the hub's tokens are accepted, as `Bearer TOKEN` or as the password of any user name.
    pub tokens: bool,
    /// Proxies that speak for others.
    pub proxies: Proxies,
    /// Whether anybody may read health and metrics; else only callers on this machine and those who are known.
    pub observers: bool,
}

/// True for Basic credentials of nobody without a password: clients of container registries send them when they
/// have none.
fn is_nobody(credentials: &[u8]) -> bool {
    // ":" in base64.
    matches!(credentials.split_at_checked(6), Some((scheme, value))
        if scheme.eq_ignore_ascii_case(b"basic ") && value.trim_ascii() == b"Og==")
}

impl Access {
    /// Looks at the password file again if it changed. Blocks on the file system.
    pub(crate) fn refresh(&self) {
        if let Some(users) = &self.users {
            users.refresh();
        }
    }

    /// True where credentials could get somebody more rights.
    fn may_login(&self) -> bool {
        self.tokens || self.users.is_some()
    }

    pub(crate) async fn caller(
        &self,
        kernel: &dyn Kernel,
        connection: &Connection,
        headers: &HeaderMap,
        vouched: Option<Vouched>,
    ) -> Result<Caller, Refusal> {
        // Where nobody can log in, credentials mean nothing: clients send them along out of habit.
        let credentials = headers.get(header::AUTHORIZATION).filter(|_| self.may_login());
        if let Some(credentials) = credentials.filter(|credentials| !is_nobody(credentials.as_bytes())) {
            return self.prove(kernel, credentials.to_str().map_err(|_| WRONG)?).await;
        }
        let certified = |name: &str| Caller::known(format!("cert:{name}"), self.certificate.clone());
        Ok(match (&connection.certificate, vouched) {
            (Some(name), _) => certified(name),
            (None, Some(Vouched::Certificate(name))) => certified(&name),
            (None, Some(Vouched::User(name))) => self.user(&name),
            (None, None) => Caller::anonymous(self.anonymous.clone(), self.may_login()),
        })
    }

    fn user(&self, name: &str) -> Caller {
        Caller::known(format!("user:{name}"), self.user_grants.clone())
    }

    async fn prove(&self, kernel: &dyn Kernel, credentials: &str) -> Result<Caller, Refusal> {
        let (scheme, value) = credentials.split_once(' ').ok_or(WRONG)?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.token(kernel, value).await?.ok_or(WRONG);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Refusal::Unauthenticated("Authorization has to be Basic or Bearer"));
        }
        let pair = STANDARD.decode(value).ok().and_then(|pair| String::from_utf8(pair).ok()).ok_or(WRONG)?;
        let (name, password) = pair.split_once(':').ok_or(WRONG)?;
        // The same steps for every name, so that the time they take does not tell which names there are.
        let users = self.users.as_ref();
        if users.is_some_and(|users| users.remembers(name, password)) {
            return Ok(self.user(name));
        }
        // docker and curl can only send a name and a password, so a token may stand in for the password.
        if let Some(caller) = self.token(kernel, password).await? {
            return Ok(caller);
        }
        match users {
            Some(users) if users.check(name, password).await => Ok(self.user(name)),
            _ => Err(WRONG),
        }
    }

    async fn token(&self, kernel: &dyn Kernel, secret: &str) -> Result<Option<Caller>, Refusal> {
        if !self.tokens {
            return Ok(None);
        }
        kernel.token_caller(secret).await.map_err(|error| {
            tracing::error!(%error, "a token could not be checked");
            Refusal::Unavailable("tokens cannot be checked now: try again")
        })
    }
}

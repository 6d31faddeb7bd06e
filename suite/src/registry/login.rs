//! How a registry wants to know who asks.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Inner;
use super::wire::{Answer, Asked};

/// How a registry knows who asks.
#[derive(Clone, Debug, Default)]
pub enum Login {
    /// It does not ask.
    #[default]
    Nobody,
    /// User and password with each request.
    Basic(String, String),
    /// Tokens of its endpoint `/token`, for which it asks with this challenge.
    Bearer {
        /// The value of `WWW-Authenticate`; `{realm}` is replaced by the endpoint's URL.
        challenge: String,
        /// User and password that the endpoint wants; without them anybody gets a token.
        user: Option<(String, String)>,
        /// The identity token that buys tokens, too.
        identity: Option<String>,
        /// Seconds that a token says it lives.
        expires_in: Option<u64>,
        /// The key of the answer: `token` or `access_token`.
        key: &'static str,
        /// Only POST is answered.
        post_only: bool,
    },
}

impl Login {
    /// Tokens for anybody, as Docker Hub has them.
    #[must_use]
    pub fn anybody() -> Self {
        Self::Bearer {
            challenge: r#"Bearer realm="{realm}",service="registry.test""#.into(),
            user: None,
            identity: None,
            expires_in: Some(300),
            key: "token",
            post_only: false,
        }
    }

    /// Tokens for this user.
    #[must_use]
    pub fn user(user: &str, password: &str) -> Self {
        match Self::anybody() {
            Self::Bearer { challenge, identity, expires_in, key, post_only, .. } => {
                let user = Some((user.into(), password.into()));
                Self::Bearer { challenge, user, identity, expires_in, key, post_only }
            }
            other => other,
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// The refusal of somebody whom the registry does not know.
pub(super) fn refuses(inner: &Inner, asked: &Asked, realm: &str) -> Option<Answer> {
    let said = asked.header("authorization").unwrap_or_default();
    let challenge = match &inner.login {
        Login::Nobody => return None,
        Login::Basic(user, password) if said == basic(user, password) => return None,
        Login::Basic(..) => "Basic realm=\"Registry Realm\"".to_owned(),
        Login::Bearer { .. } if inner.tokens.iter().any(|token| said == format!("Bearer {token}")) => return None,
        Login::Bearer { challenge, .. } => challenge.replace("{realm}", realm),
    };
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Some(Answer::new(401, body.as_bytes().to_vec()).with("WWW-Authenticate", &challenge))
}

/// The token endpoint.
pub(super) fn token(inner: &mut Inner, asked: &Asked) -> Answer {
    let Login::Bearer { user, identity, expires_in, key, post_only, .. } = inner.login.clone() else {
        return Answer::new(404, Vec::new());
    };
    let field = |name: &str| asked.fields().into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let knows = match asked.method.as_str() {
        "GET" if post_only => return Answer::new(405, Vec::new()),
        "GET" => {
            let said = asked.header("authorization");
            user.is_none_or(|(user, password)| said == Some(basic(&user, &password).as_str()))
        }
        _ => match field("grant_type").as_deref() {
            Some("refresh_token") => identity.is_some() && field("refresh_token") == identity,
            Some("password") => user
                .is_none_or(|(user, password)| (field("username"), field("password")) == (Some(user), Some(password))),
            _ => false,
        },
    };
    if !knows {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#;
        return Answer::new(401, body.into());
    }
    inner.made += 1;
    let token = format!("token-{}", inner.made);
    inner.tokens.push(token.clone());
    let life = expires_in.map(|life| format!(r#","expires_in":{life}"#)).unwrap_or_default();
    Answer::new(200, format!(r#"{{"{key}":"{token}"{life}}}"#).into()).with("Content-Type", "application/json")
}

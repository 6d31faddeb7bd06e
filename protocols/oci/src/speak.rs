//! From what an error means to what registries call it. The only place that knows status codes and error codes
//! (distribution specification, "Error Codes").

use axum::body::Body;
use axum::response::Response;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{Digest, Error, Meaning};
use serde_json::{Value, json};
use server::{Asked, Origin, Refusal};

use crate::call::Call;

/// Where clients trade credentials for a token.
pub(crate) const TOKEN: &str = "/v2/token";
/// Most missing blobs that an answer lists.
const LISTED: usize = 20;
/// Most characters of a message.
const LONGEST: usize = 1000;

/// What a request is about: an error is named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Blob,
    Manifest,
    Upload,
    Name,
}

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Refused(Box<Inner>);

#[derive(Debug)]
struct Inner {
    error: Error,
    about: About,
    /// What a token would have to allow.
    scope: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    code: Option<(StatusCode, &'static str)>,
}

/// What a request is answered with.
pub(crate) type Answer<T = Response> = Result<T, Refused>;

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(Box::new(Inner { error, about: About::Name, scope: None, headers: Vec::new(), code: None }))
    }
}

impl Refused {
    /// What the error means.
    pub(crate) fn meaning(&self) -> &Meaning {
        self.0.error.meaning()
    }

    /// Says what the request was about.
    pub(crate) fn about(mut self, about: About) -> Self {
        self.0.about = about;
        self
    }

    /// Says what a token would have to allow.
    pub(crate) fn scope(mut self, scope: String) -> Self {
        self.0.scope.get_or_insert(scope);
        self
    }

    /// An answer that the meaning alone does not give.
    pub(crate) fn exactly(error: Error, status: StatusCode, code: &'static str) -> Self {
        let mut refused = Self::from(error);
        refused.0.code = Some((status, code));
        refused
    }

    /// With this header besides.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The answer.
    pub(crate) fn answer(self, call: Option<&Call>) -> Response {
        let Inner { error, about, scope, headers, code } = *self.0;
        match error.meaning() {
            Meaning::Broken => tracing::error!(%error, "an internal error was answered"),
            Meaning::Lost => tracing::warn!(%error, "damaged bytes were asked for"),
            Meaning::Upstream => tracing::warn!(%error, "an upstream's failure was answered"),
            _ => {}
        }
        let (status, code) = code.unwrap_or_else(|| codes(&error, about));
        let message: String = error.text().chars().take(LONGEST).collect();
        let mut response = respond(status, code, &message, detail(error.meaning()));
        response.headers_mut().extend(headers);
        if let (StatusCode::UNAUTHORIZED, Some(call)) = (status, call) {
            let known = call.caller.known;
            challenge(response.headers_mut(), &call.origin, scope.as_deref(), known);
        }
        if let Meaning::Busy(after) = error.meaning() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

/// The status and the code.
fn codes(error: &Error, about: About) -> (StatusCode, &'static str) {
    let invalid = match about {
        About::Blob => "DIGEST_INVALID",
        About::Manifest => "MANIFEST_INVALID",
        About::Upload => "BLOB_UPLOAD_INVALID",
        About::Name => "NAME_INVALID",
    };
    let unknown = match about {
        About::Blob => "BLOB_UNKNOWN",
        About::Manifest => "MANIFEST_UNKNOWN",
        About::Upload => "BLOB_UPLOAD_UNKNOWN",
        About::Name => "NAME_UNKNOWN",
    };
    match error.meaning() {
        // What is damaged is absent: pushing it again heals it.
        Meaning::Absent | Meaning::Lost => (StatusCode::NOT_FOUND, unknown),
        Meaning::Incomplete(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        Meaning::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        Meaning::Denied => (StatusCode::FORBIDDEN, "DENIED"),
        Meaning::Malformed => (StatusCode::BAD_REQUEST, invalid),
        Meaning::OutOfRange => (StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID"),
        Meaning::Unsupported => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
        Meaning::Mismatch => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        Meaning::Conflict => (StatusCode::CONFLICT, "DENIED"),
        Meaning::TooBig => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        Meaning::Full => (StatusCode::INSUFFICIENT_STORAGE, "DENIED"),
        // The one code that docker waits and tries again after.
        Meaning::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        Meaning::Upstream => (StatusCode::BAD_GATEWAY, "UNKNOWN"),
        Meaning::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
    }
}

fn detail(meaning: &Meaning) -> Option<Value> {
    let digest = |digest: &Digest| json!({ "digest": format!("sha256:{digest}") });
    match meaning {
        Meaning::Incomplete(missing) => Some(missing.iter().take(LISTED).map(digest).collect()),
        _ => None,
    }
}

fn respond(status: StatusCode, code: &str, message: &str, detail: Option<Value>) -> Response {
    let mut error = json!({ "code": code, "message": message });
    if let Some(detail) = detail {
        error["detail"] = detail;
    }
    let text = json!({ "errors": [error] }).to_string();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    version(response.headers_mut());
    response
}

/// What docker knows a registry of this API by.
pub(crate) fn version(headers: &mut HeaderMap) {
    headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
}

/// "Get a token there" (RFC 6750, and distribution's token authentication).
fn challenge(headers: &mut HeaderMap, origin: &Origin, scope: Option<&str>, known: bool) {
    let host = origin.host.as_deref().unwrap_or("localhost");
    // What the client sent as its host goes back to it alone, and not where it would end the quotes.
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(*c)).collect();
    let scheme = if origin.https { "https" } else { "http" };
    let mut text = format!("Bearer realm=\"{scheme}://{host}{TOKEN}\",service=\"{host}\"");
    if let Some(scope) = scope {
        text.push_str(&format!(",scope=\"{scope}\""));
        if known {
            text.push_str(",error=\"insufficient_scope\"");
        }
    }
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
}

/// A refusal before the request came here.
pub(crate) fn refused(refusal: &Refusal, asked: &Asked) -> Response {
    let code = match refusal {
        Refusal::Unauthenticated(_) => "UNAUTHORIZED",
        Refusal::Denied(_) => "DENIED",
        Refusal::Unavailable(_) => "TOOMANYREQUESTS",
        Refusal::Broken => "UNKNOWN",
    };
    // docker tries again after 429 and its code, and gives up after other statuses.
    let status = match refusal {
        Refusal::Unavailable(_) => StatusCode::TOO_MANY_REQUESTS,
        refusal => refusal.status(),
    };
    let mut response = respond(status, code, refusal.text(), None);
    if let Some(after) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    if status == StatusCode::UNAUTHORIZED {
        if asked.uri.path() == TOKEN {
            let basic = HeaderValue::from_static("Basic realm=\"entrepot\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
        } else {
            challenge(response.headers_mut(), &asked.origin, None, false);
        }
    }
    response
}

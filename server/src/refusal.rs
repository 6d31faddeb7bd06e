//! Refusals before a protocol is reached, in the form that the client understands: for gRPC an answer of headers only
//! (gRPC over HTTP/2, "Trailers-Only"), else what the owner of the path makes of it ([`crate::Protocol::refuse`]), or
//! an HTTP status with a line of text.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Why a request goes no further. The text is shown to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are wrong, or there are none and some are needed.
    Unauthenticated(&'static str),
    /// Known, or unknown without a way to become known, and not allowed.
    Denied(&'static str),
    /// Too much at once, or something that we need is out of order; worth trying again.
    Unavailable(&'static str),
    /// Our fault.
    Broken,
}

impl Refusal {
    /// The HTTP status that says so.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What to tell the client.
    #[must_use]
    pub fn text(&self) -> &'static str {
        match self {
            Self::Unauthenticated(text) | Self::Denied(text) | Self::Unavailable(text) => text,
            Self::Broken => "the server failed; its log says why",
        }
    }

    /// How long the client should wait before it tries again, if trying again may help. Whole seconds, as
    /// `Retry-After` has them (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Unavailable(_)).then_some(Duration::from_secs(1))
    }

    /// The answer for a gRPC client.
    pub(crate) fn to_grpc(&self) -> Response {
        let code = match self {
            Self::Unauthenticated(_) => 16,
            Self::Denied(_) => 7,
            Self::Unavailable(_) => 14,
            Self::Broken => 13,
        };
        grpc(code, self.text())
    }

    /// The answer in plain HTTP.
    pub(crate) fn to_plain(&self) -> Response {
        let mut response = plain(self.status(), self.text().to_owned());
        let headers = response.headers_mut();
        if matches!(self, Self::Unauthenticated(_)) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"entrepot\""));
        }
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

/// True for a request of a gRPC client.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A line of text.
pub(crate) fn plain(status: StatusCode, mut text: String) -> Response {
    text.push('\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A gRPC status without a message; the HTTP status stays 200.
pub(crate) fn grpc(code: u16, text: &str) -> Response {
    // grpc-message is percent-encoded outside of printable ASCII.
    let mut message = String::new();
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => drop(write!(message, "%{byte:02X}")),
        }
    }
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_clients_get_trailers_only() {
        let mut request = HeaderMap::new();
        request.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        assert!(is_grpc(&request) && !is_grpc(&HeaderMap::new()));
        let answer = Refusal::Unauthenticated("100 % wrong\n").to_grpc();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["grpc-status"], "16");
        assert_eq!(answer.headers()["grpc-message"], "100 %25 wrong%0A");
    }

    #[test]
    fn others_are_asked_for_a_password() {
        let answer = Refusal::Unauthenticated("who?").to_plain();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Basic realm=\"entrepot\"");
    }
}

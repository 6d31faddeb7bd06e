//! From what an error means to what HTTP calls it. libostree takes 404, 403 and 410 for "not there" and goes on; all
//! others end a pull, and 408 and 500 it tries again.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use model::{Error, Meaning};

/// The answer for an error.
pub(crate) fn refuse(error: &Error) -> Response {
    let status = match error.meaning() {
        // What is damaged, or is no object, is not there.
        Meaning::Absent | Meaning::Lost | Meaning::Incomplete(_) | Meaning::Malformed | Meaning::Mismatch => {
            StatusCode::NOT_FOUND
        }
        Meaning::Unauthenticated => StatusCode::UNAUTHORIZED,
        Meaning::Denied => StatusCode::FORBIDDEN,
        Meaning::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Meaning::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        Meaning::Conflict => StatusCode::CONFLICT,
        Meaning::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        Meaning::Full | Meaning::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        Meaning::Upstream => StatusCode::BAD_GATEWAY,
        Meaning::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match error.meaning() {
        Meaning::Broken => tracing::error!(%error, "an internal error was answered"),
        Meaning::Lost => tracing::warn!(%error, "damaged bytes were asked for"),
        _ => {}
    }
    let mut response = Response::new(Body::from(format!("{}\n", error.text())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // It may be there in a moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match error.meaning() {
        Meaning::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"entrepot\""));
        }
        Meaning::Busy(after) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        Meaning::Unsupported => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        _ => {}
    }
    response
}

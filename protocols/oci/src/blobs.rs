//! Blobs of a repository: the specification's end-2, end-9 and what clients do with them.

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use image::ContentDigest;
use model::{Error, Meaning, NameRow, When};
use server::Payload;

use crate::call::Call;
use crate::place::{self, Place};
use crate::range;
use crate::speak::{About, Answer, Refused, version};

fn digest_of(text: &str) -> Answer<ContentDigest> {
    text.parse().map_err(|error: Error| {
        let status = StatusCode::BAD_REQUEST;
        Refused::exactly(error, status, "DIGEST_INVALID").about(About::Blob)
    })
}

/// GET and HEAD.
pub(crate) async fn get(call: &Call, head: &Parts, name: &str, digest: &str) -> Answer {
    let digest = digest_of(digest)?;
    let about = |error: Error| Refused::from(error).about(About::Blob);
    let wanted = |repository: &str| image::blob(repository, &digest);
    let found = place::find(call, name, wanted, |place, name| async move { place.space.find(&name).await }).await;
    let row: NameRow = found.map_err(|error| {
        // Clients look whether a blob is there before they push it, and those that pull do not look. Whoever pushes
        // is not to be stopped by a default upstream that is away.
        let looks = head.method == Method::HEAD && !place::names_host(call, name);
        let away = looks && matches!(error.meaning(), Meaning::Upstream | Meaning::Busy(_));
        about(if away { Error::absent(format!("{name}@{digest} is not here")) } else { error })
    })?;
    let size = row.pointer.blob.size;
    if unchanged(&head.headers, &digest) {
        return Ok(described(Response::new(Body::empty()), &digest, None, StatusCode::NOT_MODIFIED));
    }
    if head.method == Method::HEAD {
        return Ok(described(Response::new(Body::empty()), &digest, Some(size), StatusCode::OK));
    }
    let beyond = |error: Error| {
        let total = HeaderValue::from_str(&format!("bytes */{size}")).unwrap_or(HeaderValue::from_static("bytes */*"));
        Refused::from(error).about(About::Blob).with(header::CONTENT_RANGE, total)
    };
    let span =
        if validator(&head.headers, &digest) { range::asked(&head.headers, size).map_err(beyond)? } else { None };
    let (offset, limit) = span.map_or((0, None), |span| (span.offset, Some(span.len)));
    let wanted = |repository: &str| image::blob(repository, &digest);
    let (_, body) =
        place::find(
            call,
            name,
            wanted,
            |place: Place, name| async move { place.space.open(&name, offset, limit).await },
        )
        .await
        .map_err(about)?;
    let len = limit.unwrap_or(size);
    let response = Response::new(Body::new(Payload::new(body, len)));
    let Some(span) = span else { return Ok(described(response, &digest, Some(size), StatusCode::OK)) };
    let mut response = described(response, &digest, Some(len), StatusCode::PARTIAL_CONTENT);
    if let Ok(value) = HeaderValue::from_str(&format!("bytes {}-{}/{size}", span.offset, span.end() - 1)) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// True when the client has it already.
pub(crate) fn unchanged(headers: &HeaderMap, digest: &ContentDigest) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|tag| is_tag_of(tag, digest) || tag.trim() == "*"))
}

/// True when a range is of what the client thinks it is.
fn validator(headers: &HeaderMap, digest: &ContentDigest) -> bool {
    let wanted = headers.get(header::IF_RANGE).and_then(|value| value.to_str().ok());
    wanted.is_none_or(|wanted| is_tag_of(wanted, digest))
}

fn is_tag_of(tag: &str, digest: &ContentDigest) -> bool {
    tag.trim().trim_start_matches("W/").trim_matches('"') == digest.to_string()
}

/// The headers of a blob.
fn described(mut response: Response, digest: &ContentDigest, size: Option<u64>, status: StatusCode) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    version(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A digest says what the bytes are for ever; whether the caller may have them is asked each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    if let Some(size) = size {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    identified(headers, digest);
    response
}

/// What a client checks bytes against.
pub(crate) fn identified(headers: &mut HeaderMap, digest: &ContentDigest) {
    if let (Ok(plain), Ok(tag)) =
        (HeaderValue::from_str(&digest.to_string()), HeaderValue::from_str(&format!("\"{digest}\"")))
    {
        headers.insert("docker-content-digest", plain);
        headers.insert(header::ETAG, tag);
    }
}

/// DELETE: the repository has it no more. What a manifest needs stays for the manifest.
pub(crate) async fn delete(call: &Call, name: &str, digest: &str) -> Answer {
    let digest = digest_of(digest)?;
    let about = |error: Error| Refused::from(error).about(About::Blob);
    let place = Place::own(call, name).map_err(about)?;
    place.space.unbind(&place.blob(&digest).map_err(about)?, When::Always).await.map_err(about)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    version(response.headers_mut());
    Ok(response)
}

//! Uploads in parts (end-5, end-6, end-13, end-14), and how bytes of a request get into an upload.

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use image::{Algorithm, ContentDigest};
use kernel::{Claim, Upload};
use model::{Error, Meaning, Result};

use crate::call::Call;
use crate::place::Place;
use crate::push::{created, writable};
use crate::range;
use crate::speak::{About, Answer, Refused, version};

/// The digest that a client announces.
pub(crate) fn digest_of(text: &str) -> Answer<ContentDigest> {
    text.parse().map_err(|error: Error| Refused::exactly(error, StatusCode::BAD_REQUEST, "DIGEST_INVALID"))
}

/// An upload belongs to its repository.
pub(crate) fn scoped(place: &Place, id: &str) -> String {
    format!("oci/{} {id}", place.repository)
}

/// What an upload is to be: checked by its digest, and the repository's from the same moment on.
pub(crate) fn claim(place: &Place, digest: &ContentDigest, size: Option<u64>) -> Result<Claim> {
    let sha512 = || {
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(digest.hex().as_bytes().chunks_exact(2)) {
            let nibble = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap_or(0)).unwrap_or(0);
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        bytes
    };
    Ok(Claim {
        size,
        digest: digest.sha256(),
        sha512: (digest.algorithm() == Algorithm::Sha512).then(sha512),
        name: Some(place.blob(digest)?),
        ..Claim::default()
    })
}

/// The announced length of a body.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes the body of a request into an upload.
pub(crate) async fn receive(upload: &mut Upload, body: Body) -> Result<()> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let cut =
            |cause| Error::new(Meaning::Malformed, "the body of the request broke off: send it again").because(cause);
        upload.append(chunk.map_err(cut)?).await?;
    }
    Ok(())
}

fn unknown(error: Error) -> Refused {
    Refused::from(error).about(About::Upload)
}

/// PATCH: one more part.
pub(crate) async fn patch(call: &Call, head: &Parts, name: &str, id: &str, body: Body) -> Answer {
    let place = writable(call, name).map_err(unknown)?;
    let range = range::sent(&head.headers).map_err(unknown)?;
    let mut upload = place.space.resume(&scoped(&place, id)).await.map_err(unknown)?;
    let offset = upload.offset();
    if let Err(refused) = fits(range, offset, &head.headers) {
        upload.pause().await.map_err(unknown)?;
        return Err(at(refused, name, id, offset));
    }
    let received = receive(&mut upload, body).await;
    let offset = upload.offset();
    // What came stays, also when the client broke off: it asks how much there is and goes on.
    upload.pause().await.map_err(unknown)?;
    received.map_err(|error| at(unknown(error), name, id, offset))?;
    accepted(name, id, offset)
}

/// Whether a part belongs at this offset.
fn fits(range: Option<(u64, u64)>, offset: u64, headers: &HeaderMap) -> Answer<()> {
    let Some((first, last)) = range else { return Ok(()) };
    let out_of_order = |text: String| {
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        Refused::exactly(Error::out_of_range(text), status, "BLOB_UPLOAD_INVALID").about(About::Upload)
    };
    if first != offset {
        return Err(out_of_order(format!("this part begins at {first} and {offset} bytes are here: go on from there")));
    }
    let announced = last.saturating_sub(first).saturating_add(1);
    match length(headers) {
        Some(length) if length != announced => {
            Err(out_of_order(format!("Content-Range says {announced} bytes and Content-Length {length}")))
        }
        _ => Ok(()),
    }
}

/// Where to go on.
fn at(refused: Refused, name: &str, id: &str, offset: u64) -> Refused {
    let mut refused = refused;
    if let Ok(value) = HeaderValue::from_str(&format!("0-{}", offset.saturating_sub(1))) {
        refused = refused.with(header::RANGE, value);
    }
    match HeaderValue::from_str(&format!("/v2/{name}/blobs/uploads/{id}")) {
        Ok(value) => refused.with(header::LOCATION, value),
        Err(_) => refused,
    }
}

/// PUT: the last part, if any, and what all of it is.
pub(crate) async fn put(call: &Call, head: &Parts, name: &str, id: &str, body: Body) -> Answer {
    let place = writable(call, name).map_err(unknown)?;
    let missing = || {
        let error = Error::malformed("the end of an upload says which digest it has: add ?digest=sha256:…");
        Refused::exactly(error, StatusCode::BAD_REQUEST, "DIGEST_INVALID")
    };
    let digest = digest_of(call.parameter("digest").ok_or_else(missing)?)?;
    let range = range::sent(&head.headers).map_err(unknown)?;
    let upload = place.space.resume(&scoped(&place, id)).await.map_err(unknown)?;
    let offset = upload.offset();
    if let Err(refused) = fits(range, offset, &head.headers) {
        upload.pause().await.map_err(unknown)?;
        return Err(at(refused, name, id, offset));
    }
    let size = length(&head.headers).map(|length| offset + length);
    let mut upload = upload.expect(claim(&place, &digest, size)?).map_err(unknown)?;
    if let Err(error) = receive(&mut upload, body).await {
        let offset = upload.offset();
        upload.pause().await.map_err(unknown)?;
        return Err(at(unknown(error), name, id, offset));
    }
    upload.commit().await.map_err(|error| Refused::from(error).about(About::Blob))?;
    created(name, &digest)
}

/// GET: how far it is.
pub(crate) async fn status(call: &Call, name: &str, id: &str) -> Answer {
    let place = writable(call, name).map_err(unknown)?;
    let offset = place.space.progress(&scoped(&place, id)).await.map_err(unknown)?;
    let offset = offset.ok_or_else(|| unknown(Error::absent("there is no such upload: begin again")))?;
    let mut response = accepted(name, id, offset)?;
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// DELETE: it is given up.
pub(crate) async fn cancel(call: &Call, name: &str, id: &str) -> Answer {
    let place = writable(call, name).map_err(unknown)?;
    let upload = place.space.resume(&scoped(&place, id)).await.map_err(unknown)?;
    upload.abandon().await.map_err(unknown)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    version(response.headers_mut());
    Ok(response)
}

/// "So much is here, go on there." The location is relative, so that it is right behind any proxy.
pub(crate) fn accepted(name: &str, id: &str, offset: u64) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    version(headers);
    let value = |text: String| HeaderValue::from_str(&text).map_err(|cause| Error::broken("a header").because(cause));
    headers.insert(header::LOCATION, value(format!("/v2/{name}/blobs/uploads/{id}"))?);
    // What is here, both ends included: nothing cannot be said, and is said as one byte, as everybody does.
    headers.insert(header::RANGE, value(format!("0-{}", offset.saturating_sub(1)))?);
    headers.insert("docker-upload-uuid", value(id.to_owned())?);
    Ok(response)
}

//! How a push of a blob begins: a mount, a whole blob, or an upload in parts (end-4a, end-4b, end-11).

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use image::ContentDigest;
use kernel::{Claim, Rights};
use model::{Blob, Error, KindId, Meaning, Name, Pointer, Result, Retention, When};

use crate::call::Call;
use crate::place::{self, Place};
use crate::speak::{About, Answer, Refused, version};
use crate::uploads;

/// POST blobs/uploads/.
pub(crate) async fn begin(call: &Call, head: &Parts, name: &str, body: Body) -> Answer {
    let about = |error: Error| Refused::from(error).about(About::Upload);
    let place = writable(call, name).map_err(about)?;
    if let Some(digest) = call.parameter("mount") {
        // A digest that cannot be mounted is told when it is uploaded.
        if let Ok(digest) = digest.parse::<ContentDigest>()
            && mount(call, &place, &digest).await.map_err(about)?
        {
            return created(name, &digest);
        }
    } else if let Some(digest) = call.parameter("digest") {
        let digest = uploads::digest_of(digest)?;
        let claim = uploads::claim(&place, &digest, uploads::length(&head.headers))?;
        let mut upload = place.space.upload(claim).await.map_err(about)?;
        uploads::receive(&mut upload, body).await.map_err(about)?;
        upload.commit().await.map_err(|error| Refused::from(error).about(About::Blob))?;
        return created(name, &digest);
    }
    let id = format!("{:032x}", rand::random::<u128>());
    let claim = Claim { resume: Some(uploads::scoped(&place, &id)), ..Claim::default() };
    let upload = place.space.upload(claim).await.map_err(about)?;
    upload.pause().await.map_err(about)?;
    uploads::accepted(name, &id, 0)
}

/// The repository of our own that is pushed to.
pub(crate) fn writable(call: &Call, name: &str) -> Result<Place> {
    let place = Place::own(call, name)?;
    place.may(Rights::WRITE)?;
    if place.is_copy() {
        return Err(Error::denied(format!(
            "{name} is a copy of what another registry has: push to that registry, or to a name here that begins with \
             no host"
        )));
    }
    if call.settings.read_only {
        return Err(Error::denied("nothing can be pushed at this address"));
    }
    Ok(place)
}

/// Takes a blob over from another repository, or from what the caller may read by its digest alone. False when it has
/// to be sent.
async fn mount(call: &Call, to: &Place, digest: &ContentDigest) -> Result<bool> {
    let found = match call.parameter("from") {
        Some(from) => {
            let wanted = |repository: &str| image::blob(repository, digest);
            let found = place::find(call, from, wanted, |place, name| async move {
                Ok(place.space.find(&name).await?.pointer.blob)
            });
            // Whatever is wrong there, the client can still send it.
            found.await.ok()
        }
        None => None,
    };
    let blob = match (found, digest.sha256()) {
        (Some(blob), _) => Some(blob),
        (None, Some(digest)) if to.space.may(Rights::DIGEST).is_ok() => {
            let size = to.space.has(&[digest]).await?.pop().flatten();
            size.map(|size| Blob { digest, size })
        }
        _ => None,
    };
    let Some(blob) = blob else { return Ok(false) };
    // Ours from now on, also where an upstream had brought it; what is only promised has to be sent.
    match to.space.keep(blob).await {
        Ok(()) => {}
        Err(error) if matches!(error.meaning(), Meaning::Incomplete(_)) => return Ok(false),
        Err(error) => return Err(error),
    }
    to.space.bind(vec![(to.blob(digest)?, weak(blob), When::Always)]).await?;
    Ok(true)
}

/// A weak pointer to plain bytes.
pub(crate) fn weak(blob: Blob) -> Pointer {
    Pointer { keep: Retention::Weak, ..Pointer::new(blob, KindId::BYTES) }
}

/// The mark that a repository is there.
pub(crate) fn mark(place: &Place) -> Result<(Name, Pointer, When)> {
    Ok((place.marker()?, weak(Blob::EMPTY), When::Always))
}

/// "The blob is there."
pub(crate) fn created(name: &str, digest: &ContentDigest) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    version(headers);
    let location = HeaderValue::from_str(&format!("/v2/{name}/blobs/{digest}"));
    headers.insert(header::LOCATION, location.map_err(|cause| Error::broken("a location").because(cause))?);
    if let Ok(digest) = HeaderValue::from_str(&digest.to_string()) {
        headers.insert("docker-content-digest", digest);
    }
    Ok(response)
}

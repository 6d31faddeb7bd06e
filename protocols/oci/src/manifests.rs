//! Manifests of a repository: the specification's end-3, end-7 and end-9.

mod needs;
mod put;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use image::{ContentDigest, Manifest, Target};
use kernel::Rights;
use model::{Error, Name, NameRow, Result, When};

use crate::blobs::{identified, unchanged};
use crate::call::Call;
use crate::place::{self, Place};
use crate::speak::{About, Answer, Refused, version};

pub(crate) use put::put;

/// Tags that one look takes.
const PAGE: usize = 1000;

fn about(error: Error) -> Refused {
    Refused::from(error).about(About::Manifest)
}

/// What a target is called in a repository.
pub(crate) fn name_of(repository: &str, target: &Target) -> Result<Name> {
    match target {
        Target::Tag(tag) => image::tag(repository, tag),
        Target::Digest(digest) => image::manifest(repository, digest),
    }
}

/// GET and HEAD. The bytes are those that were pushed, whatever the client accepts.
pub(crate) async fn get(call: &Call, head: &Parts, name: &str, target: &Target) -> Answer {
    let wanted = |repository: &str| name_of(repository, target);
    let digest_for = |row: &NameRow| match target {
        Target::Digest(digest) => digest.clone(),
        Target::Tag(_) => noted(row).1.unwrap_or_else(|| row.pointer.blob.digest.into()),
    };
    if head.method == Method::HEAD {
        let found = place::find(call, name, wanted, |place, name| async move { place.space.find(&name).await });
        let row = found.await.map_err(about)?;
        return Ok(described(Response::new(Body::empty()), &row, &digest_for(&row)));
    }
    let found = place::find(call, name, wanted, |place, name| async move { place.space.open_small(&name).await });
    let (row, bytes) = found.await.map_err(about)?;
    let digest = digest_for(&row);
    if unchanged(&head.headers, &digest) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        version(response.headers_mut());
        identified(response.headers_mut(), &digest);
        return Ok(response);
    }
    Ok(described(Response::new(Body::from(bytes)), &row, &digest))
}

/// What the note of a manifest's name says: its media type, and in a second line the digest that it was pushed by,
/// where that is not its SHA-256.
fn noted(row: &NameRow) -> (&[u8], Option<ContentDigest>) {
    let note = &row.pointer.note[..];
    match note.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&note[..end], str::from_utf8(&note[end + 1..]).ok().and_then(|digest| digest.parse().ok())),
        None => (note, None),
    }
}

/// The headers of a manifest, from which clients make its descriptor.
fn described(mut response: Response, row: &NameRow, digest: &ContentDigest) -> Response {
    let headers = response.headers_mut();
    version(headers);
    let written = HeaderValue::from_bytes(noted(row).0).ok().filter(|written| !written.is_empty());
    let known = if row.pointer.kind == image::MANIFEST { image::OCI_MANIFEST } else { image::OCI_INDEX };
    headers.insert(header::CONTENT_TYPE, written.unwrap_or(HeaderValue::from_static(known)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(row.pointer.blob.size));
    identified(headers, digest);
    response
}

/// DELETE: a tag alone, or by its digest a manifest with its tags.
pub(crate) async fn delete(call: &Call, name: &str, target: &Target) -> Answer {
    let place = Place::own(call, name).map_err(about)?;
    place.may(Rights::DELETE).map_err(about)?;
    let bound = name_of(&place.repository, target).map_err(about)?;
    if let Target::Digest(digest) = target {
        delete_manifest(&place, &bound, digest).await.map_err(about)?;
    } else {
        place.space.unbind(&bound, When::Always).await.map_err(about)?;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    version(response.headers_mut());
    Ok(response)
}

async fn delete_manifest(place: &Place, bound: &Name, digest: &ContentDigest) -> Result<()> {
    let (row, bytes) = place.space.open_small(bound).await?;
    let blob = row.pointer.blob;
    let mut names = Vec::new();
    if let Some(subject) = Manifest::read(&bytes, None).ok().and_then(|manifest| manifest.subject) {
        names.push(image::referrer(&place.repository, &subject.digest, &blob.digest.into())?);
    }
    let tags = image::tags(&place.repository);
    let mut after: Option<String> = None;
    loop {
        let page = place.space.list(&tags, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.as_str().to_owned());
        names.extend(page.into_iter().filter(|(_, row)| row.pointer.blob == blob).map(|(name, _)| name));
    }
    // Under its other digest, if it has one.
    names.push(image::manifest(&place.repository, &blob.digest.into())?);
    if digest.sha256().is_none() {
        names.push(bound.clone());
    }
    for name in names {
        match place.space.unbind(&name, When::Is(blob.digest)).await {
            // Somebody was quicker, or has moved a tag since.
            Err(error) if error.is_absent() || *error.meaning() == model::Meaning::Conflict => {}
            done => done?,
        }
    }
    Ok(())
}

//! What is about a manifest: signatures, bills of materials, attestations (end-12).

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use image::{ContentDigest, Manifest, OCI_INDEX};
use model::{Blob, Error, Pointer, Result};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::place::Place;
use crate::speak::{About, Answer, Refused, version};

/// Names of one look.
const PAGE: usize = 500;
/// Bytes of descriptors after which an answer ends and another page begins: clients need take no manifest of more
/// than 4 MiB.
const ROOM: usize = 3 << 20;

/// An entry of the list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Entry {
    fn of(manifest: &Manifest, blob: Blob) -> Self {
        Self {
            media_type: manifest.media_type.clone(),
            digest: format!("sha256:{}", blob.digest),
            size: blob.size,
            artifact_type: manifest.shown_type().map(ToOwned::to_owned),
            annotations: manifest.annotations.clone(),
        }
    }
}

/// The entry, as the name of the referrer keeps it; nothing where it is too long, and is made from the manifest.
pub(crate) fn note(manifest: &Manifest, blob: Blob) -> Bytes {
    let text = serde_json::to_vec(&Entry::of(manifest, blob)).unwrap_or_default();
    if text.len() > Pointer::NOTE_LIMIT { Bytes::new() } else { text.into() }
}

fn about(error: Error) -> Refused {
    Refused::from(error).about(About::Manifest)
}

/// GET referrers/DIGEST. A digest that nothing is about has an empty list.
pub(crate) async fn get(call: &Call, name: &str, digest: &str) -> Answer {
    let wrong = |error: Error| Refused::exactly(error, StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    let subject: ContentDigest = digest.parse().map_err(wrong)?;
    let place = Place::own(call, name).map_err(about)?;
    place.may(kernel::Rights::READ).map_err(about)?;
    elsewhere(call, &place, name, &subject).await.map_err(about)?;
    let prefix = image::referrers(&place.repository, &subject);
    let filter = call.parameter("artifactType");
    let mut after = call.parameter("last").map(|last| format!("{prefix}{last}"));
    let first = after.is_none();
    let (mut entries, mut bytes, mut next) = (Vec::new(), 0, None);
    'pages: loop {
        let names = place.space.list(&prefix, after.as_deref(), PAGE).await.map_err(about)?;
        let Some((last, _)) = names.last() else { break };
        after = Some(last.as_str().to_owned());
        for (name, row) in names {
            let entry = match serde_json::from_slice::<Entry>(&row.pointer.note) {
                Ok(entry) => entry,
                Err(_) => {
                    let (row, bytes) = place.space.open_small(&name).await.map_err(about)?;
                    Entry::of(&Manifest::read(&bytes, None).map_err(about)?, row.pointer.blob)
                }
            };
            bytes += serde_json::to_vec(&entry).map_or(0, |text| text.len());
            if bytes > ROOM && !entries.is_empty() {
                let reached: Option<&Entry> = entries.last();
                next = reached.map(|entry| entry.digest.clone());
                break 'pages;
            }
            entries.push(entry);
        }
    }
    if first {
        tagged(&place, &subject, &mut entries).await.map_err(about)?;
    }
    if let Some(filter) = filter {
        entries.retain(|entry| entry.artifact_type.as_deref() == Some(filter));
    }
    let text = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string();
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    version(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
    if filter.is_some() {
        headers.insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = next {
        let link = HeaderValue::from_str(&format!("</v2/{name}/referrers/{subject}?last={last}>; rel=\"next\""));
        headers.insert(header::LINK, link.map_err(|cause| Error::broken("a link").because(cause))?);
    }
    Ok(response)
}

/// Refuses for copies of upstreams' images: what is about them is known there. Clients look for the tag instead, which
/// is pulled through as any other ("Referrers Tag Schema").
async fn elsewhere(call: &Call, place: &Place, name: &str, subject: &ContentDigest) -> Result<()> {
    let mut copy = place.is_copy();
    if !copy && !place.is_ours().await? {
        for place in Place::copies(call, name)? {
            let known = place.space.find_all(&[image::manifest(&place.repository, subject)?]).await;
            copy |= known.is_ok_and(|known| known.iter().any(Option::is_some));
        }
    }
    if copy {
        let tag = subject.to_string().replace(':', "-");
        return Err(Error::absent(format!("{name} is a copy: what is about {subject} is found by the tag {tag}")));
    }
    Ok(())
}

/// What clients wrote down for registries without this list: an index under the tag `sha256-<hex>` ("Referrers Tag
/// Schema").
async fn tagged(place: &Place, subject: &ContentDigest, entries: &mut Vec<Entry>) -> Result<()> {
    let tag: String = format!("{}-{}", subject.algorithm().as_str(), subject.hex()).chars().take(128).collect();
    let bytes = match place.space.open_small(&image::tag(&place.repository, &tag)?).await {
        Ok((_, bytes)) => bytes,
        Err(error) if error.is_absent() => return Ok(()),
        Err(error) => return Err(error),
    };
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        manifests: Vec<Entry>,
    }
    // A signature of cosign lies under such a tag, too, and is no list.
    let Ok(list) = serde_json::from_slice::<List>(&bytes) else { return Ok(()) };
    for entry in list.manifests {
        if !entries.iter().any(|known| known.digest == entry.digest) {
            entries.push(entry);
        }
    }
    Ok(())
}

//! What a tag has pointed at, newest first. An extension: `GET /v2/<name>/_entrepot/history/<tag>`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use model::{Error, NameRow};
use serde_json::{Value, json};

use crate::call::Call;
use crate::place::Place;
use crate::speak::{About, Answer, Refused, version};

/// Names of one look.
const PAGE: usize = 500;
/// Entries of an answer, the newest.
const MOST: usize = 1000;

/// GET.
pub(crate) async fn get(call: &Call, name: &str, tag: &str) -> Answer {
    let about = |error: Error| Refused::from(error).about(About::Manifest);
    if !image::is_tag(tag) {
        return Err(about(Error::malformed("a tag has at most 128 letters, digits, _ . and -")));
    }
    let place = Place::own(call, name).map_err(about)?;
    let prefix = image::history_of(&place.repository, tag);
    let mut entries: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = place.space.list(&prefix, after.as_deref(), PAGE).await.map_err(about)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.as_str().to_owned());
        entries.extend(page.iter().map(|(_, row)| entry(row)));
        let over = entries.len().saturating_sub(MOST);
        entries.drain(..over);
    }
    if entries.is_empty() {
        return Err(about(Error::absent(format!("nothing is known of what {name}:{tag} has pointed at"))));
    }
    entries.reverse();
    let mut response = Response::new(Body::from(json!({ "name": name, "tag": tag, "history": entries }).to_string()));
    let headers = response.headers_mut();
    version(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn entry(row: &NameRow) -> Value {
    let digest = format!("sha256:{}", row.pointer.blob.digest);
    let by = String::from_utf8_lossy(&row.pointer.note).into_owned();
    // Seconds and microseconds of the epoch, as a number that reads the same everywhere.
    json!({ "digest": digest, "size": row.pointer.blob.size, "by": by, "pushed": row.bound.0 as f64 / 1e6 })
}

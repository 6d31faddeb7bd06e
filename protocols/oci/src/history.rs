//! What a tag has pointed at, newest first. An extension: `GET /v2/<name>/_entrepot/history/<tag>`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use model::Error;
use serde_json::{Value, json};

use crate::call::Call;
use crate::rollback::{Past, Tags};
use crate::speak::{About, Answer, Refused, version};
use crate::token::rfc3339;

/// GET.
pub(crate) async fn get(call: &Call, name: &str, tag: &str) -> Answer {
    let about = |error: Error| Refused::from(error).about(About::Manifest);
    let space = call.space().map_err(about)?;
    let entries = Tags::of(&space, name).map_err(about)?.history(tag).await.map_err(about)?;
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    let mut response = Response::new(Body::from(json!({ "name": name, "tag": tag, "history": entries }).to_string()));
    let headers = response.headers_mut();
    version(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn entry(past: &Past) -> Value {
    json!({ "digest": format!("sha256:{}", past.digest), "size": past.size, "by": past.by, "pushed": rfc3339(past.since) })
}

//! Lists of tags and of repositories, in byte order, by pages (end-8, and `_catalog` as docker has it).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use kernel::Namespace;
use model::{Error, Result};
use serde_json::json;

use crate::call::Call;
use crate::place::{self, Place};
use crate::speak::{Answer, Refused, version};

/// Entries of an answer that was not asked for fewer.
const MOST: usize = 10_000;
/// Names of one look.
const PAGE: usize = 1000;

/// How many are asked for, and after which.
fn asked(call: &Call) -> Answer<(usize, Option<String>)> {
    let wrong = || {
        let error = Error::malformed("n is a number of entries, 0 or more");
        Refused::exactly(error, StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID")
    };
    let count = match call.parameter("n") {
        None => MOST,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<usize>().map_or(MOST, |count| count.min(MOST))
        }
        Some(_) => return Err(wrong()),
    };
    Ok((count, call.parameter("last").map(ToOwned::to_owned)))
}

/// GET tags/list.
pub(crate) async fn tags(call: &Call, name: &str) -> Answer {
    let (count, last) = asked(call)?;
    let own = Place::own(call, name)?;
    let mut places = vec![own.clone()];
    if !own.is_ours().await? {
        places.extend(Place::copies(call, name)?);
    }
    for place in &places {
        let listed_there = there(place, count, last.as_deref()).await;
        if let Ok(Some((tags, more))) = listed_there {
            return answered(name, tags, count, more);
        }
        // What is here, where the upstream is away.
        let (tags, more) = page(place, count, last.as_deref()).await?;
        let known = !tags.is_empty() || place.is_ours().await? || known(&place.space, &place.repository).await?;
        if known {
            return answered(name, tags, count, more);
        }
        listed_there.map_err(|error| if own.is_copy() { error } else { place::judged(call, name, error) })?;
    }
    Err(Error::absent(format!("there is no repository {name}")).into())
}

fn answered(name: &str, tags: Vec<String>, count: usize, more: bool) -> Answer {
    let next = more.then(|| tags.last().cloned()).flatten();
    listed(json!({ "name": name, "tags": tags }), &format!("/v2/{name}/tags/list"), count, next)
}

/// Some tags of an upstream's repository, and whether there are more; `None` for what is no such repository.
async fn there(place: &Place, count: usize, last: Option<&str>) -> Result<Option<(Vec<String>, bool)>> {
    if !place.is_copy() {
        return Ok(None);
    }
    let prefix = image::tags(&place.repository);
    let after = last.map(|last| format!("{prefix}{last}"));
    let Some(names) = place.space.list_upstream(&prefix, after.as_deref(), count + 1).await? else { return Ok(None) };
    let tags = names.iter().filter_map(|name| name.as_str().strip_prefix(&prefix)).map(ToOwned::to_owned);
    Ok(Some((tags.take(count).collect(), names.len() > count)))
}

/// Whether anything of a repository is here.
async fn known(space: &Namespace, repository: &str) -> Result<bool> {
    Ok(!space.list(&image::tags(repository), None, 1).await?.is_empty())
}

/// Some tags, and whether there are more.
async fn page(place: &Place, count: usize, last: Option<&str>) -> Result<(Vec<String>, bool)> {
    let prefix = image::tags(&place.repository);
    let mut after = last.map(|last| format!("{prefix}{last}"));
    let mut tags = Vec::new();
    while tags.len() <= count {
        let wanted = (count + 1 - tags.len()).min(PAGE);
        let names = place.space.list(&prefix, after.as_deref(), wanted).await?;
        let Some((last, _)) = names.last() else { return Ok((tags, false)) };
        after = Some(last.as_str().to_owned());
        tags.extend(names.iter().filter_map(|(name, _)| name.as_str().strip_prefix(&prefix)).map(ToOwned::to_owned));
    }
    tags.truncate(count);
    Ok((tags, true))
}

/// GET /v2/_catalog: the repositories of our own that the caller may read.
pub(crate) async fn catalog(call: &Call) -> Answer {
    let (count, last) = asked(call)?;
    let space = call.space()?;
    let mut found: Vec<String> = Vec::new();
    let mut after = match &last {
        Some(last) => image::marker(last)?.as_str().to_owned(),
        None => image::prefix("", ""),
    };
    let mut ended = false;
    while found.len() <= count && !ended {
        // The marks of repositories come in the order of their names. What else a repository has is jumped over, so
        // that a thousand tags cost one look.
        let names = space.list(&image::prefix("", ""), Some(&after), 64).await?;
        ended = names.is_empty();
        for (name, _) in names {
            let Some((repository, mark, rest)) = image::split(name.as_str()) else { continue };
            if mark == '!' && rest.is_empty() {
                after = name.as_str().to_owned();
                found.push(repository.to_owned());
            } else {
                after = format!("{}\u{10ffff}", image::prefix(repository, &mark.to_string()));
                break;
            }
        }
    }
    let more = found.len() > count;
    found.truncate(count);
    let next = more.then(|| found.last().cloned()).flatten();
    listed(json!({ "repositories": found }), "/v2/_catalog", count, next)
}

fn listed(list: serde_json::Value, path: &str, count: usize, next: Option<String>) -> Answer {
    let mut response = Response::new(Body::from(list.to_string()));
    let headers = response.headers_mut();
    version(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(last) = next {
        // Relative, so that it is right behind any proxy. Names of repositories and tags need no encoding.
        let link = HeaderValue::from_str(&format!("<{path}?n={count}&last={last}>; rel=\"next\""));
        headers.insert(header::LINK, link.map_err(|cause| Error::broken("a link").because(cause))?);
    }
    Ok(response)
}

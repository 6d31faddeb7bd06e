//! The table of HTTP paths: who owns which prefix. A request goes to the owner of the longest prefix of its path
//! and to nobody else, so the table is what happens, not a description of it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use model::{Error, Result};
use tower::ServiceExt;

use crate::refusal;

/// Routes, and the prefixes that lead to them.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Who they belong to, for messages.
    pub owner: &'static str,
    /// Each begins with a slash and does not end with one; `/` alone is everything that nobody else owns.
    pub prefixes: Vec<String>,
    /// What answers.
    pub routes: Router,
}

/// Refuses a table in which one prefix lies within another.
///
/// # Errors
/// `Conflict`, naming both owners and prefixes; `Malformed` for what is no prefix.
pub fn check<'a>(table: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (owner, prefix) in table {
        if prefix != "/" && (!prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#', '{', ' ']))
        {
            return Err(Error::malformed(format!(
                "{prefix:?} of {owner} is no prefix: write it as /part or /part/part, without a slash at the end"
            )));
        }
        for (other_owner, other) in &seen {
            let root = (prefix == "/") != (*other == "/");
            if !root && (covers(prefix, other) || covers(other, prefix)) {
                return Err(Error::conflict(format!(
                    "{owner} and {other_owner} both want paths below {}: give one of {prefix} and {other} another \
                     prefix, or turn one of them off",
                    if prefix.len() > other.len() { prefix } else { other }
                )));
            }
        }
        seen.push((owner, prefix));
    }
    Ok(())
}

/// True when `path` is `prefix` or lies below it.
fn covers(prefix: &str, path: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The gRPC services among the prefixes: a service is a path of one part with a dot in it.
pub(crate) fn grpc_services(owned: &[Owned]) -> Vec<String> {
    let parts = owned.iter().flat_map(|owned| &owned.prefixes).filter_map(|prefix| prefix.strip_prefix('/'));
    parts.filter(|part| part.contains('.') && !part.contains('/')).map(ToOwned::to_owned).collect()
}

/// One router that sends each request to the owner of its path.
pub(crate) fn join(owned: Vec<Owned>) -> Result<Router> {
    check(owned.iter().flat_map(|owned| owned.prefixes.iter().map(|prefix| (owned.owner, prefix.as_str()))))?;
    let mut table: Vec<(String, Router)> = Vec::new();
    for owned in owned {
        table.extend(owned.prefixes.into_iter().map(|prefix| (prefix, owned.routes.clone())));
    }
    // "/" is the shortest, so it comes last.
    table.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    let table: Arc<[_]> = table.into();
    Ok(Router::new().fallback_service(tower::service_fn(move |request: Request<Body>| {
        let table = Arc::clone(&table);
        async move {
            let owner = table.iter().find(|(prefix, _)| covers(prefix, request.uri().path()));
            match owner {
                Some((_, routes)) => routes.clone().oneshot(request).await,
                None => Ok::<Response, Infallible>(nobody(&request)),
            }
        }
    })))
}

fn nobody(request: &Request<Body>) -> Response {
    let path = request.uri().path();
    if refusal::is_grpc(request.headers()) {
        // gRPC's code for a method that the server does not know is 12, UNIMPLEMENTED.
        refusal::grpc(12, &format!("there is no service at {path}"))
    } else {
        refusal::plain(StatusCode::NOT_FOUND, format!("there is nothing at {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_refused_with_both_names() {
        let error = check([("oci", "/v2"), ("ostree", "/v2/repo")]).expect_err("they overlap");
        assert!(error.text().contains("ostree and oci both want paths below /v2/repo"), "{error}");
        assert!(check([("a", "/x"), ("b", "/x")]).is_err());
        assert!(check([("oci", "/v2"), ("web", "/v2x"), ("all", "/")]).is_ok());
        assert!(check([("a", "/"), ("b", "/")]).is_err());
        assert!(check([("a", "x")]).is_err());
        assert!(check([("a", "/x/")]).is_err());
    }
}

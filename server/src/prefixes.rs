//! The table of HTTP paths: who owns which prefix. A request goes to the owner of the longest prefix of its path
//! and to nobody else, so the table is what happens, not a description of it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use model::{Error, Result};
use tower::ServiceExt;

use crate::protocol::{Asked, Protocol};
use crate::refusal::{self, Refusal};

/// Routes, and the prefixes that lead to them.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Who they belong to, for messages.
    pub owner: &'static str,
    /// Each begins with a slash and does not end with one; `/` alone is everything that nobody else owns.
    pub prefixes: Vec<String>,
    /// What answers.
    pub routes: Router,
    /// Who gives refusals for these paths their form; without one they are plain.
    pub protocol: Option<Arc<dyn Protocol>>,
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

/// The table: sends each request to the owner of its path. Clones are the same.
#[derive(Clone, Debug)]
pub struct Table(Arc<[(String, Owned)]>);

impl Table {
    /// The table of these.
    ///
    /// # Errors
    /// As [`check`].
    pub(crate) fn new(all: Vec<Owned>) -> Result<Self> {
        check(all.iter().flat_map(|owned| owned.prefixes.iter().map(|prefix| (owned.owner, prefix.as_str()))))?;
        let mut table: Vec<(String, Owned)> = Vec::new();
        for owned in all {
            table.extend(owned.prefixes.iter().map(|prefix| (prefix.clone(), owned.clone())));
        }
        // "/" is the shortest, so it comes last.
        table.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Self(table.into()))
    }

    fn owner(&self, path: &str) -> Option<&Owned> {
        self.0.iter().find(|(prefix, _)| covers(prefix, path)).map(|(_, owned)| owned)
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        match self.owner(request.uri().path()) {
            // Routers do not fail, they answer.
            Some(owned) => owned.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            None => nobody(&request),
        }
    }

    /// A refusal in the form of whoever owns the path.
    pub(crate) fn refuse(&self, refusal: &Refusal, asked: &Asked) -> Response {
        let protocol = self.owner(asked.uri.path()).and_then(|owned| owned.protocol.as_ref());
        protocol.and_then(|protocol| protocol.refuse(refusal, asked)).unwrap_or_else(|| refusal.to_plain())
    }
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

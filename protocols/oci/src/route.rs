//! Which request is meant by a method and a path.

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use image::Target;
use kernel::Rights;
use model::{Error, Meaning, Result};

use crate::call::{Call, decode};
use crate::place::{Place, names_host};
use crate::speak::{About, Answer, Refused, version};
use crate::{blobs, history, listing, manifests, push, referrers, token, uploads};

/// What a path below `/v2/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Path {
    Base,
    Token,
    Catalog,
    Manifest(String, String),
    Blob(String, String),
    Uploads(String),
    Upload(String, String),
    Tags(String),
    Referrers(String, String),
    History(String, String),
}

/// Takes a path apart. Repositories may have any of the words in their names, so the last one counts.
fn read(path: &str) -> Result<Option<Path>> {
    let path = decode(path, false)?;
    let Some(rest) = path.strip_prefix("/v2") else { return Ok(None) };
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let fixed = match rest {
        "" => Some(Path::Base),
        "token" => Some(Path::Token),
        "_catalog" => Some(Path::Catalog),
        _ => None,
    };
    if fixed.is_some() {
        return Ok(fixed);
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let name = |count: usize| parts[..parts.len() - count].join("/");
    let last = parts.last().copied().unwrap_or_default().to_owned();
    Ok(match parts[..] {
        [_, .., "blobs", "uploads", ""] => Some(Path::Uploads(name(3))),
        [_, .., "blobs", "uploads"] => Some(Path::Uploads(name(2))),
        [_, .., "blobs", "uploads", _] => Some(Path::Upload(name(3), last)),
        [_, .., "_entrepot", "history", _] => Some(Path::History(name(3), last)),
        [_, .., "tags", "list"] => Some(Path::Tags(name(2))),
        [_, .., "manifests", _] => Some(Path::Manifest(name(2), last)),
        [_, .., "blobs", _] => Some(Path::Blob(name(2), last)),
        [_, .., "referrers", _] => Some(Path::Referrers(name(2), last)),
        _ => None,
    })
}

/// Answers.
pub(crate) async fn answer(call: &Call, head: &Parts, body: Body) -> Answer {
    let nothing = || {
        let text = format!("there is nothing at {}", head.uri.path().chars().take(200).collect::<String>());
        Refused::exactly(Error::absent(text), StatusCode::NOT_FOUND, "NAME_UNKNOWN")
    };
    let path = read(head.uri.path())?.ok_or_else(nothing)?;
    let (method, reading) = (&head.method, matches!(head.method, Method::GET | Method::HEAD));
    let answered = match &path {
        Path::Base if reading => base(call),
        Path::Token => token::answer(call, head, body).await,
        Path::Catalog if reading => listing::catalog(call).await,
        Path::Tags(name) if reading => listing::tags(call, name).await,
        Path::Manifest(name, target) if reading => manifests::get(call, head, name, &of(target)?).await,
        Path::Manifest(name, target) if method == Method::PUT => {
            manifests::put(call, head, name, &of(target)?, body).await
        }
        Path::Manifest(name, target) if method == Method::DELETE => manifests::delete(call, name, &of(target)?).await,
        Path::Blob(name, digest) if reading => blobs::get(call, head, name, digest).await,
        Path::Blob(name, digest) if method == Method::DELETE => blobs::delete(call, name, digest).await,
        Path::Uploads(name) if method == Method::POST => push::begin(call, head, name, body).await,
        Path::Upload(name, id) if method == Method::PATCH => uploads::patch(call, head, name, id, body).await,
        Path::Upload(name, id) if method == Method::PUT => uploads::put(call, head, name, id, body).await,
        Path::Upload(name, id) if reading => uploads::status(call, name, id).await,
        Path::Upload(name, id) if method == Method::DELETE => uploads::cancel(call, name, id).await,
        Path::Referrers(name, digest) if reading => referrers::get(call, name, digest).await,
        Path::History(name, tag) if reading => history::get(call, name, tag).await,
        _ => {
            let text = format!("{method} is nothing that can be done here");
            Err(Refused::exactly(Error::unsupported(text), StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"))
        }
    };
    let answered = answered.map_err(|refused| if may_push(call, head, &path, &refused) { log_in() } else { refused });
    answered.map_err(|refused| refused.scope(scope(&path, method)))
}

/// True for an anonymous look whether something is there, which it is not, by somebody who might be about to push it.
/// containerd shows credentials only when it is asked for them, and its push hangs when that is at the manifest's PUT:
/// so it is asked at its first look. Who only pulls gets an anonymous token, and with it the plain answer.
fn may_push(call: &Call, head: &Parts, path: &Path, refused: &Refused) -> bool {
    let (Path::Manifest(name, _) | Path::Blob(name, _)) = path else { return false };
    let silent = !call.caller.known && call.caller.may_login && !head.headers.contains_key(header::AUTHORIZATION);
    let looks = head.method == Method::HEAD && !names_host(call, name) && !call.settings.read_only;
    let missing = matches!(refused.meaning(), Meaning::Absent | Meaning::Upstream | Meaning::Busy(_));
    silent && looks && missing && Place::own(call, name).is_ok_and(|place| place.may(Rights::WRITE).is_err())
}

fn log_in() -> Refused {
    Error::unauthenticated("this is not here; to push it, log in").into()
}

fn of(target: &str) -> Answer<Target> {
    target.parse().map_err(|error: Error| {
        let code = if target.contains(':') { "DIGEST_INVALID" } else { "MANIFEST_INVALID" };
        Refused::exactly(error, StatusCode::BAD_REQUEST, code).about(About::Manifest)
    })
}

/// What a token has to allow for this.
fn scope(path: &Path, method: &Method) -> String {
    let actions = match *method {
        Method::GET => "pull",
        Method::DELETE => "pull,delete",
        // Who only looks whether something is there is about to push it, and may keep the first token that it gets.
        _ => "pull,push",
    };
    match path {
        Path::Base | Path::Token => String::new(),
        Path::Catalog => "registry:catalog:*".into(),
        Path::Manifest(name, _)
        | Path::Blob(name, _)
        | Path::Uploads(name)
        | Path::Upload(name, _)
        | Path::Tags(name)
        | Path::Referrers(name, _)
        | Path::History(name, _) => {
            let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-._/:".contains(*c)).collect();
            format!("repository:{plain}:{actions}")
        }
    }
}

/// "Is this a registry, and may I?" A caller who could do more with credentials than without is asked for them here,
/// and only here: clients show credentials only to a registry that asked for them at this address.
fn base(call: &Call) -> Answer {
    if !call.caller.known {
        let space = call.space()?;
        space.may(Rights::READ)?;
        if call.caller.may_login && !call.settings.read_only {
            space.may(Rights::WRITE)?;
        }
    }
    let mut response = Response::new(Body::from("{}"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    version(response.headers_mut());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_path_counts() {
        let path = |text: &str| read(text).expect("a path");
        let pair = |name: &str, last: &str| (name.to_owned(), last.to_owned());
        let manifest = |name: &str, last: &str| {
            let (name, last) = pair(name, last);
            Some(Path::Manifest(name, last))
        };
        assert_eq!(path("/v2"), Some(Path::Base));
        assert_eq!(path("/v2/"), Some(Path::Base));
        assert_eq!(path("/v2/a/manifests/b/manifests/c"), manifest("a/manifests/b", "c"));
        assert_eq!(path("/v2/localhost%3A5000/a/manifests/c"), manifest("localhost:5000/a", "c"));
        assert_eq!(path("/v2/a/tags/list"), Some(Path::Tags("a".into())));
        assert_eq!(path("/v2/a/blobs/uploads/"), Some(Path::Uploads("a".into())));
        assert_eq!(path("/v2/a/blobs/uploads"), Some(Path::Uploads("a".into())));
        let (name, id) = pair("a/b", "x");
        assert_eq!(path("/v2/a/b/blobs/uploads/x"), Some(Path::Upload(name, id)));
        assert_eq!(path("/v2/manifests/a"), None);
        assert_eq!(path("/v2/a"), None);
        assert!(read("/v2/a%zz/tags/list").is_err());
    }
}

//! The repository over HTTP, path for path as `archive-z2` lies on a disk. Only what clients ask for is there:
//! `config`, `summary`, `refs/heads/…` and `objects/…`.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request};
use kernel::{Caller, Hub, Namespace, Rights};
use model::{Blob, Digest, Error, Result};
use sha2::{Digest as _, Sha256};

use crate::answer::{Asked, Found, Keep, Source};
use crate::object::{self, LARGEST, ObjectName, Sort};
use crate::render::{Filez, Renderer};
use crate::summary::Summaries;
use crate::{Repository, refs, speak};

/// What clients read before all else. The long form of the mode is the one that every version understands.
pub(crate) const CONFIG: &str = "[core]\nrepo_version=1\nmode=archive-z2\n";
const BINARY: &str = "application/octet-stream";

/// The repositories of a listener.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) hub: Hub,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) summaries: Summaries,
    pub(crate) renderer: Renderer,
}

impl Shelf {
    pub(crate) async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response {
        let (head, _) = request.into_parts();
        let Some(caller) = head.extensions.get::<Caller>() else {
            tracing::error!("a request without a caller reached the protocol");
            return speak::refuse(&Error::broken("nobody said who calls"));
        };
        let answer = async {
            if head.method != Method::GET && head.method != Method::HEAD {
                return Err(Error::unsupported("a repository is only read over HTTP: GET and HEAD"));
            }
            let (repository, path) = self.repository(head.uri.path())?;
            let namespace = self.hub.enter(caller, &repository.namespace)?;
            namespace.may(Rights::READ)?;
            let found = self.find(&namespace, repository, path, caller).await?;
            let asked = Asked { method: &head.method, headers: &head.headers, public: !caller.known };
            found.answer(&namespace, asked).await
        };
        answer.await.unwrap_or_else(|error| speak::refuse(&error))
    }

    /// The repository that a path leads to, and the rest of the path.
    fn repository<'a>(&self, path: &'a str) -> Result<(&Repository, &'a str)> {
        let below = |repository: &Repository| {
            let rest = path.strip_prefix(&repository.path)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
        };
        let found = self.repositories.iter().find_map(|repository| Some((repository, below(repository)?)));
        found.ok_or_else(|| absent(path))
    }

    async fn find(&self, namespace: &Namespace, repository: &Repository, path: &str, caller: &Caller) -> Result<Found> {
        let Repository { name: repo, namespace: space, .. } = repository;
        if path == "config" {
            return Ok(memory(Bytes::from_static(CONFIG.as_bytes()), "text/plain; charset=utf-8", Keep::Ask));
        }
        if path == "summary" {
            let summary = self.summaries.get(namespace, space, repo, caller).await?;
            let (source, tag) = (Source::Bytes(summary.bytes), Some(summary.digest));
            return Ok(Found { source, tag, keep: Keep::Ask, kind: BINARY });
        }
        if let Some(name) = path.strip_prefix("refs/heads/") {
            refs::check(name).map_err(|_| absent(path))?;
            let row = namespace.find(&refs::name(repo, name)?).await?;
            let line = format!("{}\n", row.pointer.blob.digest);
            return Ok(memory(line.into(), "text/plain; charset=utf-8", Keep::Ask));
        }
        let object = path.strip_prefix("objects/").ok_or_else(|| absent(path))?;
        // Two digits, a slash, and the rest.
        let flat = match object.split_at_checked(2) {
            Some((two, rest)) if rest.starts_with('/') && !rest[1..].contains('/') => format!("{two}{}", &rest[1..]),
            _ => return Err(absent(path)),
        };
        if let Some(commit) = flat.strip_suffix(".commitmeta") {
            let commit: Digest = commit.parse().map_err(|_| absent(path))?;
            let blob = namespace.find(&refs::meta_name(repo, &commit, "commitmeta")?).await?.pointer.blob;
            return Ok(Found {
                source: Source::Blob(blob.digest, blob.size),
                tag: Some(blob.digest),
                keep: Keep::Ask,
                kind: BINARY,
            });
        }
        let name: ObjectName = flat.parse().map_err(|_| absent(path))?;
        let found = self.object(namespace, space, name).await?;
        if name.sort == Sort::Commit {
            // Clients ask for objects, never for refs: who pulls a commit uses the refs that lead to it.
            for used in self.summaries.refs_of(space, repo, &name.digest) {
                drop(namespace.find(&refs::name(repo, &used)?).await);
            }
        }
        Ok(found)
    }

    async fn object(&self, namespace: &Namespace, space: &str, name: ObjectName) -> Result<Found> {
        let found = |source, tag| Found { source, tag, keep: Keep::Forever, kind: BINARY };
        if name.sort == Sort::File {
            return Ok(match self.renderer.render(namespace, space, name.digest).await? {
                Filez::Made(bytes, tag) => found(Source::Bytes(bytes), Some(tag)),
                Filez::Stored(blob) => found(Source::Blob(blob.digest, blob.size), Some(blob.digest)),
                Filez::Arriving(chunks) => found(Source::Arriving(chunks), None),
            });
        }
        // A blob of another protocol is no object because somebody calls it one.
        let size = namespace.has(&[name.digest]).await?.first().copied().flatten();
        let size = size.filter(|size| *size <= LARGEST).ok_or_else(|| Error::absent(format!("{name} is not here")))?;
        let bytes = namespace.read_small(&[Blob { digest: name.digest, size }]).await?.pop();
        let bytes = bytes.unwrap_or_else(|| Err(Error::absent("it is not here")))?;
        object::check(name.sort, &bytes)?;
        Ok(found(Source::Bytes(bytes), Some(name.digest)))
    }
}

fn memory(bytes: Bytes, kind: &'static str, keep: Keep) -> Found {
    Found { tag: Some(Digest::new(Sha256::digest(&bytes).into())), source: Source::Bytes(bytes), keep, kind }
}

fn absent(path: &str) -> Error {
    let path: String = path.chars().take(200).collect();
    Error::absent(format!("there is no {path:?} in this repository"))
}

//! An upstream of a test registry, and what tests ask of it.

use futures::StreamExt;
use model::{Blob, Body, Error, Found, Name, Resolved, Result, Upstream};
use suite::registry::Registry;
use upstream_oci::{Entry, Plan, Registries};

/// Times that are short, so that what hangs is noticed within a test.
pub(crate) const PACE: &str = "[pace]\nconnect_seconds = 2\nhead_seconds = 0.5\nread_seconds = 0.5\n\
     document_seconds = 2\npatience_seconds = 5\nrate = 1000\nrate_seconds = 0.6\n";

/// An entry for this registry, with these lines more.
pub(crate) fn plan(host: &str, more: &str) -> Plan {
    let text = format!("{PACE}[[upstream]]\nhost = \"{host}\"\nprivate = true\nproxy = \"none\"\n{more}\n");
    toml::from_str(&text).expect("a plan")
}

pub(crate) fn open(registry: &Registry) -> Registries {
    plan(&registry.host(), "").open().expect("upstreams")
}

/// With these credentials for all repositories.
pub(crate) fn open_as(registry: &Registry, user: &str, password: &str) -> (Registries, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{password}\n")).expect("written");
    let more = format!("[[upstream.credentials]]\nuser = \"{user}\"\npassword_file = \"{}\"", file.path().display());
    (plan(&registry.host(), &more).open().expect("upstreams"), file)
}

pub(crate) fn entry(host: &str) -> Entry {
    Entry { host: host.into(), private: true, proxy: Some("none".into()), ..Entry::default() }
}

/// A name below a registry: `app:latest`, `app@sha256:…`, `app!sha256:…`.
pub(crate) fn name(registry: &Registry, rest: &str) -> Name {
    Name::new(format!("oci/{}/{rest}", registry.host())).expect("a name")
}

pub(crate) fn blob(bytes: &[u8]) -> Blob {
    let digest = suite::registry::digest(bytes);
    let digest = digest.strip_prefix("sha256:").expect("a digest").parse().expect("a digest");
    Blob { digest, size: bytes.len() as u64 }
}

/// Bytes that look like nothing else.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

pub(crate) async fn resolve(upstream: &Registries, registry: &Registry, rest: &str) -> Result<Option<Resolved>> {
    match upstream.resolve(&name(registry, rest), None).await? {
        Some(Found::Points(resolved)) => Ok(Some(resolved)),
        Some(Found::Same) => panic!("nothing was known"),
        None => Ok(None),
    }
}

/// All bytes of a blob: an error, or as many as there should be.
pub(crate) async fn fetch(upstream: &Registries, registry: &Registry, rest: &str, blob: Blob) -> Result<Vec<u8>> {
    let found = upstream.fetch(&name(registry, rest), blob).await?;
    all(found.ok_or_else(|| Error::absent("not there"))?).await
}

pub(crate) async fn all(body: Body) -> Result<Vec<u8>> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.to_vec()),
        Body::Stream { size, mut chunks } => {
            let mut bytes = Vec::new();
            while let Some(piece) = chunks.next().await {
                bytes.extend(piece?);
            }
            assert_eq!(size, Some(bytes.len() as u64), "a clean end of a short stream");
            Ok(bytes)
        }
        Body::File { .. } => panic!("upstreams have no files"),
    }
}

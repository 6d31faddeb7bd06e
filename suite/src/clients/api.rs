//! A client of registries that trusts nobody: what it pulls it checks, byte by byte.

use std::path::Path;

use reqwest::{Body, Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};

use crate::layout::{Layout, hex};

/// A registry at an address, as one user.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    user: Option<(String, String)>,
    http: Client,
}

impl Api {
    /// The registry at an address such as `http://localhost:9090`, as somebody without a name.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { base: base.into(), user: None, http }
    }

    /// The same as this user.
    #[must_use]
    pub fn user(&self, name: &str, password: &str) -> Self {
        Self { user: Some((name.into(), password.into())), ..self.clone() }
    }

    /// A request below `/v2/`.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let address = if path.starts_with("/v2/") { path.to_owned() } else { format!("/v2/{path}") };
        let request = self.http.request(method, format!("{}{address}", self.base));
        match &self.user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
    }

    /// GET below `/v2/`: the status and the body.
    ///
    /// # Errors
    /// What the connection said.
    pub async fn get(&self, path: &str) -> reqwest::Result<(StatusCode, Vec<u8>)> {
        let answer = self.ask(Method::GET, path).send().await?;
        let status = answer.status();
        Ok((status, answer.bytes().await?.to_vec()))
    }

    /// Pushes a blob of a layout that is not there yet.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn push_blob(&self, repository: &str, layout: &Layout, descriptor: &Value) -> Result<(), String> {
        self.push_file(repository, text(descriptor, "digest"), &layout.file(descriptor)).await
    }

    /// Pushes a file.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn push_file(&self, repository: &str, digest: &str, file: &Path) -> Result<(), String> {
        let known = self.ask(Method::HEAD, &format!("{repository}/blobs/{digest}")).send().await;
        if known.map_err(said)?.status() == StatusCode::OK {
            return Ok(());
        }
        let begun = self.ask(Method::POST, &format!("{repository}/blobs/uploads/")).send().await.map_err(said)?;
        let place = begun.headers().get("location").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let place = place.ok_or_else(|| format!("no upload: {}", begun.status()))?;
        let file = tokio::fs::File::open(file).await.map_err(|error| error.to_string())?;
        let size = file.metadata().await.map_err(|error| error.to_string())?.len();
        let sign = if place.contains('?') { '&' } else { '?' };
        let put = self.ask(Method::PUT, &format!("{place}{sign}digest={digest}"));
        let sent = put.header("content-length", size).body(Body::from(file)).send().await.map_err(said)?;
        created(sent).await
    }

    /// Pushes a manifest, as it is.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        media: &str,
        bytes: Vec<u8>,
    ) -> Result<(), String> {
        let put = self.ask(Method::PUT, &format!("{repository}/manifests/{reference}"));
        created(put.header("content-type", media).body(bytes).send().await.map_err(said)?).await
    }

    /// Pushes all that a layout has under a tag, or with no tag, by its digest.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn push(&self, repository: &str, tag: Option<&str>, layout: &Layout) -> Result<(), String> {
        let root = layout.root();
        let mut order = vec![root.clone()];
        let mut at = 0;
        while at < order.len() {
            let bytes = std::fs::read(layout.file(&order[at])).map_err(|error| error.to_string())?;
            let document: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            order.extend(list(&document, "manifests").iter().cloned());
            for blob in list(&document, "layers").iter().chain(document.get("config")) {
                // What is distributed by others has no file here.
                if layout.file(blob).exists() {
                    self.push_blob(repository, layout, blob).await?;
                }
            }
            at += 1;
        }
        // What is listed goes before what lists it.
        for (index, manifest) in order.iter().enumerate().rev() {
            let bytes = std::fs::read(layout.file(manifest)).map_err(|error| error.to_string())?;
            let reference = tag.filter(|_| index == 0).unwrap_or_else(|| text(manifest, "digest"));
            self.push_manifest(repository, reference, text(manifest, "mediaType"), bytes).await?;
        }
        Ok(())
    }

    /// Pulls all that a tag or digest leads to and checks every digest and size; the digest of the first manifest.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub async fn pull(&self, repository: &str, reference: &str) -> Result<String, String> {
        let mut first = None;
        let mut order = vec![reference.to_owned()];
        while let Some(reference) = order.pop() {
            let (digest, bytes) = self.manifest(repository, &reference).await?;
            let document: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            order.extend(list(&document, "manifests").iter().map(|one| text(one, "digest").to_owned()));
            for blob in list(&document, "layers").iter().chain(document.get("config")) {
                if !foreign(blob) {
                    self.pull_blob(repository, blob).await?;
                }
            }
            first.get_or_insert(digest);
        }
        Ok(first.unwrap_or_default())
    }

    /// A manifest and its digest, which is checked.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<(String, Vec<u8>), String> {
        let path = format!("{repository}/manifests/{reference}");
        let answer = self.ask(Method::GET, &path).send().await.map_err(said)?;
        let status = answer.status();
        let named = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let named = named.unwrap_or_default().to_owned();
        let bytes = answer.bytes().await.map_err(said)?.to_vec();
        if status != StatusCode::OK {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&bytes)));
        }
        check(&named, &bytes)?;
        if reference.contains(':') && reference != named {
            return Err(format!("{path} answers with {named}"));
        }
        Ok((named, bytes))
    }

    async fn pull_blob(&self, repository: &str, blob: &Value) -> Result<(), String> {
        let path = format!("{repository}/blobs/{}", text(blob, "digest"));
        let mut answer = self.ask(Method::GET, &path).send().await.map_err(said)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{path}: {}", answer.status()));
        }
        let (mut short, mut long, mut size) = (Sha256::new(), Sha512::new(), 0);
        let is_short = text(blob, "digest").starts_with("sha256:");
        while let Some(piece) = answer.chunk().await.map_err(said)? {
            if is_short {
                short.update(&piece)
            } else {
                long.update(&piece)
            }
            size += piece.len() as u64;
        }
        let found = if is_short { hex(&short.finalize()) } else { hex(&long.finalize()) };
        if !text(blob, "digest").ends_with(&found) || blob["size"].as_u64() != Some(size) {
            return Err(format!("{path} has {size} bytes of {found}, not {blob}"));
        }
        Ok(())
    }
}

/// Bytes that somebody else distributes.
fn foreign(blob: &Value) -> bool {
    let media = text(blob, "mediaType");
    media.contains("nondistributable") || media.contains("foreign")
}

fn list<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn check(digest: &str, bytes: &[u8]) -> Result<(), String> {
    let found = match digest.split_once(':') {
        Some(("sha512", _)) => format!("sha512:{}", hex(&Sha512::digest(bytes))),
        _ => format!("sha256:{}", hex(&Sha256::digest(bytes))),
    };
    if found == digest { Ok(()) } else { Err(format!("called {digest}, and is {found}")) }
}

async fn created(answer: reqwest::Response) -> Result<(), String> {
    let (status, place) = (answer.status(), answer.url().path().to_owned());
    if status == StatusCode::CREATED {
        return Ok(());
    }
    Err(format!("{place}: {status} {}", answer.text().await.unwrap_or_default()))
}

fn said(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

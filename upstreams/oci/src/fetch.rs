//! The bytes of a blob, from the first to the last, also over connections that break.

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Method, StatusCode, header};
use image::{ContentDigest, Item, LIMIT, Target};
use model::{Blob, Body, Error, Meaning, Result};
use reqwest::Response;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::document;
use crate::failure;
use crate::pace::Meter;
use crate::registry::{Ask, Registry, Reply};

/// Continuations of one blob; a bad line breaks a few times in a large one.
const CONTINUATIONS: u32 = 20;
/// Continuations in a row that bring nothing.
const IDLE: u32 = 3;
/// Pause before a continuation.
const PAUSE: Duration = Duration::from_millis(200);

impl Registry {
    pub(crate) async fn fetch(&self, item: &Item, blob: Blob) -> Result<Option<Body>> {
        if blob == Blob::EMPTY {
            return Ok(Some(Body::Bytes(Bytes::new())));
        }
        let mut failed = None;
        for ask in self.places(item, blob) {
            let mut pull = Pull::new(self.clone(), ask, blob);
            match pull.open().await {
                Ok(true) => return Ok(Some(pull.body(blob.size))),
                Ok(false) => {}
                Err(error) if matches!(error.meaning(), Meaning::Busy(_)) => return Err(error),
                // Some refuse to look for a blob among manifests: it may be at the other place all the same.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Where a blob may be: what its name says; below a name that only links to it, a small one may be a manifest.
    fn places(&self, item: &Item, blob: Blob) -> Vec<Ask> {
        let digest = ContentDigest::from(blob.digest);
        let blobs = |digest: &ContentDigest| Ask::new(Method::GET, self.url("blobs", &digest.to_string()));
        let manifests = |digest: &ContentDigest| self.ask_manifest(Method::GET, &digest.to_string());
        match item {
            Item::Blob(named) => vec![blobs(named)],
            Item::Manifest(Target::Digest(named)) if *named == digest || named.sha256().is_none() => {
                vec![manifests(named), blobs(&digest)]
            }
            Item::Manifest(_) if blob.size <= LIMIT => vec![manifests(&digest), blobs(&digest)],
            Item::Manifest(_) => vec![blobs(&digest)],
        }
    }
}

/// A blob on its way.
struct Pull {
    registry: Registry,
    ask: Ask,
    blob: Blob,
    what: String,
    /// Bytes that were given on.
    at: u64,
    /// Bytes that come once more and are left out.
    skip: u64,
    from: Option<Response>,
    /// Who sends it.
    host: String,
    meter: Meter,
    continuations: u32,
    /// Where the last continuation began, and how many have begun there.
    idle: (u64, u32),
}

impl Pull {
    fn new(registry: Registry, ask: Ask, blob: Blob) -> Self {
        let what = format!("{}@sha256:{}", registry.path, blob.digest);
        let (host, meter) = (registry.host(), registry.site.pace.meter());
        Self { registry, ask, blob, what, at: 0, skip: 0, from: None, host, meter, continuations: 0, idle: (0, 0) }
    }

    fn body(self, size: u64) -> Body {
        let chunks = stream::try_unfold(self, async |mut pull| Ok(pull.next().await?.map(|piece| (piece, pull))));
        Body::Stream { size: Some(size), chunks: Box::pin(chunks) }
    }

    /// Asks for the bytes from where we are; false when the blob is not there.
    async fn open(&mut self) -> Result<bool> {
        let mut ask = self.ask.clone();
        if self.at > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", self.at));
            ask = ask.with(header::RANGE, range.map_err(|_| Error::broken("a range cannot be written"))?);
        }
        let reply = self.registry.send(&ask).await?;
        self.host = reply.host.clone();
        match reply.response.status() {
            StatusCode::OK => self.skip = self.at,
            StatusCode::PARTIAL_CONTENT if self.at > 0 && self.continues(&reply) => self.skip = 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(self.wrong("it sends another part than the one that was asked for"));
            }
            status if status.is_success() || status.is_redirection() => {
                return Err(self.wrong(&format!("it answers {status}")));
            }
            _ => {
                document::refusal(reply, &self.registry.site.pace, &self.what).await?;
                return Ok(false);
            }
        }
        let rest = self.blob.size - self.at + self.skip;
        if reply.response.content_length().is_some_and(|length| length != rest) {
            let length = reply.response.content_length().unwrap_or_default();
            return Err(self.wrong(&format!("it has {length} bytes to send, not {rest}")));
        }
        self.from = Some(reply.response);
        Ok(true)
    }

    /// `Content-Range: bytes 5-9/10` (or `/*`): the part from where we are to the end.
    fn continues(&self, reply: &Reply) -> bool {
        let read = || {
            let (range, total) = reply.header("content-range")?.trim().strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.trim().split_once('-')?;
            let total = match total.trim() {
                "*" => self.blob.size,
                total => total.parse().ok()?,
            };
            Some((first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?, total))
        };
        read() == Some((self.at, self.blob.size - 1, self.blob.size))
    }

    fn wrong(&self, how: &str) -> Error {
        failure::wrong(&self.host, &self.what, how)
    }

    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(body) = &mut self.from else {
                self.go_on().await?;
                continue;
            };
            let from = Instant::now();
            let piece = timeout(self.registry.site.pace.read(), body.chunk()).await;
            let broken = match piece {
                Ok(Ok(Some(mut piece))) => {
                    if !self.meter.came(from.elapsed(), piece.len()) {
                        return Err(Error::upstream(format!(
                            "{} sends {} too slowly: less than {} bytes in a second",
                            self.host, self.what, self.registry.site.pace.rate
                        )));
                    }
                    let known = self.skip.min(piece.len() as u64);
                    self.skip -= known;
                    let piece = piece.split_off(usize::try_from(known).unwrap_or(usize::MAX));
                    self.at += piece.len() as u64;
                    if self.at > self.blob.size {
                        return Err(self.wrong("it has more bytes than it should"));
                    }
                    if piece.is_empty() {
                        continue;
                    }
                    return Ok(Some(piece));
                }
                // Nothing is missing: how the connection ends does not matter.
                _ if self.at == self.blob.size => return Ok(None),
                Ok(Ok(None)) => self.wrong("it breaks off"),
                Ok(Err(cause)) => failure::unreachable(&self.host, cause),
                Err(_) => Error::upstream(format!("{} stops in the middle of {}", self.host, self.what)),
            };
            self.from = None;
            self.may_go_on(broken)?;
        }
    }

    /// Counts a broken connection; the error when there have been too many.
    fn may_go_on(&mut self, broken: Error) -> Result<()> {
        self.continuations += 1;
        self.idle = if self.idle.0 == self.at { (self.at, self.idle.1 + 1) } else { (self.at, 1) };
        if self.continuations > CONTINUATIONS || self.idle.1 > IDLE {
            return Err(broken);
        }
        tracing::debug!(target: "upstream", "{} at byte {}: {broken}; going on", self.what, self.at);
        Ok(())
    }

    async fn go_on(&mut self) -> Result<()> {
        sleep(PAUSE).await;
        if self.open().await? {
            return Ok(());
        }
        Err(self.wrong("it is gone in the middle"))
    }
}

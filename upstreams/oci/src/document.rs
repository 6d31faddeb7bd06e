//! Small bodies, read whole: bounded in size and time.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use model::{Error, Result};
use tokio::time::{Instant, timeout};

use crate::failure;
use crate::pace::Pace;
use crate::registry::{Ask, Registry, Reply};

/// Error bodies are looked at up to here.
const ERRORS: u64 = 64 << 10;

/// A small body, and what came with it.
#[derive(Debug)]
pub(crate) struct Document {
    /// Who sent it.
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Document {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Registry {
    /// Asks for a document; `None` when it is not there. One whose body breaks off is asked for once more.
    pub(crate) async fn document(&self, ask: &Ask, limit: u64, what: &str) -> Result<Option<Document>> {
        let pace = &self.site.pace;
        let mut first = true;
        loop {
            let reply = self.send(ask).await?;
            if !reply.response.status().is_success() {
                refusal(reply, pace, what).await?;
                return Ok(None);
            }
            let (host, headers) = (reply.host.clone(), reply.response.headers().clone());
            match read(reply, limit, pace, what).await {
                Ok(bytes) => return Ok(Some(Document { host, headers, bytes })),
                Err(error) if !std::mem::take(&mut first) => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Reads the body of an answer.
///
/// # Errors
/// `Upstream` when it is too long, too slow, or breaks off.
pub(crate) async fn read(reply: Reply, limit: u64, pace: &Pace, what: &str) -> Result<Bytes> {
    let Reply { mut response, host } = reply;
    let too_long = || failure::wrong(&host, what, format!("it has more than {limit} bytes"));
    let announced = response.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let slow = || Error::upstream(format!("{host} sends {what} too slowly"));
    let end = Instant::now() + pace.document();
    let mut body = BytesMut::new();
    loop {
        let left = end.saturating_duration_since(Instant::now()).min(pace.read());
        let piece = timeout(left, response.chunk()).await.map_err(|_| slow())?;
        let Some(piece) = piece.map_err(|cause| failure::unreachable(&host, cause))? else { break };
        if (body.len() + piece.len()) as u64 > limit {
            return Err(too_long());
        }
        body.extend_from_slice(&piece);
    }
    if announced.is_some_and(|length| length != body.len() as u64) {
        return Err(failure::wrong(&host, what, "it breaks off"));
    }
    Ok(body.freeze())
}

/// Turns an answer that is no success into what it means; `Ok` when it means that the thing is not there.
pub(crate) async fn refusal(reply: Reply, pace: &Pace, what: &str) -> Result<()> {
    let (host, status, headers) = (reply.host.clone(), reply.response.status(), reply.response.headers().clone());
    // Whether the text of the refusal can be read does not change it.
    let body = read(reply, ERRORS, pace, what).await.unwrap_or_default();
    failure::refusal(&host, what, status, &headers, &body)
}

/// Unpacks gzip, up to a bound.
pub(crate) fn gunzip(packed: &[u8], limit: u64) -> Option<Bytes> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(packed).take(limit + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 <= limit).then(|| plain.into())
}

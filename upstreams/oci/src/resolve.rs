//! What a name is at a registry.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use image::{Algorithm, ContentDigest, Entry, Form, Item, LIMIT, Manifest, Platform, Target};
use model::{Blob, Digest, Error, Found, KindId, Name, Pointer, Resolved, Result, Retention};
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};

use crate::document::{self, Document};
use crate::failure;
use crate::registry::{Ask, Registry, Reply};

/// The header that names a manifest's digest.
const DIGEST: &str = "docker-content-digest";
/// Longest media type that we serve again (RFC 6838, section 4.2: 127 characters for each half).
const LONGEST_TYPE: usize = 255;

/// What is looked at of an image's configuration.
#[derive(Deserialize)]
struct Machine {
    #[serde(flatten)]
    platform: Platform,
}

/// The digest of these bytes by this algorithm.
fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match algorithm {
        Algorithm::Sha256 => format!("sha256:{}", hex(&Sha256::digest(bytes))),
        Algorithm::Sha512 => format!("sha512:{}", hex(&Sha512::digest(bytes))),
    }
}

fn is(digest: &ContentDigest, bytes: &[u8]) -> bool {
    self::digest(digest.algorithm(), bytes) == digest.to_string()
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::new(Sha256::digest(bytes).into()), size: bytes.len() as u64 }
}

fn weak(blob: Blob, kind: KindId, note: Bytes) -> Pointer {
    Pointer { note, keep: Retention::Weak, ..Pointer::new(blob, kind) }
}

impl Registry {
    pub(crate) async fn resolve(&self, entry: &Entry, known: Option<&Pointer>) -> Result<Option<Found>> {
        match &entry.item {
            Item::Manifest(target) => {
                if let (Target::Tag(tag), Some(known)) = (target, known)
                    && self.is_still(tag, known).await?
                {
                    return Ok(Some(Found::Same));
                }
                self.manifest(entry, target).await
            }
            Item::Blob(digest) => self.blob(digest, known).await,
        }
    }

    /// Asks for a manifest.
    pub(crate) fn ask_manifest(&self, method: Method, reference: &str) -> Ask {
        // Last what else there is: artifacts of types that nobody listed.
        let accept = image::accepted().join(", ") + ", */*;q=0.1";
        let accept = HeaderValue::try_from(accept).unwrap_or_else(|_| HeaderValue::from_static("*/*"));
        Ask::new(method, self.url("manifests", reference)).with(header::ACCEPT, accept)
    }

    /// True when a HEAD shows that a tag has not moved. All that is unclear is false: a GET tells.
    async fn is_still(&self, tag: &str, known: &Pointer) -> Result<bool> {
        let reply = self.send(&self.ask_manifest(Method::HEAD, tag)).await?;
        let status = reply.response.status();
        if status.is_success() {
            let digest = reply.header(DIGEST).and_then(|text| text.trim().parse::<ContentDigest>().ok());
            return Ok(digest.and_then(|digest| digest.sha256()) == Some(known.blob.digest));
        }
        // What is too busy or broken for a HEAD is not asked for more.
        if status.as_u16() == 429 || status.is_server_error() && status.as_u16() != 501 {
            document::refusal(reply, &self.site.pace, &format!("{}:{tag}", self.path)).await?;
        }
        Ok(false)
    }

    async fn manifest(&self, entry: &Entry, target: &Target) -> Result<Option<Found>> {
        let separator = if matches!(target, Target::Tag(_)) { ':' } else { '@' };
        let what = format!("{}{separator}{target}", self.path);
        let ask = self.ask_manifest(Method::GET, &target.to_string());
        let Some(document) = self.document(&ask, LIMIT, &what).await? else { return Ok(None) };
        let host = &document.host;
        let wrong = |how: &str| failure::wrong(host, &what, how);
        let media_type = document.header("content-type");
        let told = document.header(DIGEST).and_then(|text| text.trim().parse::<ContentDigest>().ok());
        let packed = is_packed(&document);
        let wanted = match target {
            Target::Digest(digest) => Some(digest.clone()),
            Target::Tag(_) => told.clone(),
        };
        let mut bytes = document.bytes.clone();
        // Some pack although we ask for what it is; what was not meant to be unpacked has the right digest as it is.
        if packed && !wanted.as_ref().is_some_and(|wanted| is(wanted, &bytes)) {
            let plain =
                document::gunzip(&bytes, LIMIT).ok_or_else(|| wrong("it is encoded in a way that nobody asked for"))?;
            if !wanted.as_ref().is_some_and(|wanted| is(wanted, &plain)) {
                return Err(wrong("it is packed although we ask for plain bytes, and nothing proves what is inside"));
            }
            bytes = plain;
        }
        if let Target::Digest(digest) = target
            && !is(digest, &bytes)
        {
            return Err(wrong("the bytes have another digest"));
        }
        if told.is_some_and(|told| !is(&told, &bytes)) {
            return Err(wrong("the bytes are not those of the digest that it names"));
        }
        let manifest = self.read(&bytes, media_type, &what, host)?;
        self.filter(&manifest, &what).await?;
        Ok(Some(Found::Points(resolved(entry, target, &manifest, bytes)?)))
    }

    fn read(&self, bytes: &Bytes, media_type: Option<&str>, what: &str, host: &str) -> Result<Manifest> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            schema_version: Option<i64>,
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let version = serde_json::from_slice::<Version>(bytes).ok();
        let first = version.is_some_and(|found| found.schema_version == Some(1) && found.fs_layers.is_some());
        if first
            || media_type.is_some_and(|found| found.starts_with("application/vnd.docker.distribution.manifest.v1+"))
        {
            return Err(Error::unsupported(format!(
                "{host} has {what} in Docker's schema 1 only, which nothing here reads: its owner has to push it again"
            )));
        }
        let wrong = |how: String| failure::wrong(host, what, how);
        let manifest = Manifest::read(bytes, media_type).map_err(|cause| wrong(cause.text().to_owned()))?;
        let sendable = manifest.media_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if manifest.media_type.len() > LONGEST_TYPE || !sendable {
            return Err(wrong("its media type is none".into()));
        }
        Ok(manifest)
    }

    /// Refuses images for machines that are not wanted. Indexes stay, and so does what is for no machine, such as
    /// attestations.
    async fn filter(&self, manifest: &Manifest, what: &str) -> Result<()> {
        let wanted = &self.site.platforms;
        let Some(config) = manifest.config.as_ref().filter(|_| manifest.form == Form::Image && !wanted.is_empty())
        else {
            return Ok(());
        };
        let of_images = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
        if !of_images.contains(&config.media_type.as_str()) || config.size > LIMIT {
            return Ok(());
        }
        let Some(bytes) = self.small(&config.digest).await? else { return Ok(()) };
        let Ok(Machine { platform }) = serde_json::from_slice(&bytes) else { return Ok(()) };
        let nothing = |part: &str| part.is_empty() || part == "unknown";
        if nothing(&platform.os) || nothing(&platform.architecture) || wanted.iter().any(|one| platform.is(one)) {
            return Ok(());
        }
        let names: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        Err(Error::absent(format!(
            "{what} is for {platform}, and this hub fetches images from {} only for {}",
            self.name,
            names.join(", ")
        )))
    }

    /// A small blob with all its bytes, checked.
    async fn small(&self, digest: &ContentDigest) -> Result<Option<Bytes>> {
        let what = format!("{}@{digest}", self.path);
        let ask = Ask::new(Method::GET, self.url("blobs", &digest.to_string()));
        let Some(document) = self.document(&ask, LIMIT, &what).await? else { return Ok(None) };
        if !is(digest, &document.bytes) {
            return Err(failure::wrong(&document.host, &what, "the bytes have another digest"));
        }
        Ok(Some(document.bytes))
    }

    /// A blob: that it is there, and its size.
    async fn blob(&self, digest: &ContentDigest, known: Option<&Pointer>) -> Result<Option<Found>> {
        let points = |blob, bytes| {
            if known.is_some_and(|known| known.blob == blob) {
                return Found::Same;
            }
            Found::Points(Resolved { pointer: weak(blob, KindId::BYTES, Bytes::new()), bytes, beside: Vec::new() })
        };
        match (digest.sha256(), self.size(digest).await?) {
            (_, Size::Absent) => return Ok(None),
            (Some(digest), Size::Known(size)) => return Ok(Some(points(Blob { digest, size }, None))),
            (None, Size::Known(size)) if size > LIMIT => {
                return Err(Error::unsupported(format!(
                    "{}@{digest} is too large to be known by its {} alone: pull the image that it belongs to",
                    self.path,
                    digest.algorithm().as_str()
                )));
            }
            _ => {}
        }
        // Only all of its bytes tell the size, or the SHA-256 that we know blobs by.
        Ok(self.small(digest).await?.map(|bytes| points(blob(&bytes), Some(bytes))))
    }

    async fn size(&self, digest: &ContentDigest) -> Result<Size> {
        let url = self.url("blobs", &digest.to_string());
        // A HEAD that is redirected would be sent to a URL that is signed for GET.
        let mut ask = Ask::new(Method::HEAD, url.clone());
        ask.follow = false;
        let reply = self.send(&ask).await?;
        if reply.response.status().is_success()
            && let Some(size) = length(&reply)
        {
            return Ok(Size::Known(size));
        }
        let what = format!("{}@{digest}", self.path);
        if reply.response.status().as_u16() == 429 {
            document::refusal(reply, &self.site.pace, &what).await?;
            return Ok(Size::Absent);
        }
        // The body is dropped, and with it the connection.
        let reply = self.send(&Ask::new(Method::GET, url)).await?;
        if !reply.response.status().is_success() {
            document::refusal(reply, &self.site.pace, &what).await?;
            return Ok(Size::Absent);
        }
        Ok(length(&reply).map_or(Size::Unknown, Size::Known))
    }
}

enum Size {
    Known(u64),
    Unknown,
    Absent,
}

/// `Content-Length` as it was written: of an answer to HEAD, the body's own length is none.
fn length(reply: &Reply) -> Option<u64> {
    reply.header("content-length")?.trim().parse().ok()
}

/// True for a body that is packed, which nobody asked for.
fn is_packed(document: &Document) -> bool {
    document.header("content-encoding").is_some_and(|encoding| !matches!(encoding.trim(), "" | "identity"))
}

/// What the kernel is told of a manifest.
fn resolved(entry: &Entry, target: &Target, manifest: &Manifest, bytes: Bytes) -> Result<Resolved> {
    let repository = &*entry.repository;
    let kind = if manifest.form == Form::Index { image::MIRRORED } else { image::MANIFEST };
    let (blob, note) = (blob(&bytes), Bytes::from(manifest.media_type.clone()));
    let mut pointer = weak(blob, kind, note.clone());
    let mut beside: Vec<(Name, Pointer)> = Vec::new();
    if matches!(target, Target::Tag(_)) {
        pointer.keep = Retention::Loose;
        beside.push((image::manifest(repository, &blob.digest.into())?, weak(blob, kind, note)));
    }
    for part in manifest.blobs() {
        let Some(digest) = part.digest.sha256() else { continue };
        let name = image::blob(repository, &part.digest)?;
        if beside.iter().all(|(known, _)| *known != name) {
            beside.push((name, weak(Blob { digest, size: part.size }, KindId::BYTES, Bytes::new())));
        }
    }
    Ok(Resolved { pointer, bytes: Some(bytes), beside })
}

//! PUT of a manifest: by a tag, or by its digest with any number of tags beside.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use image::{Algorithm, ContentDigest, Manifest, Target};
use model::{Blob, Digest, Error, KindId, Link, Meaning, Name, Need, Pointer, Result, Retention, Time, When};
use sha2::{Digest as _, Sha256, Sha512};

use super::about;
use super::needs::{self, Needs};
use crate::call::Call;
use crate::place::Place;
use crate::push::{mark, writable};
use crate::referrers;
use crate::settings::Keep;
use crate::speak::{About, Answer, Refused, version};

/// Most tags of one push.
const TAGS: usize = 100;
/// A tag that moves between our look and our bind is looked at again.
const TRIES: usize = 16;

/// PUT manifests/TARGET.
pub(crate) async fn put(call: &Call, head: &Parts, name: &str, target: &Target, body: Body) -> Answer {
    let place = writable(call, name).map_err(about)?;
    let bytes = whole(body).await.map_err(about)?;
    let sent_as = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let manifest = Manifest::read(&bytes, sent_as).map_err(about)?;
    let blob = Blob { digest: Digest::new(Sha256::digest(&bytes).into()), size: bytes.len() as u64 };
    let mut tags = Vec::new();
    let digest = match target {
        Target::Tag(tag) => {
            tags.push(tag.to_string());
            blob.digest.into()
        }
        Target::Digest(digest) => {
            matches(digest, blob.digest, &bytes)?;
            tags.extend(call.parameters("tag").map(ToOwned::to_owned));
            digest.clone()
        }
    };
    if tags.len() > TAGS || tags.iter().any(|tag| !image::is_tag(tag)) {
        return Err(about(Error::malformed(format!("at most {TAGS} tags, each of 128 letters, digits, _ . and -"))));
    }
    let needs = needs::look(call, &place, &manifest).await.map_err(about)?;
    place.space.put(vec![(blob, bytes)]).await.and_then(|mut done| done.pop().unwrap_or(Ok(()))).map_err(about)?;
    let push = Push { call, place: &place, manifest: &manifest, blob, needs, digest: &digest };
    push.bind(&tags).await?;
    push.answer(name, &tags)
}

/// The whole body.
async fn whole(body: Body) -> Result<Bytes> {
    let limit = usize::try_from(image::LIMIT).unwrap_or(usize::MAX);
    let read = Limited::new(body, limit).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|cause| {
        if cause.downcast_ref::<LengthLimitError>().is_some() {
            return Error::too_big(format!("a manifest has at most {limit} bytes"));
        }
        Error::malformed("the body of the request broke off: send it again").because(cause)
    })
}

/// The bytes are what the address says.
fn matches(digest: &ContentDigest, sha256: Digest, bytes: &[u8]) -> Answer<()> {
    let found = match digest.algorithm() {
        Algorithm::Sha256 => sha256.to_string(),
        Algorithm::Sha512 => Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if found == digest.hex() {
        return Ok(());
    }
    let algorithm = digest.algorithm().as_str();
    let error = Error::mismatch(format!("the manifest is {algorithm}:{found}, not {digest}"));
    Err(Refused::from(error).about(About::Manifest))
}

/// A manifest whose bytes are here and whose needs were looked at.
struct Push<'a> {
    call: &'a Call,
    place: &'a Place,
    manifest: &'a Manifest,
    blob: Blob,
    needs: Needs,
    digest: &'a ContentDigest,
}

impl Push<'_> {
    fn pointer(&self, keep: Retention) -> Pointer {
        let mut note = self.manifest.media_type.clone();
        if self.digest.sha256().is_none() {
            note = format!("{note}\n{}", self.digest);
        }
        let note = Bytes::from(note);
        Pointer { note, also: self.needs.also.clone(), keep, ..Pointer::new(self.blob, self.needs.kind) }
    }

    /// All names at once.
    async fn bind(&self, tags: &[String]) -> Answer<()> {
        for _ in 0..TRIES {
            let list = self.names(tags).await?;
            match self.place.space.bind(list).await {
                // A tag was bound or moved since: what that means is decided anew.
                Err(error) if *error.meaning() == Meaning::Conflict => {}
                done => return done.map_err(about),
            }
        }
        Err(about(Error::busy("this tag is pushed by many at once: try again")))
    }

    async fn names(&self, tags: &[String]) -> Answer<Vec<(Name, Pointer, When)>> {
        let repository = &self.place.repository;
        let sha256 = self.blob.digest.into();
        let mut list = vec![mark(self.place)?];
        list.push((image::manifest(repository, &sha256)?, self.pointer(Retention::Weak), When::Always));
        if *self.digest != sha256 {
            list.push((image::manifest(repository, self.digest)?, self.pointer(Retention::Weak), When::Always));
        }
        if let Some(subject) = &self.manifest.subject {
            let may = subject.digest.sha256().map(|digest| Blob { digest, size: subject.size });
            let mut pointer = self.pointer(Retention::With);
            pointer.note = referrers::note(self.manifest, self.blob);
            pointer.also.extend(may.map(|blob| Link { blob, kind: KindId::BYTES, need: Need::May }));
            list.push((image::referrer(repository, &subject.digest, &sha256)?, pointer, When::Always));
        }
        let names: Vec<Name> = tags.iter().map(|tag| image::tag(repository, tag)).collect::<Result<_>>()?;
        let now = self.place.space.find_all(&names).await?;
        for ((tag, name), row) in tags.iter().zip(names).zip(now) {
            let before = row.map(|row| row.pointer.blob.digest);
            let settings = &self.call.settings;
            if settings.is_immutable(repository, tag) && before.is_some_and(|before| before != self.blob.digest) {
                let text = format!("the tag {tag} never moves once it is there: push under another one");
                return Err(Refused::exactly(Error::denied(text), StatusCode::CONFLICT, "DENIED"));
            }
            let when = before.map_or(When::Absent, When::Is);
            let keep = match settings.keep(repository, tag) {
                Keep::Firm => Retention::Firm,
                Keep::Loose => Retention::Loose,
                Keep::For(time) => Retention::Until(Time::now().plus(time)),
            };
            if before != Some(self.blob.digest) && !settings.history.is_zero() {
                let at = Time::now();
                let pointer = Pointer {
                    note: Bytes::copy_from_slice(self.call.caller.who.as_bytes()),
                    ..self.pointer(Retention::Until(at.plus(settings.history)))
                };
                list.push((image::history(repository, tag, at.0)?, pointer, When::Always));
            }
            list.push((name, self.pointer(keep), when));
        }
        Ok(list)
    }

    fn answer(&self, name: &str, tags: &[String]) -> Answer {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        version(headers);
        let value =
            |text: String| HeaderValue::from_str(&text).map_err(|cause| Error::broken("a header").because(cause));
        headers.insert(header::LOCATION, value(format!("/v2/{name}/manifests/{}", self.digest))?);
        headers.insert("docker-content-digest", value(self.digest.to_string())?);
        if let Some(subject) = &self.manifest.subject {
            headers.insert("oci-subject", value(subject.digest.to_string())?);
        }
        for tag in tags {
            headers.append("oci-tag", value(tag.clone())?);
        }
        Ok(response)
    }
}

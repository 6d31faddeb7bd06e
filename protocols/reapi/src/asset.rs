//! Remote Asset: Fetch and Push.
//!
//! An asset is a Name made of its [`key`]. A pushed blob is plain bytes, a pushed directory is a Directory; what
//! the push says it refers to is held besides, so that an asset that can be fetched is complete.
//!
//! On the wire the messages of the Directory methods are those of the Blob methods (remote_asset.proto gives
//! the same fields other names), so the latter serve both.

mod key;

use std::collections::HashSet;

use bazel_remote_apis::build::bazel::remote::asset::v1::{
    FetchBlobRequest, FetchBlobResponse, PushBlobRequest, PushBlobResponse, Qualifier,
};
use bazel_remote_apis::build::bazel::remote::execution::v2::{Digest, digest_function};
use bazel_remote_apis::google::protobuf::Timestamp;
use kernel::Rights;
use model::{Blob, Error, KindId, Link, Pointer, Result, Retention, Time, When};

use crate::asset::key::{Form, Key};
use crate::call::Call;
use crate::digest::{blob, message, only_sha256};
use crate::kinds::DIRECTORY;
use crate::speak::{Answer, Refusal, fine};

/// Most URIs in one request; BuildStream sends two.
const MOST_URIS: usize = 1000;

/// `FetchBlob`.
pub(crate) async fn fetch_blob(call: Call, request: FetchBlobRequest) -> Answer<FetchBlobResponse> {
    fetch(call, Form::Blob, request).await
}

/// `FetchDirectory`.
pub(crate) async fn fetch_directory(call: Call, request: FetchBlobRequest) -> Answer<FetchBlobResponse> {
    fetch(call, Form::Directory, request).await
}

/// `PushBlob`.
pub(crate) async fn push_blob(call: Call, request: PushBlobRequest) -> Answer<PushBlobResponse> {
    push(call, Form::Blob, request).await
}

/// `PushDirectory`.
pub(crate) async fn push_directory(call: Call, request: PushBlobRequest) -> Answer<PushBlobResponse> {
    push(call, Form::Directory, request).await
}

/// The first URI that is bound wins. Nothing is ever fetched from the URI itself.
async fn fetch(call: Call, form: Form, request: FetchBlobRequest) -> Answer<FetchBlobResponse> {
    let namespace = call.enter(&request.instance_name, Rights::READ)?;
    only_sha256(request.digest_function)?;
    for key in keys(form, &request.uris, &request.qualifiers)? {
        let found = match namespace.find(&key.name).await {
            Err(error) if error.is_absent() => continue,
            other => other?.pointer,
        };
        return Ok(FetchBlobResponse {
            status: Some(fine()),
            uri: key.uri,
            qualifiers: request.qualifiers,
            expires_at: expiry(found.keep),
            blob_digest: Some(message(found.blob)),
            digest_function: digest_function::Value::Sha256.into(),
        });
    }
    Err(Error::absent("Asset not found").into())
}

/// Binds one Name for each URI, all or none. What is missing is a failed precondition.
async fn push(call: Call, form: Form, request: PushBlobRequest) -> Answer<PushBlobResponse> {
    let namespace = call.enter(&request.instance_name, Rights::WRITE)?;
    only_sha256(request.digest_function)?;
    let keys = keys(form, &request.uris, &request.qualifiers)?;
    let pointer = pointer(form, &request)?;
    let known: Vec<Blob> = pointer.also.iter().map(|link| link.blob).chain([pointer.blob]).collect();
    let bindings = keys.into_iter().map(|key| (key.name, Pointer { note: key.note, ..pointer.clone() }, When::Always));
    namespace.bind(bindings.collect()).await.map_err(|error| Refusal::about(&error, &known))?;
    Ok(PushBlobResponse {})
}

/// The keys of all URIs, in their order, each once.
fn keys(form: Form, uris: &[String], qualifiers: &[Qualifier]) -> Result<Vec<Key>> {
    if uris.is_empty() || uris.len() > MOST_URIS {
        return Err(Error::malformed(format!("a request has 1 to {MOST_URIS} URIs, this one {}", uris.len())));
    }
    let mut seen = HashSet::new();
    let fresh = uris.iter().filter(|uri| seen.insert(*uri));
    fresh.map(|uri| Key::new(form, uri.clone(), qualifiers)).collect()
}

/// What a push binds; the note is each key's own.
fn pointer(form: Form, request: &PushBlobRequest) -> Result<Pointer> {
    let kind = match form {
        Form::Blob => KindId::BYTES,
        Form::Directory => DIRECTORY,
    };
    let mut pointer = Pointer::new(blob(request.blob_digest.as_ref(), "the digest")?, kind);
    let mut refer = |digests: &[Digest], kind| {
        for digest in digests {
            pointer.also.push(Link::must(blob(Some(digest), "a reference")?, kind));
        }
        Ok(())
    };
    refer(&request.references_blobs, KindId::BYTES)?;
    refer(&request.references_directories, DIRECTORY)?;
    pointer.keep = request.expire_at.as_ref().map_or(Retention::Loose, |end| Retention::Until(time(end)));
    Ok(pointer)
}

fn time(stamp: &Timestamp) -> Time {
    Time(stamp.seconds.saturating_mul(1_000_000).saturating_add(i64::from(stamp.nanos) / 1000))
}

fn expiry(keep: Retention) -> Option<Timestamp> {
    let Retention::Until(Time(micros)) = keep else { return None };
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Some(Timestamp { seconds: micros.div_euclid(1_000_000), nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bazel_remote_apis::build::bazel::remote::asset::v1 as ra;
    use prost::Message;

    fn digest(n: u8) -> Option<Digest> {
        Some(message(Blob { digest: model::Digest::new([n; 32]), size: n.into() }))
    }

    #[test]
    fn a_directory_request_is_a_blob_request_on_the_wire() {
        let request = ra::PushDirectoryRequest {
            instance_name: "i".into(),
            uris: vec!["u".into()],
            root_directory_digest: digest(1),
            references_blobs: vec![digest(2).unwrap()],
            references_directories: vec![digest(3).unwrap()],
            expire_at: Some(Timestamp { seconds: 4, nanos: 5000 }),
            ..Default::default()
        };
        let read = PushBlobRequest::decode(&*request.encode_to_vec()).unwrap();
        let pointer = pointer(Form::Directory, &read).unwrap();
        let blob = |n: u8| Blob { digest: model::Digest::new([n; 32]), size: n.into() };
        assert_eq!((pointer.blob, pointer.kind), (blob(1), DIRECTORY));
        assert_eq!(pointer.also, [Link::must(blob(2), KindId::BYTES), Link::must(blob(3), DIRECTORY)]);
        assert_eq!(pointer.keep, Retention::Until(Time(4_000_005)));

        let answer = FetchBlobResponse { blob_digest: digest(1), uri: "u".into(), ..Default::default() };
        let read = ra::FetchDirectoryResponse::decode(&*answer.encode_to_vec()).unwrap();
        assert_eq!((read.root_directory_digest, read.uri), (digest(1), "u".to_owned()));
    }

    #[test]
    fn no_uris_is_what_the_feature_probe_wants_to_hear_about() {
        assert_eq!(keys(Form::Blob, &[], &[]).unwrap_err().meaning(), &model::Meaning::Malformed);
        let twice = ["u".to_owned(), "v".to_owned(), "u".to_owned()];
        let uris: Vec<_> = keys(Form::Blob, &twice, &[]).unwrap().into_iter().map(|key| key.uri).collect();
        assert_eq!(uris, ["u", "v"]);
    }

    #[test]
    fn a_push_needs_right_digests() {
        let empty = PushBlobRequest::default();
        assert!(pointer(Form::Blob, &empty).is_err());
        let bad = vec![Digest { hash: "x".into(), size_bytes: 1 }];
        assert!(
            pointer(Form::Blob, &PushBlobRequest { blob_digest: digest(1), references_blobs: bad, ..empty }).is_err()
        );
    }

    #[test]
    fn an_end_comes_back_as_it_went() {
        for stamp in [Timestamp { seconds: 1, nanos: 2000 }, Timestamp { seconds: -1, nanos: 999_999_000 }] {
            assert_eq!(expiry(Retention::Until(time(&stamp))), Some(stamp));
        }
        assert_eq!(expiry(Retention::Loose), None);
        let far = Timestamp { seconds: i64::MAX, nanos: i32::MAX };
        assert_eq!(time(&far), Time(i64::MAX));
    }
}

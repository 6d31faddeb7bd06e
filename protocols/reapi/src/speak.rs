//! From what an error means to what gRPC calls it. The only place that knows status codes.

use bazel_remote_apis::google::{protobuf, rpc};
use model::{Blob, Digest, Error, Meaning};
use prost::Message;
use tonic::{Code, Status};

/// Most characters of a message. It travels in a header and again in the details, which are another, and gRPC's C
/// core refuses headers of more than 8 KiB in all.
const LONGEST_MESSAGE: usize = 256;

/// Most missing blobs that are listed in the details.
const MOST_VIOLATIONS: usize = 10;

/// What a method answers.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// An error as it goes to the client. Made from ours, which is logged here if it is our fault.
#[derive(Debug)]
pub(crate) struct Refusal(Status);

impl Refusal {
    /// Like `from`; the sizes of missing blobs, which REAPI wants to hear, are looked up in `known`.
    pub(crate) fn about(error: &Error, known: &[Blob]) -> Self {
        let inner = inline(error, known);
        let code = Code::from(inner.code);
        if inner.details.is_empty() {
            return Self(Status::new(code, inner.message));
        }
        let details = inner.encode_to_vec().into();
        Self(Status::with_details(code, inner.message, details))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::about(&error, &[])
    }
}

impl From<Status> for Refusal {
    /// The transport's own complaint, for example that a message was too large.
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

/// The error as a message within an answer, as batches report it for each blob.
pub(crate) fn inline(error: &Error, known: &[Blob]) -> rpc::Status {
    match error.meaning() {
        Meaning::Broken => tracing::error!(%error, "an internal error was answered"),
        Meaning::Lost => tracing::warn!(%error, "damaged bytes were asked for"),
        _ => {}
    }
    let message = error.text().chars().take(LONGEST_MESSAGE).collect();
    rpc::Status { code: code(error.meaning()).into(), message, details: details(error.meaning(), known) }
}

/// A success within an answer.
pub(crate) fn fine() -> rpc::Status {
    rpc::Status::default()
}

fn code(meaning: &Meaning) -> Code {
    match meaning {
        // What is damaged here is a miss for clients: they make it again or look elsewhere, and it heals.
        Meaning::Absent | Meaning::Lost => Code::NotFound,
        Meaning::Incomplete(_) => Code::FailedPrecondition,
        Meaning::Unauthenticated => Code::Unauthenticated,
        Meaning::Denied => Code::PermissionDenied,
        Meaning::Malformed | Meaning::Mismatch | Meaning::TooBig => Code::InvalidArgument,
        Meaning::OutOfRange => Code::OutOfRange,
        Meaning::Unsupported => Code::Unimplemented,
        Meaning::Conflict => Code::Aborted,
        Meaning::Full => Code::ResourceExhausted,
        // The one code that clients try again after.
        Meaning::Busy(_) | Meaning::Upstream => Code::Unavailable,
        Meaning::Broken => Code::Internal,
    }
}

fn details(meaning: &Meaning, known: &[Blob]) -> Vec<protobuf::Any> {
    match meaning {
        Meaning::Incomplete(missing) => {
            let violations = missing.iter().take(MOST_VIOLATIONS).map(|digest| violation(*digest, known)).collect();
            vec![any("google.rpc.PreconditionFailure", &PreconditionFailure { violations })]
        }
        Meaning::Busy(after) => {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            let nanos = i32::try_from(after.subsec_nanos()).unwrap_or_default();
            let retry_delay = Some(protobuf::Duration { seconds, nanos });
            vec![any("google.rpc.RetryInfo", &RetryInfo { retry_delay })]
        }
        _ => Vec::new(),
    }
}

/// As `Execute` describes it in remote_execution.proto. The subject needs the size, which is known only of
/// blobs that the caller itself named.
fn violation(digest: Digest, known: &[Blob]) -> Violation {
    let subject = known.iter().find(|blob| blob.digest == digest).map(|blob| format!("blobs/{blob}"));
    Violation { r#type: "MISSING".into(), subject: subject.unwrap_or_default(), description: digest.to_string() }
}

fn any(name: &str, message: &impl Message) -> protobuf::Any {
    protobuf::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// `google.rpc.PreconditionFailure` (google/rpc/error_details.proto).
#[derive(Clone, PartialEq, Message)]
struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(string, tag = "3")]
    description: String,
}

/// `google.rpc.RetryInfo` (google/rpc/error_details.proto).
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<protobuf::Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_blobs_are_named() {
        let blobs: Vec<_> = (0..200).map(|n| Blob { digest: Digest::new([n; 32]), size: u64::from(n) }).collect();
        let error = Error::incomplete(blobs.iter().map(|blob| blob.digest).collect());
        let status = Status::from(Refusal::about(&error, &blobs[..1]));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(details.code, 9);
        assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.PreconditionFailure");
        let failure = PreconditionFailure::decode(&*details.details[0].value).unwrap();
        assert_eq!(failure.violations[0].subject, format!("blobs/{}/0", "00".repeat(32)));
        assert_eq!(failure.violations[1].subject, "");
    }

    #[test]
    fn the_worst_error_fits_the_headers_that_clients_take() {
        let blobs: Vec<_> = (0..200).map(|n| Blob { digest: Digest::new([n; 32]), size: u64::MAX }).collect();
        let missing = blobs.iter().map(|blob| blob.digest).collect();
        let error = Error::new(Meaning::Incomplete(missing), "\u{1f980}".repeat(5000));
        let mut headers = http::HeaderMap::new();
        Status::from(Refusal::about(&error, &blobs)).add_header(&mut headers).unwrap();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes < 8 << 10, "{bytes}");
    }

    #[test]
    fn busy_says_when_to_come_back() {
        let status = Status::from(Refusal::from(Error::busy("later")));
        assert_eq!(status.code(), Code::Unavailable);
        let details = rpc::Status::decode(status.details()).unwrap();
        let retry = RetryInfo::decode(&*details.details[0].value).unwrap();
        assert_eq!(retry.retry_delay.map(|delay| delay.seconds), Some(1));
    }

    #[test]
    fn causes_stay_here() {
        let error = Error::io("cannot read a blob", std::io::Error::other("/secret/path"));
        let status = Status::from(Refusal::from(error));
        assert_eq!((status.code(), status.message()), (Code::Internal, "cannot read a blob"));
    }

    #[test]
    fn long_messages_are_cut() {
        let status = Status::from(Refusal::from(Error::malformed("é".repeat(5000))));
        assert_eq!(status.message().chars().count(), LONGEST_MESSAGE);
    }
}

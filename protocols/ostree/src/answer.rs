//! Answers to GET and HEAD: entity tags, conditional requests, single ranges (RFC 9110, sections 13 and 14).

use axum::body::Body as HttpBody;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use kernel::Namespace;
use model::{Body, Chunks, Digest, Result};
use server::Payload;

/// Where the bytes of an answer are.
pub(crate) enum Source {
    /// Here.
    Bytes(bytes::Bytes),
    /// A blob of this size.
    Blob(Digest, u64),
    /// On their way: of unknown length.
    Arriving(Chunks),
}

/// How long a client or a proxy may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As long as it likes: what is there never changes.
    Forever,
    /// It has to ask each time whether it is still right.
    Ask,
}

/// A file of a repository.
pub(crate) struct Found {
    pub(crate) source: Source,
    /// The digest of exactly these bytes; none where nobody knows yet.
    pub(crate) tag: Option<Digest>,
    pub(crate) keep: Keep,
    pub(crate) kind: &'static str,
}

/// What is asked about it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// Whether anybody would get the same answer.
    pub(crate) public: bool,
}

impl Found {
    fn size(&self) -> Option<u64> {
        match &self.source {
            Source::Bytes(bytes) => Some(bytes.len() as u64),
            Source::Blob(_, size) => Some(*size),
            Source::Arriving(_) => None,
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// When the bytes cannot be read.
    pub(crate) async fn answer(self, namespace: &Namespace, asked: Asked<'_>) -> Result<Response> {
        let tag = self.tag.map(|digest| format!("\"{digest}\""));
        let size = self.size();
        let mut response = Response::new(HttpBody::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.keep.header(asked.public)));
        if let Some(tag) = tag.as_deref().and_then(|tag| HeaderValue::from_str(tag).ok()) {
            headers.insert(header::ETAG, tag);
        }
        if tag.as_deref().is_some_and(|tag| matches(asked.headers, tag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        let Some(size) = size else {
            let Source::Arriving(chunks) = self.source else { return Ok(response) };
            if asked.method != Method::HEAD {
                *response.body_mut() = HttpBody::new(Payload::whole(Body::Stream { size: None, chunks }));
            }
            return Ok(response);
        };
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let range = match range(asked.headers, tag.as_deref(), size) {
            Range::Whole => None,
            Range::Part(first, len) => Some((first, len)),
            Range::Outside => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                response.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes */{size}")));
                return Ok(response);
            }
        };
        let (first, len) = range.unwrap_or((0, size));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = first + len - 1;
            response.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes {first}-{last}/{size}")));
        }
        if asked.method != Method::HEAD {
            let body = match self.source {
                Source::Bytes(bytes) => {
                    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                    Body::Bytes(bytes.slice(index(first)..index(first + len)))
                }
                Source::Blob(digest, _) => namespace.read(digest, first, Some(len)).await?.1,
                Source::Arriving(chunks) => Body::Stream { size: None, chunks },
            };
            *response.body_mut() = Payload::response_body(body, len);
        }
        Ok(response)
    }
}

impl Keep {
    fn header(self, public: bool) -> &'static str {
        match (self, public) {
            (Self::Forever, true) => "public, max-age=31536000, immutable",
            (Self::Forever, false) => "private, max-age=31536000, immutable",
            (Self::Ask, true) => "no-cache",
            (Self::Ask, false) => "private, no-cache",
        }
    }
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `If-None-Match`: one of its tags, or `*`. The comparison is the weak one.
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|asked| asked == "*" || asked.strip_prefix("W/").unwrap_or(asked) == tag)
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// First byte and length; never empty.
    Part(u64, u64),
    Outside,
}

/// One range of bytes. Several, or what is no range, are answered with the whole, as is a range of other bytes than
/// those that are here (`If-Range`).
fn range(headers: &HeaderMap, tag: Option<&str>, size: u64) -> Range {
    let value = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if headers.contains_key(header::IF_RANGE) && value(header::IF_RANGE) != tag {
        return Range::Whole;
    }
    let spec =
        value(header::RANGE).and_then(|range| range.strip_prefix("bytes=")).and_then(|spec| spec.split_once('-'));
    let Some((first, last)) = spec else { return Range::Whole };
    let number =
        |text: &str| if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse::<u64>().ok() } else { None };
    let part = |first: u64, end: u64| if first < end { Range::Part(first, end - first) } else { Range::Outside };
    match (first, last) {
        ("", last) => number(last).map_or(Range::Whole, |last| part(size.saturating_sub(last), size)),
        (first, "") => number(first).map_or(Range::Whole, |first| part(first, size)),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => part(first, size.min(last.saturating_add(1))),
            _ => Range::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_or_the_whole() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
            range(&headers, Some("\"x\""), 10)
        };
        assert_eq!(asked("bytes=0-0"), Range::Part(0, 1));
        assert_eq!(asked("bytes=4-"), Range::Part(4, 6));
        assert_eq!(asked("bytes=4-99"), Range::Part(4, 6));
        assert_eq!(asked("bytes=-3"), Range::Part(7, 3));
        assert_eq!(asked("bytes=-99"), Range::Part(0, 10));
        assert_eq!(asked("bytes=10-"), Range::Outside);
        assert_eq!(asked("bytes=-0"), Range::Outside);
        for odd in ["bytes=5-4", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-", "bytes=+1-2"] {
            assert_eq!(asked(odd), Range::Whole, "{odd}");
        }
    }

    #[test]
    fn a_range_of_other_bytes_is_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(range(&headers, Some("\"new\""), 10), Range::Whole);
        assert_eq!(range(&headers, None, 10), Range::Whole);
        assert_eq!(range(&headers, Some("\"old\""), 10), Range::Part(1, 2));
    }

    #[test]
    fn tags_match_weakly_and_in_lists() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(text).unwrap());
            matches(&headers, "\"x\"")
        };
        assert!(asked("\"x\"") && asked("\"y\", \"x\"") && asked("W/\"x\"") && asked("*"));
        assert!(!asked("\"y\"") && !asked("x"));
    }
}

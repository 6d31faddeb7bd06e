//! Ranges of bytes: of a request's `Range` (RFC 9110, section 14.2), and of an upload's `Content-Range`.

use http::HeaderMap;
use http::header::{CONTENT_RANGE, RANGE};
use model::{Error, Result, Span};

/// The part of `size` bytes that is asked for; `None` for all of them, also where the header is not understood or asks
/// for several parts, as a server may.
///
/// # Errors
/// `OutOfRange` when no byte of it is there.
pub(crate) fn asked(headers: &HeaderMap, size: u64) -> Result<Option<Span>> {
    let Some(text) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let Some((unit, parts)) = text.split_once('=') else { return Ok(None) };
    if !unit.trim().eq_ignore_ascii_case("bytes") || parts.contains(',') {
        return Ok(None);
    }
    let beyond = || Error::out_of_range(format!("no byte of this range is there: there are {size}"));
    let Some((first, last)) = parts.trim().split_once('-') else { return Ok(None) };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
    let (first, last) = match (first, last) {
        ("", "") => return Ok(None),
        ("", last) => match number(last) {
            Some(0) => return Err(beyond()),
            Some(count) => (size.saturating_sub(count), size.saturating_sub(1)),
            None => return Ok(None),
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            let (Some(first), Some(last)) = (number(first), last) else { return Ok(None) };
            if last < first {
                return Err(beyond());
            }
            (first, last.min(size.saturating_sub(1)))
        }
    };
    if first >= size {
        return Err(beyond());
    }
    Ok(Some(Span { offset: first, len: last - first + 1 }))
}

/// The first and last byte that a part of an upload says it has: `0-999` or `bytes 0-999/*`.
///
/// # Errors
/// `Malformed`.
pub(crate) fn sent(headers: &HeaderMap) -> Result<Option<(u64, u64)>> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let wrong = || Error::malformed("Content-Range is FIRST-LAST, such as 0-999");
    let text = value.to_str().map_err(|_| wrong())?;
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next().unwrap_or_default();
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(wrong()) } else { Ok(Some((first, last))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn part(text: &'static str, size: u64) -> Result<Option<(u64, u64)>> {
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(text))]);
        asked(&headers, size).map(|span| span.map(|span| (span.offset, span.len)))
    }

    #[test]
    fn ranges_are_clipped_or_refused() {
        for (text, wanted) in [
            ("bytes=0-0", Some((0, 1))),
            ("bytes=500-1499", Some((500, 1000))),
            ("bytes=500-", Some((500, 4500))),
            ("bytes=-500", Some((4500, 500))),
            ("bytes=-9000", Some((0, 5000))),
            ("bytes=2000-99999999999999999999999", Some((2000, 3000))),
            ("Bytes=1-2", Some((1, 2))),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
            ("bytes=a-b", None),
            ("bytes", None),
        ] {
            assert_eq!(part(text, 5000).ok(), Some(wanted), "{text}");
        }
        for text in ["bytes=500-0", "bytes=5000-", "bytes=5000-10000", "bytes=-0"] {
            assert!(part(text, 5000).is_err(), "{text}");
        }
        assert!(part("bytes=0-", 0).is_err() && part("bytes=-1", 0).is_err());
    }

    #[test]
    fn parts_of_uploads_say_where_they_belong() {
        let sent = |text: &'static str| {
            sent(&HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static(text))])).ok().flatten()
        };
        assert_eq!(sent("0-9"), Some((0, 9)));
        assert_eq!(sent("bytes 10-19/*"), Some((10, 19)));
        assert_eq!(sent("9-0"), None);
        assert_eq!(sent("x"), None);
    }
}

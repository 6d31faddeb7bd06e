//! The few fields of an X.509 certificate that we need and that rustls does not tell (RFC 5280, section 4.1).
//!
//! Nothing here is trusted: a certificate that does not read is `None`, and the verifier refuses it.

use rustls_pki_types::UnixTime;
use sha2::{Digest as _, Sha256};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// BMPString: UTF-16, too rare to decode; such a certificate goes by its fingerprint.
const BMP_STRING: u8 = 0x1e;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// What a certificate says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// First second of validity, in seconds since 1970.
    pub(crate) not_before: i64,
    /// Last second of validity.
    pub(crate) not_after: i64,
    /// The last common name of the subject.
    pub(crate) common_name: Option<String>,
    /// True when it may sign other certificates (`CA:TRUE`).
    pub(crate) authority: bool,
}

impl Certificate {
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Fields(Fields(der).tagged(SEQUENCE)?);
        let mut fields = Fields(certificate.tagged(SEQUENCE)?);
        if fields.peek() == Some(VERSION) {
            fields.next()?;
        }
        fields.next()?; // serial number
        fields.next()?; // signature algorithm
        fields.next()?; // issuer
        let mut validity = Fields(fields.tagged(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let common_name = common_name(fields.tagged(SEQUENCE)?);
        fields.next()?; // public key
        let extensions = std::iter::from_fn(|| fields.next()).find(|(tag, _)| *tag == EXTENSIONS);
        let authority = extensions.is_some_and(|(_, list)| authority(list).unwrap_or(false));
        Some(Self { not_before, not_after, common_name, authority })
    }

    /// True when `now` lies within its validity.
    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| (self.not_before..=self.not_after).contains(&now))
    }
}

/// What to call the holder of a certificate: the common name of its subject, else its SHA-256 fingerprint.
pub(crate) fn holder(der: &[u8]) -> String {
    let name = Certificate::read(der).and_then(|certificate| certificate.common_name);
    name.unwrap_or_else(|| Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// DER fields, one after another. Lengths are checked against what is there.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Long form: the low bits count the bytes of the length. Certificates need at most three.
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|bytes| (1..=3).contains(&bytes.len()))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest.get(count..)?)
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn tagged(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }
}

/// Name ::= SEQUENCE OF SET OF SEQUENCE { type, value }
fn common_name(name: &[u8]) -> Option<String> {
    let mut sets = Fields(name);
    let mut found = None;
    while let Some((_, set)) = sets.next() {
        let mut attributes = Fields(set);
        while let Some((_, attribute)) = attributes.next() {
            let mut attribute = Fields(attribute);
            if let (Some((_, COMMON_NAME)), Some((tag, value))) = (attribute.next(), attribute.next())
                && tag != BMP_STRING
            {
                found = Some(String::from_utf8_lossy(value).replace(char::is_control, "?"));
            }
        }
    }
    found.filter(|name| !name.is_empty())
}

/// Extensions ::= SEQUENCE OF SEQUENCE { id, critical DEFAULT FALSE, value OCTET STRING }
fn authority(list: &[u8]) -> Option<bool> {
    let mut extensions = Fields(Fields(list).tagged(SEQUENCE)?);
    while let Some((_, extension)) = extensions.next() {
        let mut extension = Fields(extension);
        if extension.next().is_some_and(|(_, id)| id == BASIC_CONSTRAINTS) {
            if extension.peek() == Some(BOOLEAN) {
                extension.next()?;
            }
            let (_, value) = extension.next()?;
            return Some(Fields(Fields(value).tagged(SEQUENCE)?).tagged(BOOLEAN).is_some_and(|flag| flag != [0]));
        }
    }
    None
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5) in seconds since 1970.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (GENERALIZED_TIME, 14) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2).and_then(|part| part.parse::<i64>().ok());
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    // Days since 1970-01-01 in the Gregorian calendar; the year begins in March so that a leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
            - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(time((UTC_TIME, b"700101000000Z")), Some(0));
        assert_eq!(time((UTC_TIME, b"240229120000Z")), Some(1_709_208_000));
        assert_eq!(time((GENERALIZED_TIME, b"20500101000000Z")), Some(2_524_608_000));
        assert_eq!(time((GENERALIZED_TIME, b"99991231235959Z")), Some(253_402_300_799));
        assert_eq!(time((UTC_TIME, b"2402291200+0Z")), None);
    }

    #[test]
    fn garbage_does_not_read() {
        for der in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x05, 0x30]] {
            assert_eq!(Certificate::read(der), None);
        }
    }
}

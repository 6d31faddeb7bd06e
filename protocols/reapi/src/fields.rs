//! Reads protobuf without building messages. A decoded message may need a hundred times the memory of its
//! bytes (an empty node is two bytes), which a hostile client would use; here nothing is allocated.

use model::{Blob, Error, Result};

/// The value of a field.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// An integer, a boolean or an enumeration.
    Varint(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Of a type that REAPI does not use.
    Fixed,
}

/// The fields of a message, in the order in which they were written.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // 3 and 4 are groups, which proto3 does not have.
            _ => return Err(broken_off()),
        };
        Ok((key >> 3, value))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(broken_off())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let len = usize::try_from(len).map_err(|_| broken_off())?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(broken_off)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Calls `each` for every occurrence of a message field.
///
/// # Errors
/// `Malformed` when the bytes are no protobuf message, and what `each` returns.
pub(crate) fn each_message<'a>(bytes: &'a [u8], mut each: impl FnMut(u64, &'a [u8]) -> Result<()>) -> Result<()> {
    for field in Fields::new(bytes) {
        if let (number, Value::Bytes(message)) = field? {
            each(number, message)?;
        }
    }
    Ok(())
}

/// A `Digest` message.
///
/// # Errors
/// `Malformed` when it is none: empty, no SHA-256, or a negative size.
pub(crate) fn digest(bytes: &[u8]) -> Result<Blob> {
    let (mut hash, mut size) = ("", 0);
    for field in Fields::new(bytes) {
        match field? {
            (1, Value::Bytes(text)) => hash = str::from_utf8(text).map_err(|_| broken_off())?,
            (2, Value::Varint(number)) => size = number,
            _ => {}
        }
    }
    if i64::try_from(size).is_err() {
        return Err(Error::malformed("a digest has a negative size"));
    }
    Ok(Blob { digest: hash.parse()?, size })
}

fn broken_off() -> Error {
    Error::malformed("this is not a protobuf message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
    use proptest::prelude::*;
    use prost::Message;

    #[test]
    fn a_digest_is_read() {
        let message = crate::digest::message(Blob { size: 300, ..Blob::EMPTY });
        assert_eq!(digest(&message.encode_to_vec()).unwrap(), Blob { size: 300, ..Blob::EMPTY });
        for bad in [re::Digest::default(), re::Digest { size_bytes: -1, ..message.clone() }] {
            assert!(digest(&bad.encode_to_vec()).is_err());
        }
    }

    #[test]
    fn an_overlong_number_is_refused() {
        assert!(Fields::new(&[0x80; 11]).next().is_some_and(|field| field.is_err()));
        assert!(Fields::new(&[0x0a, 0x05, 0]).next().is_some_and(|field| field.is_err()));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let fields = Fields::new(&bytes).count();
            prop_assert!(fields <= bytes.len());
        }

        #[test]
        fn what_prost_wrote_is_read(hash in "[0-9a-f]{64}", size in 0..i64::MAX) {
            let message = re::Digest { hash: hash.clone(), size_bytes: size };
            let blob = digest(&message.encode_to_vec()).unwrap();
            prop_assert_eq!((blob.digest.to_string(), blob.size), (hash, size as u64));
        }
    }
}

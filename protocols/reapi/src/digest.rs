//! Digests as REAPI writes them, from careful and from careless clients.

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use model::{Blob, Digest, Error, Result};

/// A digest of a message; `what` says which field it was.
///
/// # Errors
/// `Malformed` when it is absent, the hash is not 64 lower-case hexadecimal digits, or the size is negative.
pub(crate) fn blob(digest: Option<&re::Digest>, what: &str) -> Result<Blob> {
    let digest = digest.ok_or_else(|| Error::malformed(format!("{what} is missing")))?;
    let size = u64::try_from(digest.size_bytes)
        .map_err(|_| Error::malformed(format!("{what} has the size {}", digest.size_bytes)))?;
    Ok(Blob { digest: digest.hash.parse()?, size })
}

/// Reads a hash where a client asks whether something is there. What looks like a hash but is no SHA-256
/// (short, upper-case) is `None`: nobody holds it.
///
/// # Errors
/// `Malformed` for what does not even look like a hash, such as a path.
pub(crate) fn asked(hash: &str) -> Result<Option<Digest>> {
    if hash.is_empty() || !hash.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::malformed(format!("{:?} is not a hash", hash.chars().take(80).collect::<String>())));
    }
    Ok(hash.parse().ok())
}

/// The digest as REAPI writes it.
pub(crate) fn message(blob: Blob) -> re::Digest {
    // A size beyond i64 cannot exist: it came from a message or from the catalog, which both have i64.
    re::Digest { hash: blob.digest.to_string(), size_bytes: i64::try_from(blob.size).unwrap_or(i64::MAX) }
}

/// Asserts that a request counts with SHA-256, or leaves it to us.
///
/// # Errors
/// `Malformed` for any other function.
pub(crate) fn only_sha256(function: i32) -> Result<()> {
    use re::digest_function::Value;
    match Value::try_from(function) {
        Ok(Value::Unknown | Value::Sha256) => Ok(()),
        Ok(other) => Err(Error::malformed(format!("{} is not offered, only SHA256", other.as_str_name()))),
        Err(_) => Err(Error::malformed(format!("digest function {function} is not offered, only SHA256"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_hash_and_a_short_hash_is_nobodys() {
        assert!(asked("").is_err());
        assert!(asked("../../../../etc/passwd").is_err());
        assert!(matches!(asked("abc"), Ok(None)));
        assert!(matches!(asked(&Digest::EMPTY.to_string().to_uppercase()), Ok(None)));
        assert!(matches!(asked(&Digest::EMPTY.to_string()), Ok(Some(Digest::EMPTY))));
    }

    #[test]
    fn a_digest_comes_back_as_it_went() {
        assert_eq!(blob(Some(&message(Blob::EMPTY)), "it").unwrap(), Blob::EMPTY);
        assert!(blob(None, "it").is_err());
        assert!(blob(Some(&re::Digest { size_bytes: -1, ..message(Blob::EMPTY) }), "it").is_err());
    }

    #[test]
    fn only_sha256_is_spoken() {
        assert!(only_sha256(0).is_ok() && only_sha256(1).is_ok());
        assert!(only_sha256(2).is_err() && only_sha256(9999).is_err());
    }
}

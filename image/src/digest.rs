//! A digest as registries write it: `algorithm:hex`.

use std::fmt;
use std::str::FromStr;

use model::{Digest, Error, Result};

/// An algorithm that we can check (OCI image specification, "Registered Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// What identifies our blobs.
    Sha256,
    /// Another name for the same bytes.
    Sha512,
}

impl Algorithm {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest that somebody else wrote, checked for form. Ordered and compared as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl ContentDigest {
    /// Which algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hexadecimal digits.
    #[must_use]
    pub const fn hex(&self) -> &str {
        &self.hex
    }

    /// The identity of the blob, where this is its SHA-256.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        (self.algorithm == Algorithm::Sha256).then(|| self.hex.parse().ok()).flatten()
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: digest.to_string().into() }
    }
}

impl FromStr for ContentDigest {
    type Err = Error;

    /// `sha256:` and 64, or `sha512:` and 128 lower-case hexadecimal digits. `Malformed`, or `Unsupported` for an
    /// algorithm that nobody here can check.
    fn from_str(text: &str) -> Result<Self> {
        let short: String = text.chars().take(160).collect();
        let (name, hex) = text.split_once(':').ok_or_else(|| {
            Error::malformed(format!("{short:?} is no digest: write sha256: and 64 hexadecimal digits"))
        })?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => {
                let name: String = name.chars().take(40).collect();
                return Err(Error::unsupported(format!(
                    "digests of the algorithm {name:?} cannot be checked here: use sha256 or sha512"
                )));
            }
        };
        let digits = algorithm.hex_digits();
        if hex.len() != digits || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::malformed(format!(
                "{short:?} is no digest: {name}: is followed by {digits} lower-case hexadecimal digits"
            )));
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Meaning;

    #[test]
    fn digests_have_one_spelling() {
        let right = format!("sha256:{}", "a".repeat(64));
        assert_eq!(right.parse::<ContentDigest>().map(|digest| digest.to_string()).ok(), Some(right.clone()));
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<ContentDigest>().is_ok());
        for wrong in ["", "sha256", "sha256:", "sha256:baddigeststring", &right.to_uppercase(), &right[..70]] {
            let meaning = wrong.parse::<ContentDigest>().map_err(|error| error.meaning().clone());
            assert!(matches!(meaning, Err(Meaning::Malformed | Meaning::Unsupported)), "{wrong}");
        }
        let error = "md5:00".parse::<ContentDigest>().expect_err("nobody checks MD5");
        assert!(error.text().contains("md5"), "{error}");
    }
}

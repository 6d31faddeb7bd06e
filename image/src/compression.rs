//! How a layer's tar is compressed, and the media types that say so.

use std::fmt;

use model::{Error, Result};
use serde::{Deserialize, Serialize};

/// A compression of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952; every engine reads it.
    #[default]
    Gzip,
    /// RFC 8878; smaller and faster, engines since about 2020 read it.
    Zstd,
    /// A bare tar.
    None,
}

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

impl Compression {
    /// The media type of such a layer in Docker's schema 2 or in an OCI manifest. Schema 2 never defined zstd: the
    /// type here is the one that containerd and docker read.
    #[must_use]
    pub const fn media_type(self, docker: bool) -> &'static str {
        match (self, docker) {
            (Self::Gzip, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Zstd, true) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (Self::None, true) => DOCKER_LAYER,
            (Self::Gzip, false) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Zstd, false) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::None, false) => OCI_LAYER,
        }
    }

    /// What a layer of this media type is compressed with.
    ///
    /// # Errors
    /// `Malformed` for what is no type of a layer that may be passed on.
    pub fn of_media_type(media_type: &str) -> Result<Self> {
        let suffix = media_type.strip_prefix(OCI_LAYER).or_else(|| media_type.strip_prefix(DOCKER_LAYER));
        match suffix {
            Some("+gzip" | ".gzip") => Ok(Self::Gzip),
            Some("+zstd" | ".zstd") => Ok(Self::Zstd),
            Some("") => Ok(Self::None),
            _ => {
                let short: String = media_type.chars().take(100).collect();
                let gzip = Self::Gzip.media_type(false);
                Err(Error::malformed(format!("{short:?} is no media type of a layer: write {gzip:?} or with +zstd")))
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_go_both_ways() {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            for docker in [true, false] {
                assert_eq!(Compression::of_media_type(compression.media_type(docker)).ok(), Some(compression));
            }
        }
        for wrong in ["", "application/json", "application/vnd.oci.image.layer.v1.tar+bzip2"] {
            assert!(Compression::of_media_type(wrong).is_err(), "{wrong}");
        }
    }
}

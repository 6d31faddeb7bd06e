//! What a registry has: images made for tests.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Registry;

/// Media type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `sha256:` and the digest of these bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An image that a registry has.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its manifest.
    pub manifest: Vec<u8>,
    /// The manifest's digest.
    pub digest: String,
    /// Its configuration.
    pub config: Vec<u8>,
    /// Its layers.
    pub layers: Vec<Vec<u8>>,
}

impl Registry {
    /// Has a blob.
    pub fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        self.state.inner().blobs.insert((repository.into(), digest.clone()), bytes.into());
        digest
    }

    /// Has a manifest, under a tag where one is given.
    pub fn manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let mut inner = self.state.inner();
        inner.manifests.insert((repository.into(), digest.clone()), (media_type.into(), bytes.into()));
        if let Some(tag) = tag {
            inner.tags.insert((repository.into(), tag.into()), digest.clone());
        }
        digest
    }

    /// Has a tag no more.
    pub fn forget(&self, repository: &str, tag: &str) {
        self.state.inner().tags.remove(&(repository.into(), tag.into()));
    }

    /// Has an image for a platform (`os/architecture`) with these layers.
    pub fn image(&self, repository: &str, tag: Option<&str>, platform: &str, layers: &[&[u8]]) -> Image {
        let (os, architecture) = platform.split_once('/').unwrap_or(("linux", platform));
        let ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", digest(layer))).collect();
        let config = format!(
            r#"{{"os":"{os}","architecture":"{architecture}","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        self.blob(repository, config.as_bytes());
        let parts: Vec<_> = layers
            .iter()
            .map(|layer| {
                let digest = self.blob(repository, layer);
                let media_type = "application/vnd.oci.image.layer.v1.tar";
                format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, layer.len())
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
            digest(config.as_bytes()),
            config.len(),
            parts.join(",")
        );
        let digest = self.manifest(repository, tag, MANIFEST, manifest.as_bytes());
        let layers = layers.iter().map(|layer| layer.to_vec()).collect();
        Image { manifest: manifest.into(), digest, config: config.into(), layers }
    }

    /// Has an index of images.
    pub fn index(&self, repository: &str, tag: Option<&str>, images: &[(&str, &Image)]) -> (String, Vec<u8>) {
        let entries: Vec<_> = images
            .iter()
            .map(|(platform, image)| {
                let (os, architecture) = platform.split_once('/').unwrap_or(("linux", platform));
                format!(
                    r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":{},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
                    image.digest,
                    image.manifest.len()
                )
            })
            .collect();
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(","));
        (self.manifest(repository, tag, INDEX, index.as_bytes()), index.into())
    }
}

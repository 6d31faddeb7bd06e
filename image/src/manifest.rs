//! A manifest or index as far as a registry looks into it.

use std::collections::BTreeMap;

use model::{Error, Result};
use serde::Deserialize;

use crate::media::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, is_index, is_nondistributable};
use crate::{ContentDigest, Platform};

/// Most bytes of a manifest. The specification asks for 4 MiB at least.
pub const LIMIT: u64 = 8 << 20;
/// Most descriptors of one manifest: more than 8 MiB of JSON can hold would be some 80,000.
const MOST: usize = 50_000;

/// A pointer to content (image specification, "Content Descriptors").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Which bytes.
    pub digest: ContentDigest,
    /// How many.
    pub size: u64,
    /// Other places to get it from.
    pub urls: Vec<String>,
    /// For an entry of an index: which machine it is for.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// True when a registry need not have the bytes.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        !self.urls.is_empty() || is_nondistributable(&self.media_type)
    }
}

/// Which of the two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A manifest: a config and layers.
    Image,
    /// An index or manifest list.
    Index,
}

/// What a manifest says. Fields that are not here are kept in its bytes and not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its own media type: what it says, else what it was sent as, else what it looks like.
    pub media_type: String,
    /// Its form.
    pub form: Form,
    /// What it was made as, where it says so.
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Option<Descriptor>,
    /// The layers; of an index, none.
    pub layers: Vec<Descriptor>,
    /// The manifests of an index.
    pub manifests: Vec<Descriptor>,
    /// What it is about.
    pub subject: Option<Descriptor>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: Option<i64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Pointed>,
    layers: Option<Vec<Pointed>>,
    // An ORAS artifact manifest and the OCI artifact manifest of 1.1's release candidates.
    blobs: Option<Vec<Pointed>>,
    manifests: Option<Vec<Pointed>>,
    subject: Option<Pointed>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pointed {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

impl Pointed {
    fn read(self) -> Result<Descriptor> {
        if self.size > i64::MAX as u64 {
            return Err(Error::malformed("a descriptor's size is beyond what any blob can have"));
        }
        let digest = self.digest.parse()?;
        let urls = self.urls.unwrap_or_default();
        Ok(Descriptor { media_type: self.media_type, digest, size: self.size, urls, platform: self.platform })
    }
}

fn all(list: Option<Vec<Pointed>>) -> Result<Vec<Descriptor>> {
    let list = list.unwrap_or_default();
    if list.len() > MOST {
        return Err(Error::too_big(format!("a manifest may list at most {MOST} blobs")));
    }
    list.into_iter().map(Pointed::read).collect()
}

impl Manifest {
    /// Reads a manifest that came with this media type. Unknown media types are taken as what they look like.
    ///
    /// # Errors
    /// `Malformed` for what is no JSON object or has descriptors without a right digest and size, and for Docker's
    /// schema 1; `TooBig`.
    pub fn read(bytes: &[u8], sent_as: Option<&str>) -> Result<Self> {
        if bytes.len() as u64 > LIMIT {
            return Err(Error::too_big(format!("a manifest has at most {LIMIT} bytes")));
        }
        let written: Written = serde_json::from_slice(bytes)
            .map_err(|cause| Error::malformed(format!("the manifest is not understood: {cause}")))?;
        if written.schema_version == Some(1) && written.config.is_none() && written.manifests.is_none() {
            return Err(Error::malformed("Docker's schema 1 is not taken: push with a client of the last ten years"));
        }
        let sent_as = sent_as.map(|sent| sent.split(';').next().unwrap_or_default().trim());
        let generic =
            |sent: &&str| !sent.is_empty() && *sent != "application/json" && *sent != "application/octet-stream";
        let listed = written.manifests.is_some() && written.config.is_none() && written.layers.is_none();
        let looks = if listed { OCI_INDEX } else { OCI_MANIFEST };
        let media_type = written.media_type.filter(|said| !said.is_empty());
        let media_type = media_type.unwrap_or_else(|| sent_as.filter(generic).unwrap_or(looks).to_owned());
        let form = match media_type.as_str() {
            known if is_index(known) => Form::Index,
            OCI_MANIFEST | DOCKER_MANIFEST => Form::Image,
            _ if listed => Form::Index,
            _ => Form::Image,
        };
        let mut layers = all(written.layers)?;
        layers.extend(all(written.blobs)?);
        Ok(Self {
            media_type,
            form,
            artifact_type: written.artifact_type.filter(|kind| !kind.is_empty()),
            config: written.config.map(Pointed::read).transpose()?,
            layers: if form == Form::Image { layers } else { Vec::new() },
            manifests: if form == Form::Index { all(written.manifests)? } else { Vec::new() },
            subject: written.subject.map(Pointed::read).transpose()?,
            annotations: written.annotations.unwrap_or_default(),
        })
    }

    /// The artifact type that a referrers list shows: its own, else for a manifest its config's media type
    /// (distribution specification, "Listing Referrers").
    #[must_use]
    pub fn shown_type(&self) -> Option<&str> {
        let config = self.config.as_ref().filter(|_| self.form == Form::Image);
        self.artifact_type.as_deref().or_else(|| config.map(|config| config.media_type.as_str()))
    }

    /// What it needs of blobs: config and layers, without those that may be elsewhere.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(self.layers.iter().filter(|layer| !layer.is_elsewhere()))
    }

    /// True for Docker's own media types.
    #[must_use]
    pub fn is_docker(&self) -> bool {
        matches!(self.media_type.as_str(), DOCKER_LIST | DOCKER_MANIFEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn a_manifest_says_what_it_needs() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{}","size":2}},"layers":[
            {{"mediaType":"l","digest":"{}","size":3}},{{"mediaType":"l","digest":"{}","size":4,"urls":["https://x"]}}],"x":1}}"#,
            digest('a'),
            digest('b'),
            digest('c')
        );
        let read = Manifest::read(text.as_bytes(), Some("application/json; charset=utf-8")).expect("a manifest");
        assert_eq!((read.media_type.as_str(), read.form), (OCI_MANIFEST, Form::Image));
        assert_eq!(read.blobs().map(|blob| blob.size).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(read.shown_type(), Some("c"));
        let docker = Manifest::read(text.as_bytes(), Some(DOCKER_MANIFEST)).expect("a manifest");
        assert!(docker.is_docker());
    }

    #[test]
    fn an_index_is_known_by_what_it_lists() {
        let text = format!(r#"{{"manifests":[{{"digest":"{}","size":3}}]}}"#, digest('b'));
        let read = Manifest::read(text.as_bytes(), None).expect("an index");
        assert_eq!((read.form, read.manifests.len()), (Form::Index, 1));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let huge = format!(r#"{{"config":{{"digest":"{}","size":9223372036854775808}}}}"#, digest('a'));
        let deep = "[".repeat(100_000);
        for wrong in [
            "",
            "[]",
            "{\"layers\":3}",
            r#"{"config":{"digest":"x","size":1}}"#,
            &huge,
            &deep,
            r#"{"schemaVersion":1}"#,
        ] {
            assert!(Manifest::read(wrong.as_bytes(), None).is_err(), "{wrong:.80}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_an_error(bytes: Vec<u8>) {
            let _ = Manifest::read(&bytes, None);
        }
    }
}

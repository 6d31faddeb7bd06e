//! A recipe: what augmentation adds to an image. Wave calls it `containerConfig`; clients send it as JSON.

use std::collections::BTreeMap;

use model::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Compression, ContentDigest};

/// Most layers that a recipe may add: engines take images of some 125 layers, and the base has its own.
const MOST_LAYERS: usize = 100;
/// Most texts of one list (environment, entry point, command, labels).
const MOST_TEXTS: usize = 1_000;
/// Most bytes of all texts but locations: what an engine passes to a process is limited to some megabytes.
const MOST_TEXT: usize = 1 << 20;
/// Longest location in bytes; a `data:` location carries a layer of some 10 MiB in base64 (Wave, section 3.3).
pub const LONGEST_LOCATION: usize = 14_000_000;
/// The variable that tells a launcher which entry point the image had.
pub const ENTRY_CHAIN: &str = "WAVE_ENTRY_CHAIN";

/// What to add to an image, or to put in the place of what it has. Absent, null and empty mean the same: leave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recipe {
    /// The new entry point.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The new command; without one the image's own stays, even under a new entry point.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Variables, `NAME=VALUE`. A name that is there is replaced in its place.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The new working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Layers to put on top, the last one uppermost.
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<ExtraLayer>,
    /// Labels.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A layer to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtraLayer {
    /// Where its bytes are: `https:`, `data:`, a registry's blob, a file.
    #[serde(deserialize_with = "or_default")]
    pub location: String,
    /// SHA-256 of the compressed bytes, with `sha256:`.
    #[serde(deserialize_with = "or_default")]
    pub gzip_digest: String,
    /// How many compressed bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip_size: Option<u64>,
    /// SHA-256 of the tar inside, with `sha256:`: the image's diff_id.
    #[serde(deserialize_with = "or_default")]
    pub tar_digest: String,
    /// A client's hint to its own fingerprint. It means nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_hashing: Option<bool>,
    /// What the bytes are, where it is not a tar in gzip. Our own field; it may be Docker's or OCI's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// Takes null for what is not there.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

fn wrong(field: &str, why: impl AsRef<str>) -> Error {
    Error::malformed(format!("{field}: {}", why.as_ref()))
}

impl Recipe {
    /// True when it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let working_dir = self.working_dir.as_deref().unwrap_or_default();
        self.entrypoint.is_empty()
            && self.cmd.is_empty()
            && self.env.is_empty()
            && working_dir.is_empty()
            && self.layers.is_empty()
            && self.labels.is_empty()
    }

    /// Whether it can be applied to an image at all.
    ///
    /// # Errors
    /// `Malformed` or `TooBig`; the text begins with the field, such as `layers[0].gzipDigest`.
    pub fn check(&self) -> Result<()> {
        let working_dir = self.working_dir.as_deref().unwrap_or_default();
        let texts = self.entrypoint.iter().chain(&self.cmd).chain(&self.env);
        let texts = texts.chain(self.labels.keys()).chain(self.labels.values()).map(String::as_str);
        if texts.chain([working_dir]).map(str::len).sum::<usize>() > MOST_TEXT {
            return Err(Error::too_big(format!("containerConfig: its texts may have at most {MOST_TEXT} bytes")));
        }
        for (field, list) in [("entrypoint", &self.entrypoint), ("cmd", &self.cmd), ("env", &self.env)] {
            if list.len() > MOST_TEXTS {
                return Err(Error::too_big(format!("{field}: at most {MOST_TEXTS} are taken")));
            }
            if let Some(at) = list.iter().position(|text| text.contains('\0')) {
                return Err(wrong(&format!("{field}[{at}]"), "a text for a process cannot hold the character NUL"));
            }
        }
        for (at, variable) in self.env.iter().enumerate() {
            if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                return Err(wrong(&format!("env[{at}]"), "write NAME=VALUE"));
            }
        }
        if !working_dir.is_empty() && !working_dir.starts_with('/') || working_dir.contains('\0') {
            return Err(wrong("workingDir", "write an absolute path, such as /work"));
        }
        if self.labels.len() > MOST_TEXTS || self.labels.contains_key("") {
            return Err(wrong("labels", format!("at most {MOST_TEXTS} are taken, each with a name")));
        }
        if self.layers.len() > MOST_LAYERS {
            return Err(Error::too_big(format!(
                "layers: at most {MOST_LAYERS} can be added to an image: pack them into fewer"
            )));
        }
        self.layers.iter().enumerate().try_for_each(|(at, layer)| layer.check(&format!("layers[{at}]")))
    }

    /// A digest that equal recipes share, however they were written: absent, null and empty are one, and hints that
    /// mean nothing here are left out.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let mut hash = Sha256::new();
        let mut put = |text: &str| {
            // With its length before it, no text can run into the next.
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        for (field, list) in [("entrypoint", &self.entrypoint), ("cmd", &self.cmd), ("env", &self.env)] {
            put(field);
            put(&list.len().to_string());
            list.iter().for_each(|text| put(text));
        }
        put("workingDir");
        put(self.working_dir.as_deref().unwrap_or_default());
        put("labels");
        put(&self.labels.len().to_string());
        for (name, value) in &self.labels {
            put(name);
            put(value);
        }
        put("layers");
        for layer in &self.layers {
            put(&layer.location);
            put(&layer.gzip_digest);
            put(&layer.gzip_size.map(|size| size.to_string()).unwrap_or_default());
            put(&layer.tar_digest);
            let compression =
                layer.compression().map_or_else(|_| layer.media_type.clone(), |known| Some(known.to_string()));
            put(&compression.unwrap_or_default());
        }
        Digest::new(hash.finalize().into())
    }

    /// The layers that belong to an image of this architecture: those of a file named `fusion-<arch>.tar.gz` only to
    /// that one (Wave, section 2.1), all others to each.
    pub(crate) fn layers_for(&self, architecture: &str) -> impl Iterator<Item = &ExtraLayer> {
        let architecture = known_as(architecture).to_owned();
        self.layers.iter().filter(move |layer| {
            let file = layer.location.split(['?', '#']).next().unwrap_or_default();
            let meant = file.rsplit('/').next().and_then(|file| file.strip_prefix("fusion-"));
            let meant = meant.and_then(|rest| rest.strip_suffix(".tar.gz"));
            architecture.is_empty() || meant.is_none_or(|meant| known_as(meant) == architecture)
        })
    }
}

fn known_as(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl ExtraLayer {
    /// How its tar is compressed.
    ///
    /// # Errors
    /// `Malformed` for a media type that is no layer's.
    pub fn compression(&self) -> Result<Compression> {
        match self.media_type.as_deref() {
            None | Some("") => Ok(Compression::Gzip),
            Some(media_type) => Compression::of_media_type(media_type),
        }
    }

    /// Its compressed bytes: their digest and how many.
    ///
    /// # Errors
    /// `Malformed`; the text begins with the field.
    pub fn blob(&self) -> Result<model::Blob> {
        let digest = digest(&self.gzip_digest, "gzipDigest")?;
        let size = self.gzip_size.ok_or_else(|| wrong("gzipSize", "say how many bytes the compressed layer has"))?;
        Ok(model::Blob { digest, size })
    }

    fn check(&self, at: &str) -> Result<()> {
        if self.location.is_empty() {
            return Err(wrong(&format!("{at}.location"), "say where the layer is"));
        }
        if self.location.len() > LONGEST_LOCATION {
            let why = format!("{at}.location: at most {LONGEST_LOCATION} characters are taken: give a URL instead");
            return Err(Error::too_big(why));
        }
        digest(&self.gzip_digest, &format!("{at}.gzipDigest"))?;
        digest(&self.tar_digest, &format!("{at}.tarDigest"))?;
        match self.gzip_size {
            Some(1..=0x7fff_ffff_ffff_ffff) => {}
            _ => return Err(wrong(&format!("{at}.gzipSize"), "say how many bytes the compressed layer has")),
        }
        self.compression().map(drop).map_err(|error| wrong(&format!("{at}.mediaType"), error.text()))
    }
}

fn digest(text: &str, field: &str) -> Result<Digest> {
    let read = text.parse::<ContentDigest>().map_err(|error| wrong(field, error.text()))?;
    read.sha256().ok_or_else(|| wrong(field, "a layer is named by its SHA-256: write sha256: and 64 digits"))
}

//! Augmentation: an image with layers, environment and entry point of a [`Recipe`] on top, as new documents.
//!
//! A pure function of bytes: the same base and the same recipe give the same digests, on any machine, at any time. So
//! results need not be kept, and hubs need not agree. The documents differ from the base's only where the recipe says
//! so: order of keys, unknown fields and the spelling of numbers stay (`json.rs`), white space goes.
//!
//! An index is made anew after its manifests: [`wanted`] says which of them to augment, [`augment_index`] puts the
//! results in. An index inside an index is augmented first, and then put in like a manifest.

mod config;
mod index;
mod manifest;

use bytes::Bytes;
use model::{Blob, Digest, Error, Result};
use sha2::{Digest as _, Sha256, Sha512};

pub use self::index::{Replaced, augment_index, wanted};
use crate::manifest::{LIMIT, Manifest};
use crate::{Algorithm, Descriptor, Form, Platform, Recipe};

/// The documents of an image as its registry has them.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// The manifest.
    pub manifest: &'a [u8],
    /// The media type that it was sent as; what the manifest says of itself goes first.
    pub sent_as: Option<&'a str>,
    /// The configuration that the manifest points to.
    pub config: &'a [u8],
}

/// A document with its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Bytes,
    /// What it is.
    pub media_type: String,
    /// Its SHA-256 and size.
    pub blob: Blob,
}

impl Document {
    fn new(bytes: impl Into<Bytes>, media_type: &str) -> Self {
        let bytes = bytes.into();
        let blob = Blob { digest: Digest::new(Sha256::digest(&bytes).into()), size: bytes.len() as u64 };
        Self { bytes, media_type: media_type.to_owned(), blob }
    }
}

/// An augmented image. Its layers are the base's and then those of the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Augmented {
    /// The new manifest.
    pub manifest: Document,
    /// The new configuration.
    pub config: Document,
}

/// Puts the recipe on top of an image. An empty recipe gives the base's own bytes and digests.
///
/// `platform` is what was asked for; it counts only for images that do not say what they are for.
///
/// # Errors
/// Each text begins with the field that is wrong. `Malformed` for a recipe or documents that make no sense, `Mismatch`
/// if the configuration is not the one that the manifest names, `TooBig`, and `Unsupported` for what is no image:
/// artifacts, Singularity images, an index (which is [`augment_index`]'s).
pub fn augment(base: &Base<'_>, recipe: &Recipe, platform: Option<&Platform>) -> Result<Augmented> {
    recipe.check()?;
    let read = in_document(Manifest::read(base.manifest, base.sent_as), "manifest")?;
    if read.form == Form::Index {
        return Err(Error::unsupported("manifest: it is an index: augment its manifests, then the index"));
    }
    let Some(pointer) = &read.config else {
        return Err(Error::unsupported("manifest: it has no config, so that it is no image and cannot be augmented"));
    };
    if base.config.len() as u64 > LIMIT {
        return Err(Error::too_big(format!("config: an image's configuration may have at most {LIMIT} bytes")));
    }
    verify(pointer, base.config)?;
    let config_type = pointer.media_type.as_str();
    let unchanged = || Augmented {
        manifest: Document::new(Bytes::copy_from_slice(base.manifest), &read.media_type),
        config: Document::new(Bytes::copy_from_slice(base.config), config_type),
    };
    if recipe.is_empty() {
        return Ok(unchanged());
    }
    let config = config::Config::read(base.config, &read, platform)?;
    let recipe = Recipe { layers: recipe.layers_for(config.architecture()).cloned().collect(), ..recipe.clone() };
    if recipe.is_empty() {
        return Ok(unchanged());
    }
    let config = Document::new(bounded(config.apply(&recipe)?, "config")?, config_type);
    let manifest = bounded(manifest::apply(base.manifest, &read, &recipe, &config.blob)?, "manifest")?;
    Ok(Augmented { manifest: Document::new(manifest, &read.media_type), config })
}

/// A result that nobody else would read is none.
fn bounded(bytes: Vec<u8>, document: &str) -> Result<Vec<u8>> {
    if bytes.len() as u64 > LIMIT {
        return Err(Error::too_big(format!(
            "{document}: it would have {} bytes, and {LIMIT} are the most",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// Prefixes an error with the document in which it is.
fn in_document<T>(result: Result<T>, document: &str) -> Result<T> {
    result.map_err(|error| Error::new(error.meaning().clone(), format!("{document}: {}", error.text())))
}

/// The bytes are the ones that the descriptor names.
fn verify(pointer: &Descriptor, bytes: &[u8]) -> Result<()> {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let found = match pointer.digest.algorithm() {
        Algorithm::Sha256 => hex(&Sha256::digest(bytes)),
        Algorithm::Sha512 => hex(&Sha512::digest(bytes)),
    };
    if found != pointer.digest.hex() || pointer.size != bytes.len() as u64 {
        return Err(Error::mismatch(format!(
            "config: the manifest names {} with {} bytes, and these are {} bytes with the digest {found}",
            pointer.digest,
            pointer.size,
            bytes.len()
        )));
    }
    Ok(())
}

//! The manifest of an augmented image.

use model::{Blob, Result};

use super::in_document;
use crate::json::{Object, Raw, raw};
use crate::manifest::Manifest;
use crate::{ContentDigest, Recipe};

/// Points a descriptor to other bytes. What it said of the old ones beside (`data`, the bytes themselves; `urls`, where
/// else they are) goes.
pub(super) fn point(descriptor: &mut Object, to: &Blob) -> Result<()> {
    descriptor.remove(&["data", "urls"]);
    descriptor.set("digest", &ContentDigest::from(to.digest).to_string())?;
    descriptor.set("size", &to.size)
}

/// The new manifest: another config, and the recipe's layers last.
pub(super) fn apply(bytes: &[u8], read: &Manifest, recipe: &Recipe, config: &Blob) -> Result<Vec<u8>> {
    let written = || {
        let mut document = Object::read(bytes, "it")?;
        let mut pointer: Object = document.typed("config", "config")?.unwrap_or_default();
        point(&mut pointer, config)?;
        document.set("config", &pointer)?;
        if !recipe.layers.is_empty() {
            let mut layers: Vec<Raw> = document.typed("layers", "layers")?.unwrap_or_default();
            for layer in &recipe.layers {
                let blob = layer.blob()?;
                let mut descriptor = Object::default();
                descriptor.set("mediaType", &layer.compression()?.media_type(read.is_docker()))?;
                descriptor.set("size", &blob.size)?;
                descriptor.set("digest", &ContentDigest::from(blob.digest).to_string())?;
                layers.push(raw(&descriptor)?);
            }
            document.set("layers", &layers)?;
        }
        document.write()
    };
    in_document(written(), "manifest")
}

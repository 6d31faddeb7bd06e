//! The index of augmented images.

use model::{Blob, Error, Result};

use super::manifest::point;
use super::{Document, bounded, in_document};
use crate::json::{Object, Raw, raw};
use crate::manifest::Manifest;
use crate::{ContentDigest, Descriptor, Form, Platform, is_index};

/// Most entries of an index that are augmented: each is fetched. Real ones have some dozens.
const MOST: usize = 1_000;

/// An entry's digest before, and what it is to point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// As the index has it.
    pub old: ContentDigest,
    /// The augmented manifest or inner index.
    pub new: Blob,
}

/// Which entries of an index to augment for this platform: images that are for it, and inner indexes, which are to be
/// looked into. Without a platform: the images of all. Attestations and other artifacts never are.
///
/// # Errors
/// `Malformed` for what is no index, `TooBig`, and `Absent` where nothing fits; the text then lists the platforms that there are.
pub fn wanted(index: &[u8], sent_as: Option<&str>, platform: Option<&Platform>) -> Result<Vec<Descriptor>> {
    let read = index_of(index, sent_as)?;
    let is_image = |entry: &Descriptor| entry.platform.as_ref().is_none_or(|of| of.os != "unknown");
    let fits = |entry: &Descriptor| match (&entry.platform, platform) {
        // An inner index says for itself what it has, image by image.
        _ if is_index(&entry.media_type) => true,
        (_, None) => true,
        (Some(of), Some(asked)) => of.is(asked),
        // An entry that does not say is known by its configuration.
        (None, Some(_)) => false,
    };
    let images: Vec<_> = read.manifests.into_iter().filter(is_image).collect();
    let found: Vec<_> = images.iter().filter(|entry| fits(entry)).cloned().collect();
    if found.len() > MOST {
        return Err(Error::too_big(format!(
            "manifests: at most {MOST} of an index are augmented: ask for one platform"
        )));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let mut there: Vec<_> =
        images.iter().filter_map(|entry| entry.platform.as_ref()).map(ToString::to_string).collect();
    there.sort_unstable();
    there.dedup();
    let asked = platform.map(ToString::to_string).unwrap_or_default();
    Err(Error::absent(format!("Cannot find matching platform '{asked}': the image is for {}", there.join(", "))))
}

/// The index with entries that point to augmented manifests. All entries stay, in their order, with all that they say;
/// an attestation goes on naming the image that it was made for.
///
/// # Errors
/// `Malformed` for what is no index; `Absent` if one of the replaced digests is not in it.
pub fn augment_index(index: &[u8], sent_as: Option<&str>, replaced: &[Replaced]) -> Result<Document> {
    let read = index_of(index, sent_as)?;
    if let Some(missing) =
        replaced.iter().find(|replaced| !read.manifests.iter().any(|entry| entry.digest == replaced.old))
    {
        return Err(Error::absent(format!("manifests: {} is not in this index", missing.old)));
    }
    if replaced.iter().all(|replaced| replaced.old.sha256() == Some(replaced.new.digest)) {
        return Ok(Document::new(bytes::Bytes::copy_from_slice(index), &read.media_type));
    }
    let written = || {
        let mut document = Object::read(index, "it")?;
        let mut entries: Vec<Raw> = document.typed("manifests", "manifests")?.unwrap_or_default();
        for (raw_entry, entry) in entries.iter_mut().zip(&read.manifests) {
            // An index may name one manifest more than once; each of them is meant.
            let Some(replaced) = replaced.iter().find(|replaced| replaced.old == entry.digest) else { continue };
            let mut changed = Object::read(raw_entry.get().as_bytes(), "manifests")?;
            point(&mut changed, &replaced.new)?;
            *raw_entry = raw(&changed)?;
        }
        document.set("manifests", &entries)?;
        document.write()
    };
    Ok(Document::new(bounded(in_document(written(), "index")?, "index")?, &read.media_type))
}

fn index_of(bytes: &[u8], sent_as: Option<&str>) -> Result<Manifest> {
    let read = in_document(Manifest::read(bytes, sent_as), "index")?;
    match read.form {
        Form::Index => Ok(read),
        Form::Image => Err(Error::malformed("index: it is the manifest of one image")),
    }
}

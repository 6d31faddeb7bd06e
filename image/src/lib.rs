//! Container images as data: digests, references, manifests, and the Names under which a registry keeps them. Pure.
//!
//! Follows the OCI image and distribution specifications 1.1 and Docker's schema 2. A manifest's bytes are never
//! rewritten by what reads them here: types are for looking, bytes are for keeping. Augmentation makes new documents.

mod augment;
mod compression;
mod digest;
mod json;
mod kinds;
mod layer;
mod layer_file;
mod manifest;
mod media;
mod name;
mod platform;
mod recipe;
mod reference;

pub use augment::{Augmented, Base, Document, Replaced, augment, augment_index, wanted};
pub use compression::Compression;
pub use digest::{Algorithm, ContentDigest};
pub use kinds::{INDEX, MANIFEST, MIRRORED, SPARSE, kinds};
pub use layer::{Member, Node, Packed, Packing, pack};
pub use layer_file::LayerFile;
pub use manifest::{Descriptor, Form, LIMIT, Manifest};
pub use media::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, accepted, is_index, is_nondistributable};
pub use name::{
    Entry, Item, at_time, blob, history, history_of, manifest, marker, prefix, referrer, referrers, split, tag, tags,
};
pub use platform::Platform;
pub use recipe::{ENTRY_CHAIN, ExtraLayer, LONGEST_LOCATION, Recipe};
pub use reference::{Reference, Target, is_host, is_repository, is_tag};

//! What manifests link to: the kinds 0x0201 to 0x0204.
//!
//! Links are by SHA-256. What a manifest names by another digest is held by whoever binds it, which knows the blob
//! (`Pointer::also`).

use model::{Blob, Kind, KindId, Link, Need, Result};

use crate::Descriptor;
use crate::manifest::{LIMIT, Manifest};

/// A manifest: its config and layers must be there; its subject, and layers that may be elsewhere, may.
pub const MANIFEST: KindId = KindId(0x0201);
/// An index whose manifests must be there, with all that they need.
pub const INDEX: KindId = KindId(0x0202);
/// A manifest or index of which any part may be elsewhere.
pub const SPARSE: KindId = KindId(0x0203);
/// An index of an upstream: its manifests are promised, and come when somebody asks for them.
pub const MIRRORED: KindId = KindId(0x0204);

/// The kinds of this crate.
#[must_use]
pub fn kinds() -> Vec<Box<dyn Kind>> {
    [MANIFEST, INDEX, SPARSE, MIRRORED].map(|id| Box::new(Document(id)) as Box<dyn Kind>).into()
}

#[derive(Debug)]
struct Document(KindId);

impl Kind for Document {
    fn id(&self) -> KindId {
        self.0
    }

    fn limit(&self) -> u64 {
        LIMIT
    }

    fn links(&self, bytes: &[u8]) -> Result<Vec<Link>> {
        let manifest = Manifest::read(bytes, None)?;
        let link = |descriptor: &Descriptor, kind, need| {
            let blob = Blob { digest: descriptor.digest.sha256()?, size: descriptor.size };
            Some(Link { blob, kind, need })
        };
        let mut links: Vec<Link> = match self.0 {
            MANIFEST => {
                let elsewhere = manifest.layers.iter().filter(|layer| layer.is_elsewhere());
                let may = elsewhere.filter_map(|layer| link(layer, KindId::BYTES, Need::May));
                manifest.blobs().filter_map(|blob| link(blob, KindId::BYTES, Need::Must)).chain(may).collect()
            }
            INDEX => manifest.manifests.iter().filter_map(|child| link(child, node(child), Need::Must)).collect(),
            SPARSE => {
                let blobs = manifest
                    .config
                    .iter()
                    .chain(&manifest.layers)
                    .filter_map(|blob| link(blob, KindId::BYTES, Need::May));
                blobs.chain(manifest.manifests.iter().filter_map(|child| link(child, node(child), Need::May))).collect()
            }
            _ => manifest.manifests.iter().filter_map(|child| link(child, KindId::BYTES, Need::Must)).collect(),
        };
        links.extend(manifest.subject.iter().filter_map(|subject| link(subject, KindId::BYTES, Need::May)));
        Ok(links)
    }
}

/// What an entry of an index is: the entry's media type says so; one that says nothing is plain bytes.
fn node(child: &Descriptor) -> KindId {
    match child.media_type.as_str() {
        media_type if crate::is_index(media_type) => INDEX,
        crate::OCI_MANIFEST | crate::DOCKER_MANIFEST => MANIFEST,
        _ => KindId::BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_needs_what_it_should() {
        let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
        let manifest = format!(
            r#"{{"config":{{"mediaType":"c","digest":"{}","size":2}},"layers":[{{"digest":"{}","size":3,"urls":["u"]}}],
            "subject":{{"digest":"{}","size":4}}}}"#,
            digest('a'),
            digest('b'),
            digest('c')
        );
        let index = format!(
            r#"{{"manifests":[{{"mediaType":"{}","digest":"{}","size":9}}]}}"#,
            crate::OCI_MANIFEST,
            digest('d')
        );
        let found = |id: KindId, text: &str| {
            let links = Document(id).links(text.as_bytes()).expect("links");
            links.into_iter().map(|link| (link.blob.size, link.kind, link.need)).collect::<Vec<_>>()
        };
        let bytes = KindId::BYTES;
        assert_eq!(found(MANIFEST, &manifest), [(2, bytes, Need::Must), (3, bytes, Need::May), (4, bytes, Need::May)]);
        assert_eq!(found(INDEX, &index), [(9, MANIFEST, Need::Must)]);
        assert_eq!(found(SPARSE, &index), [(9, MANIFEST, Need::May)]);
        assert_eq!(found(MIRRORED, &index), [(9, bytes, Need::Must)]);
    }
}

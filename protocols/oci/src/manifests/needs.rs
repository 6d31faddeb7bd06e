//! Whether a repository has what a manifest names. The kernel asks whether the namespace has it; that a repository does
//! is what keeps one from reading another's blobs by naming them.

use image::{Descriptor, Form, Manifest};
use model::{Error, KindId, Link, Meaning, Name, NameRow, Need, Result};

use crate::call::Call;
use crate::place::Place;

/// Names of one look.
const TOGETHER: usize = 500;

/// What a manifest is, and what it holds beside what its bytes link to by SHA-256.
#[derive(Debug)]
pub(crate) struct Needs {
    pub(crate) kind: KindId,
    pub(crate) also: Vec<Link>,
}

/// Looks for all that a manifest names.
///
/// # Errors
/// `Incomplete`, `Malformed` when a size is not the blob's.
pub(crate) async fn look(call: &Call, place: &Place, manifest: &Manifest) -> Result<Needs> {
    let mut also = Vec::new();
    let mut whole = true;
    let kind = match manifest.form {
        Form::Image => {
            let wanted: Vec<&Descriptor> = manifest.blobs().collect();
            for (descriptor, row) in found(place, &wanted, |one| place.blob(&one.digest)).await? {
                match row {
                    Some(row) => also.push(Link::must(row.pointer.blob, KindId::BYTES)),
                    None if call.settings.sparse => whole = false,
                    None => return Err(missing(descriptor)),
                }
            }
            image::MANIFEST
        }
        Form::Index => {
            let wanted: Vec<&Descriptor> = manifest.manifests.iter().collect();
            let name = |one: &Descriptor| image::manifest(&place.repository, &one.digest);
            for (descriptor, row) in found(place, &wanted, name).await? {
                match row {
                    Some(row) => {
                        // What is below something sparse may be missing, too.
                        whole &= row.pointer.kind != image::SPARSE;
                        // What the entry's media type or digest does not tell the kernel.
                        also.push(Link::must(row.pointer.blob, row.pointer.kind));
                        also.extend(row.pointer.also.iter().filter(|link| link.need == Need::Must));
                    }
                    None if call.settings.sparse => whole = false,
                    None => return Err(missing(descriptor)),
                }
            }
            image::INDEX
        }
    };
    let kind = if whole { kind } else { image::SPARSE };
    if whole && manifest.form == Form::Image && manifest.blobs().all(|blob| blob.digest.sha256().is_some()) {
        // Its bytes link to all of them by the digest that the kernel knows.
        also.clear();
    }
    also.sort_unstable();
    also.dedup();
    Ok(Needs { kind, also })
}

async fn found<'a>(
    place: &Place,
    wanted: &[&'a Descriptor],
    name: impl Fn(&Descriptor) -> Result<Name>,
) -> Result<Vec<(&'a Descriptor, Option<NameRow>)>> {
    let mut rows = Vec::with_capacity(wanted.len());
    for part in wanted.chunks(TOGETHER) {
        let names: Vec<Name> = part.iter().map(|one| name(one)).collect::<Result<_>>()?;
        rows.extend(part.iter().copied().zip(place.space.find_all(&names).await?));
    }
    for (descriptor, row) in &rows {
        if let Some(row) = row
            && row.pointer.blob.size != descriptor.size
        {
            let (digest, says, is) = (&descriptor.digest, descriptor.size, row.pointer.blob.size);
            return Err(Error::malformed(format!("the manifest says that {digest} has {says} bytes, and it has {is}")));
        }
    }
    Ok(rows)
}

fn missing(descriptor: &Descriptor) -> Error {
    let digest = &descriptor.digest;
    let text = format!("{digest}, which the manifest names, is not in this repository: push it first");
    Error::new(Meaning::Incomplete(digest.sha256().into_iter().collect()), text)
}

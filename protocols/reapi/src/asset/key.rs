//! What identifies an asset: its form, its URI and its qualifiers.

use bazel_remote_apis::build::bazel::remote::asset::v1::Qualifier;
use bytes::Bytes;
use model::{Digest, Error, Name, Pointer, Result};
use sha2::{Digest as _, Sha256};

/// Whether it was pushed as a blob or as a directory: the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Blob,
    Directory,
}

/// What identifies an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// As the client wrote it.
    pub(super) uri: String,
    /// `asset/<hex of the SHA-256 of the note>`.
    pub(super) name: Name,
    /// The canonical key. The form and then, each as `<bytes>:<text>,`, the URI and the names and values of the
    /// qualifiers in order: no two keys read the same, and people can read them.
    pub(super) note: Bytes,
}

impl Key {
    /// # Errors
    /// `Malformed` when the URI is empty, or the key is longer than a note can be.
    pub(super) fn new(form: Form, uri: String, qualifiers: &[Qualifier]) -> Result<Self> {
        if uri.is_empty() {
            return Err(Error::malformed("a URI is empty"));
        }
        let mut qualifiers: Vec<_> = qualifiers.iter().map(|qualifier| (&qualifier.name, &qualifier.value)).collect();
        qualifiers.sort_unstable();
        let texts = qualifiers.into_iter().flat_map(|(name, value)| [name, value]);
        let mut note = match form {
            Form::Blob => "blob,".to_owned(),
            Form::Directory => "directory,".to_owned(),
        };
        for text in [&uri].into_iter().chain(texts) {
            note += &format!("{}:{text},", text.len());
        }
        if note.len() > Pointer::NOTE_LIMIT {
            let limit = Pointer::NOTE_LIMIT;
            return Err(Error::malformed(format!("a URI with its qualifiers is longer than {limit} bytes")));
        }
        let digest = Digest::new(Sha256::digest(&note).into());
        Ok(Self { uri, name: Name::new(format!("asset/{digest}"))?, note: note.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(form: Form, uri: &str, qualifiers: &[(&str, &str)]) -> Result<Key> {
        let qualifier = |&(name, value): &(&str, &str)| Qualifier { name: name.into(), value: value.into() };
        Key::new(form, uri.into(), &qualifiers.iter().map(qualifier).collect::<Vec<_>>())
    }

    #[test]
    fn the_key_is_readable_and_stays_as_it_is() {
        let key = key(Form::Blob, "urn:x", &[("b", "2"), ("a", "é")]).unwrap();
        assert_eq!(key.note, "blob,5:urn:x,1:a,2:é,1:b,1:2,");
        // Names are stored: this one must be the same for ever.
        assert_eq!(key.name.as_str(), "asset/98eb20478fcbf5bde42608447280902971d1a95361ffb561b890cc6835274ac0");
    }

    #[test]
    fn form_and_qualifiers_count_and_their_order_does_not() {
        let plain = key(Form::Blob, "u", &[]).unwrap();
        let two = key(Form::Blob, "u", &[("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(two, key(Form::Blob, "u", &[("b", "2"), ("a", "1")]).unwrap());
        assert_ne!(plain.name, two.name);
        assert_ne!(plain.name, key(Form::Directory, "u", &[]).unwrap().name);
        assert_ne!(key(Form::Blob, "u", &[("a", "1,1:b")]).unwrap().name, two.name);
    }

    #[test]
    fn a_uri_is_neither_empty_nor_endless() {
        assert!(key(Form::Blob, "", &[]).is_err());
        assert!(key(Form::Blob, &"x".repeat(4000), &[]).is_ok());
        assert!(key(Form::Blob, &"x".repeat(100_000), &[]).is_err());
    }

    proptest! {
        #[test]
        fn different_assets_have_different_keys(
            one in ("[0-9:,]{1,6}", prop::collection::vec(("[0-9:,]{0,3}", "[0-9:,]{0,3}"), 0..3)),
            two in ("[0-9:,]{1,6}", prop::collection::vec(("[0-9:,]{0,3}", "[0-9:,]{0,3}"), 0..3)),
        ) {
            let note = |(uri, qualifiers): &(String, Vec<(String, String)>)| {
                let qualifiers: Vec<_> = qualifiers.iter().map(|(name, value)| (&**name, &**value)).collect();
                key(Form::Blob, uri, &qualifiers).unwrap().note
            };
            let sorted = |(uri, qualifiers): &(String, Vec<(String, String)>)| {
                let mut qualifiers = qualifiers.clone();
                qualifiers.sort();
                (uri.clone(), qualifiers)
            };
            prop_assert_eq!(note(&one) == note(&two), sorted(&one) == sorted(&two));
        }
    }
}

//! Certificates and keys as people keep them: PEM, in files or passed along by a guest.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use model::{Error, Result};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

/// Where PEM text comes from. Only text can be sent to another process: nobody makes the owner of a data directory
/// read files for him.
#[derive(Clone, Serialize, Deserialize)]
pub enum Pem {
    /// A file, read again when it changes.
    #[serde(skip)]
    File(PathBuf),
    /// Text that somebody handed over. It changes only by being replaced.
    Text {
        /// What to call it in messages.
        name: String,
        /// The PEM text.
        text: String,
    },
}

impl Pem {
    /// The text.
    ///
    /// # Errors
    /// `Malformed` when the file cannot be read; the message names it.
    pub fn read(&self) -> Result<String> {
        match self {
            Self::Text { text, .. } => Ok(text.clone()),
            Self::File(path) => match fs::read(path) {
                // Comments in other encodings are common above the first section, so bad UTF-8 is no error.
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) => Err(Error::malformed(format!(
                    "cannot read {self}: give a readable file that holds PEM text (-----BEGIN ...)"
                ))
                .because(error)),
            },
        }
    }

    /// The same as text.
    ///
    /// # Errors
    /// As [`Pem::read`].
    pub fn inline(&self) -> Result<Self> {
        Ok(Self::Text { name: self.to_string(), text: self.read()? })
    }

    /// The file to watch, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Text { .. } => None,
        }
    }

    /// All certificates, in order; there may be none.
    ///
    /// # Errors
    /// `Malformed` when the file cannot be read or a section of it is damaged.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let sections = self.sections()?.into_iter();
        Ok(sections.filter(|(kind, _)| *kind == SectionKind::Certificate).map(|(_, der)| der.into()).collect())
    }

    /// The first private key: PKCS#1, SEC1 or PKCS#8. Other sections, such as `EC PARAMETERS`, are passed over.
    ///
    /// # Errors
    /// `Malformed` when there is none, it is encrypted, or the text is damaged.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>> {
        let text = self.read()?;
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(Error::malformed(format!(
                "the key in {self} is encrypted with a passphrase, which nobody can type here: write it without one \
                 (openssl pkey -in KEY -out PLAIN-KEY) and keep the file private (chmod 600)"
            )));
        }
        let sections = self.sections()?;
        let found: Vec<_> = sections.iter().map(|(kind, _)| format!("{kind:?}")).collect();
        sections.into_iter().find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der)).ok_or_else(|| {
            let found = if found.is_empty() { "no PEM section at all".to_owned() } else { found.join(", ") };
            Error::malformed(format!(
                "there is no private key in {self}; found: {found}. Give the file that begins with \
                 -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY"
            ))
        })
    }

    fn sections(&self) -> Result<Vec<(SectionKind, Vec<u8>)>> {
        // `cat` joins the last line of a file that lacks a newline with the first line of the next one.
        let text = self.read()?.replace("----------BEGIN", "-----\n-----BEGIN");
        <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|error| {
            Error::malformed(format!("{self} is damaged PEM text: copy it again, with all BEGIN and END lines"))
                .because(error)
        })
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text { name, .. } => f.write_str(name),
        }
    }
}

/// Never shows the text, which may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cannot_be_named_to_another_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.crt");
        fs::write(&path, "some text").expect("it is written");
        let file = Pem::File(path);
        assert!(serde_json::to_string(&file).is_err());
        assert!(serde_json::from_str::<Pem>(r#"{"File":"/etc/shadow"}"#).is_err());
        let sent = serde_json::to_string(&file.inline().expect("it reads")).expect("it is text");
        let came: Pem = serde_json::from_str(&sent).expect("it is the same");
        assert_eq!((came.read().expect("it is text"), came.path()), ("some text".to_owned(), None));
    }
}

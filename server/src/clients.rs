//! Which client certificates are let in.
//!
//! BuildStream's guide makes clients with `openssl req -x509`: self-signed, `CA:TRUE`, no key usage, and lets the
//! operator collect them with `cat` into one file. OpenSSL accepts such a leaf, because it *is* a trust anchor;
//! webpki refuses any CA as a leaf. So: a leaf that is byte for byte an entry of the file is accepted, any other
//! one needs a chain to an entry that is an authority. In both cases rustls verifies that the client holds the
//! key (the handshake signature), and certificates outside their validity are refused, as OpenSSL does.

use std::sync::Arc;

use model::Result;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::certificate::Certificate;
use crate::pem::Pem;

/// The authorised certificates of one file.
#[derive(Debug)]
pub(crate) struct Clients {
    entries: Vec<Entry>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Entry {
    der: CertificateDer<'static>,
    facts: Certificate,
    /// Builds chains to this entry, where it is an authority.
    chains: Option<Arc<dyn ClientCertVerifier>>,
}

impl Clients {
    /// Reads the file. None in it authorises nobody, which is how an operator begins.
    pub(crate) fn read(pem: &Pem, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let mut entries = Vec::new();
        for (index, der) in pem.certificates()?.into_iter().enumerate() {
            let Some(facts) = Certificate::read(&der) else {
                return Err(model::Error::malformed(format!(
                    "certificate {} in {pem} cannot be read: copy it again from its owner",
                    index + 1
                )));
            };
            let chains = if facts.authority { chains_to(&der, provider) } else { None };
            entries.push(Entry { der, facts, chains });
        }
        if entries.is_empty() {
            tracing::warn!(file = %pem, "no client certificate is listed, so nobody can connect: add some with cat");
        }
        Ok(Self { entries, algorithms: provider.signature_verification_algorithms })
    }
}

fn chains_to(der: &CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).ok()?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Some(builder.build().ok()? as Arc<dyn ClientCertVerifier>)
}

impl ClientCertVerifier for Clients {
    /// Nobody without a certificate, even while the list is empty.
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: a client that has a certificate then sends it, and a long list would bloat each handshake.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.der == *leaf) {
            return match &entry.facts {
                facts if facts.is_valid_at(now) => Ok(ClientCertVerified::assertion()),
                facts if i64::try_from(now.as_secs()).is_ok_and(|now| now < facts.not_before) => {
                    Err(CertificateError::NotValidYet.into())
                }
                _ => Err(CertificateError::Expired.into()),
            };
        }
        // webpki does not look at an anchor's own validity, OpenSSL does.
        let anchors = self.entries.iter().filter(|entry| entry.facts.is_valid_at(now));
        let mut refusal = CertificateError::UnknownIssuer.into();
        for chains in anchors.filter_map(|entry| entry.chains.as_ref()) {
            match chains.verify_client_cert(leaf, intermediates, now) {
                Ok(verified) => return Ok(verified),
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    /// Seconds of a day.
    const DAY: u64 = 86_400;

    #[test]
    fn validity_counts_for_listed_certificates_and_for_authorities() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let openssl = |line: &str| {
            let done = Command::new("openssl").args(line.split(' ')).current_dir(path).output().expect("openssl");
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        };
        std::fs::write(path.join("ext"), "basicConstraints=CA:FALSE\n").expect("it is written");
        openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -x509 -days 10 -nodes -batch -subj /CN=ca -out ca.crt -keyout ca.key",
        );
        openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch -subj /CN=leaf -out leaf.csr -keyout leaf.key",
        );
        openssl("x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out leaf.crt");
        let pem = |name: &str| Pem::File(path.join(name));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = Clients::read(&pem("ca.crt"), &provider).expect("it reads");
        let [ca, leaf] = ["ca.crt", "leaf.crt"].map(|name| pem(name).certificates().expect("it reads").remove(0));
        let now = UnixTime::now().as_secs();
        let at = |der: &CertificateDer<'_>, day: i64| {
            let then = UnixTime::since_unix_epoch(Duration::from_secs(now.saturating_add_signed(day * DAY as i64)));
            clients.verify_client_cert(der, &[], then).map(drop)
        };
        let wrong = |error: CertificateError| Err(Error::from(error));
        assert_eq!(at(&ca, 0), Ok(()));
        assert_eq!(at(&ca, 11), wrong(CertificateError::Expired));
        assert_eq!(at(&ca, -1), wrong(CertificateError::NotValidYet));
        assert_eq!(at(&leaf, 0), Ok(()));
        assert_eq!(at(&leaf, 11), wrong(CertificateError::UnknownIssuer), "its authority has expired");
    }
}

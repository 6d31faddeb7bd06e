//! The server's certificate and key, and whom it lets in, as one rustls configuration that is swapped when the
//! files change. Open connections go on with what they began with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Error, Result};
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch::Sender;

use crate::clients::Clients;
use crate::pem::Pem;
use crate::watch::{self, Stamps};

/// What TLS is made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Material {
    /// The server's certificate, and those between it and its authority.
    pub certificate: Pem,
    /// Its private key; `None` when it is in the same file.
    pub key: Option<Pem>,
    /// The client certificates that are let in. With these, a client without one cannot connect.
    pub clients: Option<Pem>,
}

impl Material {
    /// The same with all files read, as a guest sends it to the owner of a data directory.
    ///
    /// # Errors
    /// `Malformed` when a file cannot be read.
    pub fn inline(&self) -> Result<Self> {
        let key = self.key.as_ref().map(Pem::inline).transpose()?;
        let clients = self.clients.as_ref().map(Pem::inline).transpose()?;
        Ok(Self { certificate: self.certificate.inline()?, key, clients })
    }
}

/// Tells a guest, which does not serve itself, when its files changed.
#[derive(Debug)]
pub struct Changes(Stamps);

impl Changes {
    /// Changes from now on. Take this before [`Material::inline`].
    #[must_use]
    pub fn of(material: &Material) -> Self {
        Self(stamps(material))
    }

    /// Returns when a file changed since the last time.
    pub async fn next(&mut self) {
        loop {
            tokio::time::sleep(watch::INTERVAL).await;
            let now = self.0.again();
            if now != self.0 {
                self.0 = now;
                return;
            }
        }
    }
}

/// TLS for a listener, always as new as its files.
pub struct Tls {
    config: Sender<Arc<ServerConfig>>,
    /// Protects the material and what its files looked like when `config` was made; held while loading, so that
    /// a replacement and a reload cannot overtake one another.
    source: Mutex<(Material, Stamps)>,
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// `Malformed`, naming the file and what is wrong with it.
    pub fn open(material: Material) -> Result<Self> {
        let stamps = stamps(&material);
        let config = Sender::new(load(&material)?);
        Ok(Self { config, source: Mutex::new((material, stamps)) })
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// Goes on with other material, as when a guest sends new one.
    ///
    /// # Errors
    /// As [`Tls::open`]; the old material then stays.
    pub fn replace(&self, material: Material) -> Result<()> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&material);
        self.config.send_replace(load(&material)?);
        *source = (material, stamps);
        Ok(())
    }

    /// Loads again if a file changed; a broken one keeps the old configuration and is reported once. Blocks on
    /// the file system. True when a new configuration is in use.
    pub fn refresh(&self) -> bool {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let now = source.1.again();
        if now == source.1 {
            return false;
        }
        source.1 = now;
        match load(&source.0) {
            Ok(config) => {
                self.config.send_replace(config);
                tracing::info!(certificate = %source.0.certificate, "TLS files changed and are in use");
                true
            }
            Err(error) => {
                tracing::error!(%error, "TLS files changed and cannot be used; the old ones stay in use");
                false
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn stamps(material: &Material) -> Stamps {
    let sources = [Some(&material.certificate), material.key.as_ref(), material.clients.as_ref()];
    Stamps::of(sources.into_iter().flatten().filter_map(Pem::path))
}

fn load(material: &Material) -> Result<Arc<ServerConfig>> {
    // The provider is named, so that nothing depends on which one a program installed as its default.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let broken = |error: rustls::Error| Error::broken("TLS cannot be set up").because(error);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(broken)?;
    let builder = match &material.clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(Clients::read(clients, &provider)?)),
        None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified(material)?)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if material.clients.is_some() {
        // A resumed session skips the verifier: it would let in a client whose certificate was removed or has
        // expired since. Connections live long here, so a full handshake each time costs nothing that matters.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// The chain with the certificate of the key in front, wherever it stands in the file.
fn certified(material: &Material) -> Result<CertifiedKey> {
    let file = &material.certificate;
    let chain = file.certificates()?;
    let Some(first) = chain.first().cloned() else {
        return Err(Error::malformed(format!(
            "there is no certificate in {file}: give the file that begins with -----BEGIN CERTIFICATE-----"
        )));
    };
    let key_file = material.key.as_ref().unwrap_or(file);
    let key = aws_lc_rs::sign::any_supported_type(&key_file.key()?).map_err(|error| {
        Error::malformed(format!(
            "the key in {key_file} is of a kind that TLS servers cannot use: RSA of at least 2048 bits, \
             ECDSA on P-256, P-384 or P-521, and Ed25519 work"
        ))
        .because(error)
    })?;
    let fits = |der: &rustls_pki_types::CertificateDer<'static>| {
        CertifiedKey::new(vec![der.clone()], Arc::clone(&key)).keys_match()
    };
    let place = match chain.iter().position(|der| fits(der).is_ok()) {
        Some(place) => place,
        None => match fits(&first) {
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(Error::malformed(format!(
                    "the key in {key_file} does not belong to the certificate in {file}: they come in pairs, \
                     give the two that were made together"
                )));
            }
            Err(rustls::Error::InconsistentKeys(_)) | Ok(()) => 0,
            Err(error) => {
                return Err(Error::malformed(format!("the certificate in {file} cannot be used")).because(error));
            }
        },
    };
    let mut ordered = vec![chain[place].clone()];
    ordered.extend(chain.into_iter().enumerate().filter(|(index, _)| *index != place).map(|(_, der)| der));
    Ok(CertifiedKey::new(ordered, key))
}

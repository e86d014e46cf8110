//! Certificates for outgoing TLS connections: which servers are trusted, and how this daemon identifies itself.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::reader::Reader;

/// The value of `ca_file` that means the certificates of the operating system.
const SYSTEM: &str = "system";
const PEM: &str = "expected a file in PEM";

/// The certificates of one destination, in PEM. By default servers need a certificate of a public authority, and no
/// client certificate is presented.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// The only authorities to trust. `None`: the public ones of Mozilla's list.
    pub roots: Option<Vec<u8>>,
    pub client: Option<ClientCertificate>,
}

/// A certificate chain, presented to servers that ask for one, and its private key.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub chain: Vec<u8>,
    pub key: SecretSlice<u8>,
}

impl TlsConfig {
    pub(super) fn read(s: &mut Reader<'_>) -> Self {
        let roots = match s.text("ca_file").as_deref() {
            None => None,
            Some(SYSTEM) => system_roots(s),
            Some(path) => file(s, "ca_file", path),
        };
        let chain = s.text("client_certificate_file").and_then(|path| file(s, "client_certificate_file", &path));
        let key = s.text("client_key_file").and_then(|path| file(s, "client_key_file", &path));
        let client = match (chain, key) {
            (Some(chain), Some(key)) => Some(ClientCertificate { chain, key: key.into() }),
            (None, None) => None,
            _ => {
                for (name, other) in
                    [("client_certificate_file", "client_key_file"), ("client_key_file", "client_certificate_file")]
                {
                    if s.has(name) && !s.has(other) {
                        s.fault(other, format!("is missing: {name} needs it"));
                    }
                }
                None
            }
        };
        let tls = Self { roots, client };
        if let Err((name, problem)) = tls.client_config(RootCertStore::empty()) {
            s.fault(name, problem);
        }
        tls
    }

    /// Whether everything is as without configuration.
    pub fn is_default(&self) -> bool {
        self.roots.is_none() && self.client.is_none()
    }

    /// The settings of a client with these certificates, and with `public` roots unless others are configured.
    ///
    /// # Errors
    /// The key of the configuration whose file is not usable, and why. Not after [`Self::read`] without faults.
    pub fn client_config(&self, public: RootCertStore) -> Result<ClientConfig, (&'static str, String)> {
        let mut roots = public;
        if let Some(pem) = &self.roots {
            roots = RootCertStore::empty();
            for certificate in certificates(pem).map_err(|why| ("ca_file", why))? {
                roots
                    .add(certificate)
                    .map_err(|error| ("ca_file", format!("holds an invalid certificate: {error}")))?;
            }
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_root_certificates(roots);
        let Some(client) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(&client.chain).map_err(|why| ("client_certificate_file", why))?;
        let key = PrivateKeyDer::from_pem_slice(client.key.expose_secret())
            .map_err(|_| ("client_key_file", "expected a private key in PEM".to_owned()))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| ("client_key_file", format!("does not fit client_certificate_file: {error}")))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(format!("{PEM} with certificates")),
    }
}

fn file(s: &mut Reader<'_>, name: &str, path: &str) -> Option<Vec<u8>> {
    let read = std::fs::read(Path::new(path));
    read.map_err(|error| s.fault(name, format!("cannot read {path}: {error}"))).ok()
}

/// The authorities that the operating system trusts, in PEM.
fn system_roots(s: &mut Reader<'_>) -> Option<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        s.fault("ca_file", format!("the operating system has no certificates{why}"));
        return None;
    }
    let pem = found.certs.iter().map(|certificate| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
    });
    Some(pem.collect::<String>().into_bytes())
}

/// Why a TLS handshake failed.
pub fn handshake_failure(error: &TlsError) -> &'static str {
    match error {
        TlsError::InvalidCertificate(certificate) => certificate_reason(certificate),
        TlsError::NoCertificatesPresented => "no certificate was presented",
        TlsError::AlertReceived(_) => "the receiver ended the handshake",
        TlsError::PeerIncompatible(_) => "no TLS version or cipher in common",
        TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. } => "the receiver does not speak TLS",
        _ => "the handshake failed",
    }
}

fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is for another name"
        }
        CertificateError::UnknownIssuer => "certificate from an unknown issuer",
        CertificateError::Revoked => "certificate revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for servers"
        }
        _ => "certificate is not valid",
    }
}

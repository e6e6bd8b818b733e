//! Which certificates are trusted (contract 1.1).
//!
//! A fresh host has a certificate that it signed itself, and members have different ones. So a pool
//! is trusted by the system's authorities, by those of a file, by the fingerprints of its members,
//! or explicitly not at all.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::error::XapiError;
use super::fingerprint::Fingerprint;

/// Which certificates are trusted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those that the system's authorities signed, for the names that they carry.
    System,
    /// Those that the authorities in a PEM file signed, for the names that they carry; and those in
    /// the file themselves, whatever names they carry, since hosts sign their own.
    CaFile(PathBuf),
    /// These, whatever names they carry. Members have one each.
    Pinned(Vec<Fingerprint>),
    /// All. Whoever is on the way may read and change everything.
    Insecure,
    /// No TLS at all.
    #[cfg(test)]
    PlainText,
}

/// How TLS is spoken to hosts.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For the clients.
    pub config: Arc<ClientConfig>,
    refused: Arc<Mutex<Option<Fingerprint>>>,
}

impl Tls {
    /// Prepares for `trust`.
    pub fn new(trust: &Trust) -> Result<Self, XapiError> {
        let provider = Arc::new(ring::default_provider());
        let judge = judge(trust, &provider)?;
        Self::of_judge(judge, provider)
    }

    /// Prepares for a host whose certificate the pool has named: `pem`. Other authorities count for
    /// nothing then; pinned certificates do, and so does the wish for no check at all.
    ///
    /// # Errors
    ///
    /// [`XapiError::Tls`]: `pem` holds no certificate.
    pub fn of_host(trust: &Trust, pem: &[u8]) -> Result<Self, XapiError> {
        let provider = Arc::new(ring::default_provider());
        let judge = match trust {
            Trust::Insecure => Judge::Anything,
            Trust::Pinned(pinned) => named(pem, pinned, &provider)?,
            _ => named(pem, &[], &provider)?,
        };
        Self::of_judge(judge, provider)
    }

    fn of_judge(judge: Judge, provider: Arc<CryptoProvider>) -> Result<Self, XapiError> {
        let refused = Arc::new(Mutex::new(None));
        let verifier = Verifier { judge, provider: provider.clone(), refused: refused.clone() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), refused })
    }

    /// The certificate that was refused last, once.
    pub fn take_refused(&self) -> Option<Fingerprint> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn judge(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Judge, XapiError> {
    Ok(match trust {
        Trust::System => {
            let system = rustls_platform_verifier::Verifier::new(provider.clone());
            Judge::Authorities(Arc::new(system.map_err(failed)?), Vec::new())
        }
        Trust::CaFile(path) => {
            let wrong = |source| XapiError::CaFile { path: path.clone(), source };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.into()))?;
            let (roots, pins) = roots(certificates).map_err(wrong)?;
            let roots = Arc::new(roots);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Judge::Authorities(builder.build().map_err(|error| wrong(error.into()))?, pins)
        }
        Trust::Pinned(fingerprints) => Judge::Pins(fingerprints.clone()),
        Trust::Insecure => Judge::Anything,
        #[cfg(test)]
        Trust::PlainText => Judge::Pins(Vec::new()),
    })
}

/// The certificates of a pool's answer, as authorities and as pins, and other pins.
fn named(
    pem: &[u8],
    pinned: &[Fingerprint],
    provider: &Arc<CryptoProvider>,
) -> Result<Judge, XapiError> {
    let wrong = |source| XapiError::Tls { source };
    let (roots, mut pins) = roots(CertificateDer::pem_slice_iter(pem)).map_err(wrong)?;
    pins.extend(pinned);
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    Ok(Judge::Authorities(builder.build().map_err(|error| wrong(error.into()))?, pins))
}

type Roots = (RootCertStore, Vec<Fingerprint>);

/// Certificates, as authorities and as pins.
fn roots(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, pem::Error>>,
) -> Result<Roots, Box<dyn std::error::Error + Send + Sync>> {
    let (mut roots, mut pins) = (RootCertStore::empty(), Vec::new());
    for certificate in certificates {
        let certificate = certificate?;
        pins.push(Fingerprint::of(&certificate));
        roots.add(certificate)?;
    }
    if roots.is_empty() { Err("there are none".into()) } else { Ok((roots, pins)) }
}

fn failed(error: rustls::Error) -> XapiError {
    XapiError::Tls { source: error.into() }
}

/// Who decides about a certificate.
#[derive(Debug)]
enum Judge {
    /// Authorities, and certificates that need none.
    Authorities(Arc<dyn ServerCertVerifier>, Vec<Fingerprint>),
    Pins(Vec<Fingerprint>),
    Anything,
}

/// Asks the judge, and remembers whom it refused.
#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
    refused: Arc<Mutex<Option<Fingerprint>>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        let verdict = match &self.judge {
            Judge::Authorities(_, pins) if pins.contains(&found) => {
                Ok(ServerCertVerified::assertion())
            }
            Judge::Authorities(authorities, _) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            Judge::Pins(pins) if !pins.contains(&found) => {
                let failure = CertificateError::ApplicationVerificationFailure;
                Err(rustls::Error::InvalidCertificate(failure))
            }
            Judge::Pins(_) | Judge::Anything => Ok(ServerCertVerified::assertion()),
        };
        if verdict.is_err() {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
        verdict
    }

    /// A pin would be worth nothing if the host need not prove that it has the key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let found = Fingerprint::of(b"");
        let text = found.to_string();
        assert!(text.starts_with("E3:B0:C4:42"));
        let plain = text.replace(':', "").to_lowercase();
        for text in [&text, &plain, &format!("sha256:{plain}")] {
            assert_eq!(Fingerprint::parse(text), Some(found));
        }
        for text in ["", "E3", &plain[1..], &format!("{plain}0"), &plain.replace('e', "g")] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }
}

//! Whose certificates are taken by NBD: those that the pool has named, and those that are pinned.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::server::{OnTls, Script, Server, disk, in_clear};
use crate::xapi::nbd::{NbdDisk, NbdInfo};
use crate::xapi::{DataChannel, Fingerprint, Settings, Trust, XapiError};

const AUTHORITY: &str = include_str!("../../tests/tls/ca.pem");
const OTHER: &str = include_str!("../../tests/tls/other.pem");
/// Of the authority, for 127.0.0.1.
const SIGNED: (&str, &str) =
    (include_str!("../../tests/tls/host.pem"), include_str!("../../tests/tls/host.key"));
/// Signed by itself, for no name, and an authority too: what fresh hosts have.
const OWN: (&str, &str) = (include_str!("own.pem"), include_str!("own.key"));

fn server((certificate, key): (&str, &str)) -> Server {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("a certificate")], key)
        .expect("a configuration");
    Server::start(Script { on_tls: OnTls::Begin(Arc::new(config)), ..Script::new(disk(8192)) })
}

/// Connects to a host that has `own`, of which the pool says `named` and `subject`.
fn connect(
    server: &Server,
    (named, subject): (&str, &str),
    trust: Trust,
) -> Result<NbdDisk, XapiError> {
    let info = NbdInfo { certificate: named.into(), subject: subject.into(), ..server.info() };
    NbdDisk::connect(&[info], &Settings { trust, data: DataChannel::Tls, ..in_clear() })
}

#[track_caller]
fn check_taken(own: (&str, &str), info: (&str, &str), trust: Trust) {
    let server = server(own);
    let mut taken = connect(&server, info, trust).expect("trusted");
    let mut buffer = vec![0; 8192];
    taken.ask(0, buffer.len()).expect("a good range");
    taken.take(&mut buffer).expect("data");
    assert!(buffer == disk(8192));
}

#[track_caller]
fn check_refused(own: (&str, &str), info: (&str, &str), trust: Trust) {
    let server = server(own);
    let error = connect(&server, info, trust).expect_err("not trusted");
    assert!(matches!(&error, XapiError::Certificate { found, .. } if *found == print(own.0)));
    assert_eq!(server.script().names.len(), 0, "the session was sent");
}

fn print(certificate: &str) -> Fingerprint {
    Fingerprint::of(&CertificateDer::from_pem_slice(certificate.as_bytes()).expect("one"))
}

#[test]
fn the_certificate_that_the_pool_names_is_taken() {
    check_taken(SIGNED, (SIGNED.0, "127.0.0.1"), Trust::System);
    check_taken(OWN, (OWN.0, "xenserver-1"), Trust::System);
    check_taken(OWN, (OWN.0, ""), Trust::System);
}

#[test]
fn the_authority_that_the_pool_names_counts_for_the_subject_only() {
    check_taken(SIGNED, (AUTHORITY, "127.0.0.1"), Trust::System);
    check_refused(SIGNED, (AUTHORITY, "xenserver-1"), Trust::System);
}

#[test]
fn the_subject_counts_and_not_the_address() {
    let server = server(SIGNED);
    let at_name = |subject: &str| {
        let (certificate, subject) = (AUTHORITY.into(), subject.into());
        let address = "localhost".into();
        let info = NbdInfo { certificate, subject, address, ..server.info() };
        NbdDisk::connect(&[info], &Settings { data: DataChannel::Tls, ..in_clear() })
    };
    at_name("127.0.0.1").expect("trusted");
    assert!(matches!(at_name("localhost"), Err(XapiError::Certificate { .. })));
}

#[test]
fn another_certificate_is_refused() {
    check_refused(SIGNED, (OTHER, "127.0.0.1"), Trust::System);
    check_refused(OWN, (SIGNED.0, "127.0.0.1"), Trust::System);
    check_refused(SIGNED, (OTHER, "127.0.0.1"), Trust::Pinned(vec![print(OWN.0)]));
}

#[test]
fn a_pinned_certificate_is_taken_whatever_the_pool_names() {
    check_taken(SIGNED, (OTHER, "x"), Trust::Pinned(vec![print(SIGNED.0)]));
    check_taken(SIGNED, (SIGNED.0, "x"), Trust::Pinned(vec![print(OWN.0)]));
}

#[test]
fn no_check_is_made_when_none_is_wanted() {
    check_taken(SIGNED, ("", "x"), Trust::Insecure);
}

#[test]
fn a_pool_that_names_no_certificate_is_an_error() {
    for named in ["", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"] {
        let error = connect(&server(SIGNED), (named, "127.0.0.1"), Trust::System);
        assert!(matches!(error, Err(XapiError::Tls { .. })), "{error:?}");
    }
}

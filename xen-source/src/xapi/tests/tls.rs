//! Trust: whose certificates are taken, and whose are named and refused.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::host::Host;
use super::world::{Outcome, Pauses, Shared, VM, login, names};
use crate::xapi::export::{self, Compression, Memory};
use crate::xapi::request::{DataChannel, Request};
use crate::xapi::upload::PutAnswer;
use crate::xapi::{Fingerprint, Pool, Settings, Trust, XapiError, connect_with};

const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");
const OTHER_AUTHORITY: &[u8] = include_bytes!("tls/other.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/host.pem");
const KEY: &[u8] = include_bytes!("tls/host.key");

/// A host whose certificate is of the test authority and for 127.0.0.1.
fn host(world: &Shared) -> Host {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    world.host_with(Some(Arc::new(config.expect("a configuration"))))
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of(&CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate"))
}

fn connect(host: &Host, settings: Settings) -> Result<Pool, XapiError> {
    let login = login(vec![host.address.clone()], "secret");
    connect_with(login, settings, Box::new(Pauses::default()))
}

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    (folder, path)
}

#[track_caller]
fn check_refused(trust: Trust) {
    let world = Shared::new();
    let host = host(&world);
    let error = connect(&host, Settings::new(trust)).expect_err("not trusted");
    match error {
        XapiError::Certificate { found, .. } => assert_eq!(found, fingerprint()),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.get().calls.len(), 0, "the password was sent");
}

#[track_caller]
fn check_trusted(trust: Trust) {
    let world = Shared::new();
    let host = host(&world);
    let pool = connect(&host, Settings::new(trust)).expect("trusted");
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
}

#[test]
fn a_pinned_certificate_is_trusted_and_others_are_not() {
    let other = Fingerprint::of(b"another");
    check_trusted(Trust::Pinned(vec![other, fingerprint()]));
    check_refused(Trust::Pinned(vec![other]));
    check_refused(Trust::Pinned(Vec::new()));
}

#[test]
fn an_authority_of_a_file_is_trusted() {
    let (_folder, path) = file("ca.pem", AUTHORITY);
    check_trusted(Trust::CaFile(path));
    let (_folder, path) = file("other.pem", OTHER_AUTHORITY);
    check_refused(Trust::CaFile(path));
}

#[test]
fn a_host_that_signed_itself_is_trusted_if_the_file_has_it() {
    let (_folder, path) = file("hosts.pem", &[OTHER_AUTHORITY, CERTIFICATE].concat());
    check_trusted(Trust::CaFile(path));
}

#[test]
fn the_system_does_not_know_the_test_authority() {
    check_refused(Trust::System);
}

#[test]
fn no_check_is_made_when_none_is_wanted() {
    check_trusted(Trust::Insecure);
}

#[test]
fn a_file_without_certificates_is_an_error() {
    for content in [&b""[..], b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"] {
        let (_folder, path) = file("ca.pem", content);
        let world = Shared::new();
        let error = connect(&host(&world), Settings::new(Trust::CaFile(path)));
        assert!(matches!(error, Err(XapiError::CaFile { .. })));
    }
}

#[test]
fn data_goes_over_tls_in_both_directions() {
    let world = Shared::new();
    let host = host(&world);
    world.get().export = b"disks".to_vec();
    let pool = connect(&host, Settings::new(Trust::Pinned(vec![fingerprint()]))).expect("trusted");
    let session = pool.session();
    let mut read = Vec::new();
    let stream = export::vm(session, "web", VM, Compression::Off, Memory::Leave);
    stream.expect("a stream").read_to_end(&mut read).expect("all of it");
    assert_eq!(read, b"disks");

    let (address, cookie) = (&host.address, session.cookie("OpaqueRef:task"));
    let request = Request { address, path_and_query: "/import", cookie: &cookie };
    let Ok(PutAnswer::Ready(mut upload)) = session.transport().put(&request, None) else {
        panic!("the host is ready");
    };
    upload.write_all(b"back").expect("a connection");
    upload.finish().expect("a connection");
    for _look in 0..500 {
        if world.get().uploaded.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(world.get().uploaded.as_deref(), Some(&b"back"[..]));
}

#[test]
fn an_upload_asks_for_the_certificate_too() {
    let world = Shared::new();
    let host = host(&world);
    let settings = Settings::new(Trust::Pinned(Vec::new()));
    let transport = crate::xapi::transport::Transport::new(settings).expect("a transport");
    let request = Request { address: &host.address, path_and_query: "/import", cookie: "" };
    let answer = transport.put(&request, None);
    assert!(matches!(answer, Err(XapiError::Certificate { .. })));
}

/// The pool's TLS port and its plain port are two hosts here.
#[test]
fn data_in_the_clear_goes_to_the_plain_port_and_passwords_do_not() {
    let world = Shared::new();
    let host = host(&world);
    let plain = world.host();
    (world.get().export, world.get().outcome) = (b"disks".to_vec(), Outcome::Success);
    let port = plain.address.port().expect("a port");
    let settings = Settings { data: DataChannel::Plain { port }, ..Settings::new(Trust::Insecure) };
    let pool = connect(&host, settings).expect("trusted");
    let mut read = Vec::new();
    let stream = export::vm(pool.session(), "web", VM, Compression::Off, Memory::Leave);
    stream.expect("a stream").read_to_end(&mut read).expect("all of it");
    assert_eq!(read, b"disks");
    let asked = format!("GET /export?ref={VM}&use_compression=false at {}", plain.address);
    assert_eq!(world.get().has_called(&asked), 1);
}

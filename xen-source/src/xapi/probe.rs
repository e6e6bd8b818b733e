//! Questions to a pool whose answers show what a backup will meet. None of them changes anything:
//! what would, names no object, so that only the right to do it is found out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::address::Address;
use super::error::XapiError;
use super::fingerprint::Fingerprint;
use super::objects::{HostRecord, NetworkRecord, Record, SrRecord, VdiRecord, VmRecord, records};
use super::rpc::Encoding;
use super::session::Session;
use super::value::{NULL_REF, Value};

/// What a storage driver must be able to do so that changes can be tracked (contract 5.1).
const TRACKING: &str = "VDI_CONFIG_CBT";

/// Whether a host has a storage repository at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Reference of the storage repository.
    pub sr: String,
    /// Reference of the host.
    pub host: String,
    /// Whether it is so now.
    pub is_attached: bool,
}

impl Record for Attachment {
    const CLASS: &'static str = "PBD";

    fn of(_reference: &str, record: &Value) -> Result<Self, XapiError> {
        let text = |key: &str| record.get(key).and_then(Value::text).unwrap_or_default().to_owned();
        let is_attached = record.get("currently_attached").and_then(Value::bool).unwrap_or(false);
        Ok(Self { sr: text("SR"), host: text("host"), is_attached })
    }
}

/// What a pool has, as far as backups care.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Its members.
    pub hosts: Vec<HostRecord>,
    /// Its storage.
    pub srs: Vec<SrRecord>,
    /// Which host has which storage.
    pub attachments: Vec<Attachment>,
    /// Its networks.
    pub networks: Vec<NetworkRecord>,
    /// All VMs, snapshots and templates too.
    pub vms: Vec<VmRecord>,
    /// All disks, snapshots too.
    pub disks: Vec<VdiRecord>,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look at the pool.
    Look,
    /// Take snapshots and remove them: backups, cleanup.
    Snapshot,
    /// Change the pool itself, and read its database.
    Administer,
}

/// The certificate of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// What it is known by.
    pub fingerprint: Fingerprint,
    /// When it ends, in digits: year, month, day, hour, minute, second, UTC. `None`: it does not
    /// say so in a way that is understood.
    pub ends: Option<[u8; 14]>,
}

/// The time that a connection takes to come up; it is closed at once.
///
/// # Errors
///
/// The system's.
pub fn connect(place: SocketAddr, timeout: Duration) -> io::Result<Duration> {
    let begun = Instant::now();
    TcpStream::connect_timeout(&place, timeout).map(|_stream| begun.elapsed())
}

/// Whether the host at `address` proves who it is and speaks HTTP. What it answers to a call without
/// a session does not matter.
///
/// # Errors
///
/// [`XapiError::Certificate`], [`XapiError::Unreachable`].
pub fn greet(session: &Session, address: &Address) -> Result<(), XapiError> {
    let nobody = [Value::from(NULL_REF), Value::from(NULL_REF)];
    let body = Encoding::Json.encode("session.get_uuid", &nobody);
    let (path, content_type) = (Encoding::Json.path(), Encoding::Json.content_type());
    session.transport().post(address, path, content_type, body).map(drop)
}

/// Everything that the pool has.
///
/// # Errors
///
/// What the pool said; so below.
pub fn inventory(session: &Session) -> Result<Inventory, XapiError> {
    Ok(Inventory {
        hosts: all(session)?,
        srs: all(session)?,
        attachments: all(session)?,
        networks: all(session)?,
        vms: all(session)?,
        disks: all(session)?,
    })
}

/// What the clock of a host shows, such as `20260131T23:59:59Z`.
pub fn time_of(session: &Session, host: &HostRecord) -> Result<String, XapiError> {
    let time = session.call("host.get_servertime", &[Value::from(&*host.reference)])?;
    Ok(time.text().unwrap_or_default().to_owned())
}

/// The certificate that a host shows to its callers.
pub fn certificate(session: &Session, host: &HostRecord) -> Result<Certificate, XapiError> {
    let host = [Value::from(&*host.reference)];
    let pem = session.call("host.get_server_certificate", &host)?;
    let der = CertificateDer::from_pem_slice(pem.text().unwrap_or_default().as_bytes());
    let der = der.map_err(|_| XapiError::Record { field: "certificate" })?;
    Ok(Certificate { fingerprint: Fingerprint::of(&der), ends: end_of(&der) })
}

/// What the user may do, by refusals of calls that name nothing (contract 1.5, 8).
pub fn rights(session: &Session) -> Result<BTreeSet<Right>, XapiError> {
    let none = || Value::from(NULL_REF);
    let mut rights = BTreeSet::from([Right::Look]);
    let snapshot = [none(), Value::from("none")];
    if allows(session, "VM.snapshot", &snapshot)? && allows(session, "VM.destroy", &[none()])? {
        rights.insert(Right::Snapshot);
    }
    if allows(session, "network.remove_purpose", &[none(), Value::from("nbd")])? {
        rights.insert(Right::Administer);
    }
    Ok(rights)
}

/// Kinds of storage whose drivers can track changes. Empty if no driver says what it can do.
pub fn tracking_kinds(session: &Session) -> Result<BTreeSet<String>, XapiError> {
    let drivers = session.call("SM.get_all_records", &[])?;
    let drivers: BTreeMap<String, Value> = drivers.members().cloned().unwrap_or_default();
    let can = |driver: &&Value| {
        let features = driver.get("features");
        let names = features.and_then(Value::members).map(|map| map.contains_key(TRACKING));
        let listed = driver.get("capabilities").map(Value::items).unwrap_or_default();
        names == Some(true) || listed.iter().any(|item| item.text() == Some(TRACKING))
    };
    let kind = |driver: &Value| driver.get("type").and_then(Value::text).map(str::to_owned);
    Ok(drivers.values().filter(can).filter_map(kind).collect())
}

/// By how many ways a disk can be had by NBD (contract 5.1).
pub fn nbd_ways(session: &Session, disk: &VdiRecord) -> Result<usize, XapiError> {
    let ways = session.call("VDI.get_nbd_info", &[Value::from(&*disk.reference)])?;
    Ok(ways.items().len())
}

fn all<R: Record>(session: &Session) -> Result<Vec<R>, XapiError> {
    records(&session.call(&format!("{}.get_all_records", R::CLASS), &[])?)
}

/// Hosts judge the right before they look at the object, which does not exist.
fn allows(session: &Session, method: &str, params: &[Value]) -> Result<bool, XapiError> {
    match session.call_briefly(method, params) {
        Err(error) if error.has_code("RBAC_PERMISSION_DENIED") => Ok(false),
        Err(error) if error.api().is_some() => Ok(true),
        other => other.map(|_| true),
    }
}

/// The end of the validity of a certificate in DER (RFC 5280, 4.1): behind version, serial number,
/// algorithm and issuer.
fn end_of(der: &[u8]) -> Option<[u8; 14]> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(der).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if element(rest)?.0 == VERSION {
        rest = element(rest)?.2;
    }
    for _field in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (tag, end, _) = element(element(validity)?.2)?;
    let digits: Vec<u8> = end.iter().copied().filter(u8::is_ascii_digit).collect();
    let century: &[u8] = match (tag, digits.first()?) {
        (0x17, b'0'..=b'4') => b"20", // UTCTime has two digits of the year, from 1950
        (0x17, _) => b"19",
        _ => b"",
    };
    [century, &digits].concat().try_into().ok()
}

/// Tag and content of the first element, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_certificate() -> Vec<u8> {
        let pem = include_bytes!("tests/tls/host.pem");
        CertificateDer::from_pem_slice(pem).expect("a certificate").to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let ends = end_of(&host_certificate()).expect("it ends");
        assert_eq!(str::from_utf8(&ends), Ok("21261029044748"));
    }

    #[test]
    fn bytes_that_are_no_certificate_end_nowhere() {
        let der = host_certificate();
        for len in 0..der.len() {
            // What is cut is no element, whatever comes first.
            assert_eq!(end_of(&der[..len]), None, "{len}");
        }
        for at in 0..der.len().min(120) {
            let mut bent = der.clone();
            bent[at] = 0xff;
            let _verdict = end_of(&bent);
        }
        assert_eq!(end_of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}

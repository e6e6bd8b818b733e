//! Metadata back into a pool: its database, the system of a host, records of VMs (contract 2.4, 7).
//!
//! Each is a stream of a known length, and what became of it its task says. [`comparison`] tells
//! beforehand what of a database will not fit, [`suspended`] puts right what does not fit behind it,
//! [`host_archive`] has the database that lies in the system of a host.

pub mod comparison;
pub mod host_archive;
pub mod identity;
pub mod suspended;

use super::address::Address;
use super::error::XapiError;
use super::import::{Identity, Import, offer};
use super::objects::HostRecord;
use super::pool::Pool;
use super::route::Wanted;
use crate::xva::ova::{MEMBER_NAME, OvaXml};
use crate::xva::tar::{BLOCK_LEN, padding_len, v7_header};

/// Whether something is done, or only tried by the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rehearsal {
    /// The pool checks it, and changes nothing.
    Dry,
    /// It is done.
    Real,
}

/// How the records of a VM are imported.
#[derive(Debug, Clone)]
pub struct RecordsOptions {
    /// Whether it is only tried.
    pub rehearsal: Rehearsal,
    /// What the VM keeps.
    pub identity: Identity,
    /// Disks that took the place of others: old and new uuid.
    pub vdis: Vec<(String, String)>,
}

/// A database of exactly this length, in bytes, in place of the pool's own. The coordinator takes
/// it, forgets all other hosts, and restarts half a minute after the task has ended well (contract 7).
///
/// # Errors
///
/// Before a byte is sent: the pool does not answer, or refuses. What it thinks of the database,
/// [`Import::finish`] tells.
pub fn database(pool: &Pool, length_bytes: u64, rehearsal: Rehearsal) -> Result<Import, XapiError> {
    let (label, query) = match rehearsal {
        Rehearsal::Dry => ("trial of the database", vec![("dry_run", "true".to_owned())]),
        Rehearsal::Real => ("restore of the database", Vec::new()),
    };
    let wanted = Wanted { label: label.to_owned(), address: None, path: "/pool/xmldbdump", query };
    offer(pool.session(), wanted, Some(length_bytes))
}

/// The system of a host, to itself. It is unpacked onto the spare partition, and nothing of it is
/// active until the host boots the installation CD and restores from there (contract 7).
///
/// # Errors
///
/// As [`database`].
pub fn host(pool: &Pool, host: &HostRecord, length_bytes: u64) -> Result<Import, XapiError> {
    let address = Address::parse(&host.address)?.with_port_of(&pool.session().coordinator());
    let label = format!("restore of host {}", host.name);
    let (address, query) = (Some(address), Vec::new());
    let wanted = Wanted { label, address, path: "/host_restore", query };
    offer(pool.session(), wanted, Some(length_bytes))
}

/// A tar of records of this length, in bytes, becomes VMs whose disks are there (contract 2.4).
///
/// # Errors
///
/// As [`database`].
pub fn records(
    pool: &Pool,
    label: &str,
    length_bytes: u64,
    options: &RecordsOptions,
) -> Result<Import, XapiError> {
    let keys: Vec<String> = options.vdis.iter().map(|(old, _)| format!("vdi:{old}")).collect();
    let mut query = Vec::new();
    if options.rehearsal == Rehearsal::Dry {
        query.push(("dry_run", "true".to_owned()));
    }
    if options.identity == Identity::Same {
        query.push(("restore", "true".to_owned()));
    }
    let news = options.vdis.iter().map(|(_, new)| new.clone());
    query.extend(keys.iter().map(String::as_str).zip(news));
    let label = format!("import of the records of {label}");
    let wanted = Wanted { label, address: None, path: "/import_metadata", query };
    offer(pool.session(), wanted, Some(length_bytes))
}

/// What a stored record calls its disks, and what they were called: a VM that was read by a snapshot
/// of it has the disks of the snapshot in its record, which are long gone. `keys` are the uuids of
/// the disks, in the order in which they came; `None` if the record has other disks.
pub fn snapshot_disks(record: &OvaXml, keys: &[&str]) -> Option<Vec<(String, String)>> {
    let mut disks: Vec<_> = record.disks().iter().collect();
    disks.sort_unstable_by_key(|disk| &disk.id); // the order in which hosts send them (contract 0.7)
    let pairs = disks.iter().zip(keys).map(|(disk, key)| (disk.uuid.clone(), (*key).to_owned()));
    let differ = pairs.filter(|(old, key)| old != key && !key.is_empty());
    (disks.len() == keys.len()).then(|| differ.collect())
}

/// A record as hosts import it without disks: a tar of `ova.xml` and nothing else (contract 2.2).
pub fn tar_of_record(record: &[u8]) -> Vec<u8> {
    let len = record.len() as u64;
    let header = v7_header(MEMBER_NAME.as_bytes(), len);
    [&header[..], record, &vec![0; padding_len(len)], &[0; 2 * BLOCK_LEN]].concat()
}

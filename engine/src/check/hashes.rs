//! Every object against its name or its final hash: works on any copy, without a key (SPEC 3).

use repo_format::FormatError;
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::{IndexHash, PackId};
use repo_format::limits::{CATALOG_LEN_MAX, INDEX_LEN_MAX, PACK_LEN_MAX, ROOT_LEN_MAX};
use repo_format::object_name::{Directory, ObjectName};
use repo_format::wire::strip_final_hash;

use super::{Finding, Report};
use crate::observer::{Event, Observer};
use crate::storage::{Storage, StorageError};

/// Checks every object of a repository, packs included.
pub fn check_hashes(
    storage: &dyn Storage,
    observer: &dyn Observer,
) -> Result<Report, StorageError> {
    let mut report = Report::default();
    check_directories(storage, &Directory::ALL, observer, &mut report)?;
    Ok(report)
}

/// Checks every object but packs.
pub(super) fn check_small_objects(
    storage: &dyn Storage,
    observer: &dyn Observer,
    report: &mut Report,
) -> Result<(), StorageError> {
    let small = Directory::ALL.into_iter().filter(|directory| *directory != Directory::Packs);
    check_directories(storage, &small.collect::<Vec<_>>(), observer, report)
}

fn check_directories(
    storage: &dyn Storage,
    directories: &[Directory],
    observer: &dyn Observer,
    report: &mut Report,
) -> Result<(), StorageError> {
    let mut objects = Vec::new();
    for directory in directories {
        objects.extend(storage.list(*directory)?);
    }
    let total = objects.iter().map(|(_, len)| len).sum();
    observer.event(Event::Begins { what: "comparing objects with their names", total });
    for (name, len) in objects {
        check_object(storage, name, report);
        report.checked.objects += 1;
        report.checked.bytes += len;
        observer.event(Event::Advanced { by: len });
    }
    Ok(())
}

fn check_object(storage: &dyn Storage, name: ObjectName, report: &mut Report) {
    let bytes = match storage.read(name, limit(name)) {
        Ok(bytes) => bytes,
        // It was deleted between the listing and now: a session that ended.
        Err(StorageError::NotFound { .. }) => return,
        Err(error) => {
            report.findings.push(Finding::Unreadable { name, reason: error.to_string() });
            return;
        }
    };
    if let Err(source) = verify(name, &bytes) {
        report.findings.push(Finding::Damaged { name, source });
    }
}

/// Compares an object with its name or final hash, and its kind with its place.
pub fn verify(name: ObjectName, bytes: &[u8]) -> Result<(), FormatError> {
    let matches = |same: bool, what| if same { Ok(()) } else { Err(FormatError::Hash { what }) };
    match name {
        ObjectName::Pack(id) => matches(PackId::of(bytes) == id, "pack")?,
        ObjectName::Index(name) | ObjectName::Prints(name) => {
            matches(IndexHash::of(bytes) == name.hash, "index object")?;
        }
        _ => drop(strip_final_hash("object", bytes)?),
    }
    let kind = claimed_kind(bytes)?;
    let fits = match name {
        ObjectName::Config { .. } => kind == Kind::Config,
        ObjectName::KeySlot { .. } => kind == Kind::KeySlot,
        ObjectName::Pack(_) => matches!(kind, Kind::DataPack | Kind::MapPack | Kind::PrintPack),
        ObjectName::Index(_) => matches!(kind, Kind::SegmentIndex | Kind::ChunkIndex),
        ObjectName::Prints(_) => kind == Kind::PrintIndex,
        ObjectName::Snapshot(_) => matches!(kind, Kind::Snapshot | Kind::Tombstone),
        ObjectName::Marker(_) => kind == Kind::Marker,
        ObjectName::Session(_) => kind == Kind::Session,
        ObjectName::State(_) => kind == Kind::State,
    };
    match fits {
        true => Ok(()),
        false => Err(FormatError::Invalid { what: "kind of object in its place" }),
    }
}

/// The largest length that an object of this kind may have.
#[must_use]
pub const fn limit(name: ObjectName) -> u64 {
    match name {
        ObjectName::Config { .. } | ObjectName::KeySlot { .. } => ROOT_LEN_MAX,
        ObjectName::Pack(_) => PACK_LEN_MAX,
        ObjectName::Index(_) | ObjectName::Prints(_) => INDEX_LEN_MAX,
        _ => CATALOG_LEN_MAX,
    }
}

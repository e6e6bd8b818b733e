//! Structure: every snapshot leads to packs that are there, without reading data.

use std::collections::{BTreeMap, HashSet};

use repo_format::FormatError;
use repo_format::config::Config;
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::PackId;
use repo_format::object_name::{Directory, ObjectName, ROOTS};
use repo_format::session::SessionRecord;
use repo_format::slot::Slot;
use repo_format::snapshot::{Snapshot, SnapshotDisk};
use repo_format::state::State;
use repo_format::void;

use super::hashes::limit;
use super::{Finding, Report};
use crate::catalog::CatalogError;
use crate::observer::{Event, Observer};
use crate::prints;
use crate::reader::{ContentReadError, Reader};
use crate::repository::{Repository, parse_index};
use crate::snapshots;
use crate::storage::StorageError;
use crate::walk::Segments;

/// Segments asked for at a time.
const WINDOW: usize = 256;

/// Opens every object that is not a pack, and compares the copies of the roots.
pub(super) fn check_objects(
    repository: &Repository,
    report: &mut Report,
) -> Result<(), StorageError> {
    let storage = repository.storage();
    let mut roots: BTreeMap<String, Vec<(ObjectName, Vec<u8>)>> = BTreeMap::new();
    for directory in Directory::ALL.into_iter().filter(|found| *found != Directory::Packs) {
        for (name, _) in storage.list(directory)? {
            let Ok(bytes) = storage.read(name, limit(name)) else { continue };
            if let Err(source) = open_object(repository, name, &bytes) {
                let finding = Finding::Damaged { name, source };
                if !report.findings.iter().any(|found| is_about(found, name)) {
                    report.findings.push(finding);
                }
            }
            if let ObjectName::Session(id) = name {
                report.findings.push(Finding::Session { id });
            }
            if let Some(root) = name.to_string().strip_prefix("roots/") {
                roots.entry(root[2..].to_owned()).or_default().push((name, bytes));
            }
        }
    }
    for copies in roots.into_values() {
        check_copies(&copies, report);
    }
    Ok(())
}

fn is_about(finding: &Finding, name: ObjectName) -> bool {
    matches!(finding, Finding::Damaged { name: found, .. } if *found == name)
}

/// All three copies of a root must be there and the same.
fn check_copies(copies: &[(ObjectName, Vec<u8>)], report: &mut Report) {
    let sound = copies.iter().find(|(name, bytes)| super::hashes::verify(*name, bytes).is_ok());
    for copy in ROOTS {
        let name = match copies[0].0 {
            ObjectName::Config { number, .. } => ObjectName::Config { copy, number },
            ObjectName::KeySlot { id, .. } => ObjectName::KeySlot { copy, id },
            _ => continue,
        };
        let found = copies.iter().find(|(found, _)| *found == name).map(|(_, bytes)| bytes);
        let same = found.is_some() && found == sound.map(|(_, bytes)| bytes);
        if !same && !report.findings.iter().any(|finding| is_about(finding, name)) {
            report.findings.push(Finding::RootCopy { name });
        }
    }
}

fn open_object(repository: &Repository, name: ObjectName, bytes: &[u8]) -> Result<(), FormatError> {
    let keys = repository.keys();
    match name {
        ObjectName::Config { .. } => Config::parse(bytes).map(drop),
        ObjectName::KeySlot { .. } => Slot::parse(bytes)?.info(keys).map(drop),
        ObjectName::Index(_) | ObjectName::Prints(_) => parse_index(keys, name, bytes).map(drop),
        ObjectName::Snapshot(id) => match claimed_kind(bytes)? {
            Kind::Tombstone => void::parse(Kind::Tombstone, keys.repository(), id, bytes),
            _ => Snapshot::open(keys, id, bytes).map(drop),
        },
        ObjectName::Marker(id) => void::parse(Kind::Marker, keys.repository(), id, bytes),
        ObjectName::Session(_) => SessionRecord::open(keys, bytes).map(drop),
        ObjectName::State(number) => State::open(keys, number, bytes).map(drop),
        ObjectName::Pack(_) => Ok(()),
    }
}

/// Compares the packs that the index names with those that are there. Returns those that are, with their length.
pub(super) fn check_packs(
    reader: &Reader<'_>,
    report: &mut Report,
) -> Result<BTreeMap<PackId, u64>, StorageError> {
    let mut listed = BTreeMap::new();
    for (name, len) in reader.repository().storage().list(Directory::Packs)? {
        if let ObjectName::Pack(id) = name {
            listed.insert(id, len);
        }
    }
    let mut named: BTreeMap<PackId, u64> = BTreeMap::new();
    reader.with_lookup(|lookup| named.extend(lookup.packs().map(|(_, id, len, _)| (id, len))));
    for (pack, expected) in &named {
        let pack = *pack;
        match listed.get(&pack) {
            None => report.findings.push(Finding::PackMissing { pack }),
            Some(found) if found != expected => {
                let (found, expected) = (*found, *expected);
                report.findings.push(Finding::PackLength { pack, found, expected });
            }
            Some(_) => {}
        }
    }
    let prints = prints::packs(reader.repository())?;
    let missing = prints.iter().filter(|(pack, len)| listed.get(pack) != Some(len));
    let missing = missing.map(|(pack, _)| Finding::PrintsMissing { pack: *pack });
    report.findings.extend(missing);
    let is_named = |pack: &PackId| named.contains_key(pack) || prints.contains_key(pack);
    let unused = listed.keys().filter(|pack| !is_named(pack));
    report.findings.extend(unused.map(|pack| Finding::PackUnused { pack: *pack }));
    listed.retain(|pack, len| named.get(pack) == Some(len));
    Ok(listed)
}

/// Follows every snapshot down to chunks in packs that are there.
pub(super) fn check_snapshots(
    reader: &Reader<'_>,
    packs: &BTreeMap<PackId, u64>,
    observer: &dyn Observer,
    report: &mut Report,
) -> Result<(), CatalogError> {
    let catalog = reader.catalog();
    let ids: Vec<_> = catalog.snapshots.difference(&catalog.forgotten).copied().collect();
    observer.event(Event::Begins { what: "following snapshots", total: ids.len() as u64 });
    let mut follower = Follower { reader, packs, seen: HashSet::new() };
    for id in ids {
        // One that cannot be opened has been found before.
        if let Ok(snapshot) = snapshots::read_snapshot(reader.repository(), id) {
            for disk in &snapshot.disks {
                if let Err(error) = follower.follow(disk) {
                    let (disk, reason) = (disk.name.clone(), error.to_string());
                    report.findings.push(Finding::Unrestorable { snapshot: id, disk, reason });
                }
            }
            report.checked.snapshots += 1;
        }
        observer.event(Event::Advanced { by: 1 });
    }
    Ok(())
}

/// Walks disks, and looks at each segment once however many snapshots share it.
struct Follower<'r> {
    reader: &'r Reader<'r>,
    packs: &'r BTreeMap<PackId, u64>,
    /// First eight bytes of the ids of sound segments: ids are keyed hashes, and a false match only skips one look.
    seen: HashSet<[u8; 8]>,
}

impl Follower<'_> {
    fn follow(&mut self, disk: &SnapshotDisk) -> Result<(), ContentReadError> {
        let stored = self.reader.disk(disk.id)?;
        let mut walk = Segments::of(self.reader, disk.id, &stored)?;
        loop {
            let window = walk.next_window(WINDOW)?;
            if window.is_empty() {
                return Ok(());
            }
            for (_, id) in window {
                let (short, _) = id.as_bytes().split_first_chunk().expect("an id has 32 bytes");
                if !self.seen.contains(short) {
                    self.follow_chunks(&self.reader.map(id)?)?;
                    self.seen.insert(*short);
                }
            }
        }
    }

    fn follow_chunks(&self, map: &repo_format::map::Map) -> Result<(), ContentReadError> {
        for chunk in map.chunks() {
            let found = self.reader.with_lookup(|lookup| {
                let locations = lookup.find_all_chunks(&chunk.id)?;
                let fits = |location: &crate::lookup::Location| {
                    location.place.len == chunk.len
                        && self.packs.contains_key(&lookup.pack_id(location.pack))
                };
                Ok::<_, ContentReadError>(locations.iter().any(fits))
            })?;
            if !found {
                let id = chunk.id.to_string();
                return Err(ContentReadError::Missing { what: "chunk", id });
            }
        }
        Ok(())
    }
}

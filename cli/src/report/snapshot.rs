//! Snapshots and their disks, as they are told.

use repo_format::snapshot::{Consistency, DiskRole, Snapshot, SnapshotDisk};
use serde::Serialize;

use crate::clock;

/// Digits of an id that people see.
const SHORT_LEN: usize = 8;

/// A snapshot. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct SnapshotEntry {
    id: String,
    short_id: String,
    time: String,
    vm_name: Option<String>,
    vm_uuid: Option<String>,
    container: String,
    compression: String,
    path: String,
    exported_by: Option<String>,
    tags: Vec<String>,
    run: String,
    run_id: String,
    host: String,
    program: String,
    disks: Vec<DiskEntry>,
    consistency: &'static str,
    size: u64,
    data: u64,
    read: u64,
    new: u64,
    added: u64,
    checksums_verified: u64,
    elapsed_ms: u64,
    predecessor: Option<String>,
}

/// A disk or stream of a snapshot.
#[derive(Debug, Serialize)]
pub struct DiskEntry {
    number: Option<usize>,
    name: String,
    role: &'static str,
    size: u64,
    key: String,
    disk_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<u64>,
    #[serde(flatten)]
    way: Option<Way>,
}

/// How a disk came from a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What recognises the disk.
    #[serde(skip)]
    pub uuid: String,
    /// `xva`, `raw`, `vhd` or `nbd`.
    pub transfer: &'static str,
    /// Whether only changes were read.
    pub changes_only: bool,
    /// Why it came so, and not in the way that would be best; empty if it is.
    pub reason: String,
}

impl SnapshotEntry {
    /// A snapshot as it is stored.
    pub fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { origin, statistics, .. } = snapshot;
        Self {
            id: snapshot.id.to_string(),
            short_id: short_id(&snapshot.id),
            time: clock::rfc3339(snapshot.time, snapshot.utc_offset),
            vm_name: origin.vm_name.clone(),
            vm_uuid: origin.vm_uuid.clone(),
            container: origin.container.clone(),
            compression: origin.compression.clone(),
            path: origin.path.clone(),
            exported_by: origin.host_name.clone(),
            tags: snapshot.tags.clone(),
            run: snapshot.run_name.clone(),
            run_id: snapshot.run.to_string(),
            host: snapshot.host.clone(),
            program: snapshot.program.clone(),
            disks: DiskEntry::all(snapshot),
            consistency: consistency_name(snapshot.consistency),
            size: size_bytes(snapshot),
            data: statistics.data_bytes,
            read: statistics.input_bytes,
            new: statistics.new_bytes,
            added: statistics.stored_bytes,
            checksums_verified: statistics.checksums_verified,
            elapsed_ms: statistics.elapsed_ms,
            predecessor: snapshot.predecessor.map(|id| id.to_string()),
        }
    }

    /// The same, with the bytes of new chunks of each disk, in their order, and how disks came.
    pub fn of_backup(snapshot: &Snapshot, new_bytes: &[u64], ways: &[Way]) -> Self {
        let mut entry = Self::of(snapshot);
        for (disk, new) in entry.disks.iter_mut().zip(new_bytes) {
            disk.new = Some(*new);
            disk.way = ways.iter().find(|way| way.uuid == disk.key).cloned();
        }
        entry
    }
}

impl Way {
    /// All of a disk was read, for no other reason than that it was to be.
    pub fn whole(transfer: &'static str, uuid: &str) -> Self {
        Self { uuid: uuid.to_owned(), transfer, changes_only: false, reason: String::new() }
    }

    /// `nbd, changes only` or `xva: the pool has no network for NBD`.
    pub fn text(&self) -> String {
        let what = match self.changes_only {
            true => format!("{}, changes only", self.transfer),
            false => self.transfer.to_owned(),
        };
        match &*self.reason {
            "" => what,
            reason => format!("{what}: {reason}"),
        }
    }
}

impl DiskEntry {
    /// The disks and streams of a snapshot, in their order.
    pub fn all(snapshot: &Snapshot) -> Vec<Self> {
        let order = disk_order(snapshot);
        let entry = |(place, disk): (usize, &SnapshotDisk)| Self {
            number: order.iter().position(|numbered| *numbered == place),
            name: disk.name.clone(),
            role: role_name(disk.role),
            size: disk.size_bytes,
            key: disk.key.clone(),
            disk_id: disk.id.to_string(),
            new: None,
            way: None,
        };
        snapshot.disks.iter().enumerate().map(entry).collect()
    }
}

/// The first digits of an id.
pub fn short_id(id: &impl std::fmt::Display) -> String {
    let mut id = id.to_string();
    id.truncate(SHORT_LEN);
    id
}

/// What a snapshot is of: the VM's name, or the path of what is no VM.
pub fn subject(snapshot: &Snapshot) -> &str {
    let origin = &snapshot.origin;
    origin.vm_name.as_ref().or(origin.vm_uuid.as_ref()).unwrap_or(&origin.path)
}

/// Places of the disks and files, in the order of the numbers by which people choose them:
/// `xvda` before `xvdb`
/// before `xvdaa`. An export has them in another order every night.
pub fn disk_order(snapshot: &Snapshot) -> Vec<usize> {
    let disk = |place: &usize| &snapshot.disks[*place];
    let mut places: Vec<usize> = (0..snapshot.disks.len()).collect();
    places.retain(|place| is_numbered(disk(place).role));
    places.sort_by_key(|place| (disk(place).name.len(), &disk(place).name));
    places
}

/// Bytes of all disks and files, holes included.
pub fn size_bytes(snapshot: &Snapshot) -> u64 {
    let places = disk_order(snapshot).into_iter();
    places.map(|place| snapshot.disks[place].size_bytes).fold(0, u64::saturating_add)
}

/// Whether people choose it by a number: what is no disk or file is there for the program.
const fn is_numbered(role: DiskRole) -> bool {
    match role {
        DiskRole::Disk | DiskRole::Memory | DiskRole::File => true,
        DiskRole::Record | DiskRole::Layout => false,
    }
}

/// What a disk or stream is.
pub const fn role_name(role: DiskRole) -> &'static str {
    match role {
        DiskRole::Disk => "disk",
        DiskRole::Memory => "memory",
        DiskRole::Record => "record",
        DiskRole::Layout => "layout",
        DiskRole::File => "file",
    }
}

/// What it is called that disks are consistent among each other.
pub const fn consistency_name(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Unknown => "unknown",
        Consistency::Crash => "crash",
        Consistency::Quiesced => "quiesced",
        Consistency::Cold => "cold",
        Consistency::Memory => "memory",
    }
}

//! A snapshot: one restore point (SPEC 9.2). Creating it is the commit.

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::FormatError;
use crate::header::Kind;
use crate::id::{DiskId, RunId, SnapshotId};
use crate::keys::{Keys, Secret};
use crate::limits::{DISK_SIZE_MAX, DISKS_MAX, TAGS_MAX, TEXT_MAX};
use crate::seal::{open_catalog, seal_catalog};

/// Who, when and what.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// Its name.
    #[n(0)]
    pub id: SnapshotId,
    /// Seconds since 1970, UTC.
    #[n(1)]
    pub time: u64,
    /// Minutes east of UTC where it was made.
    #[n(2)]
    pub utc_offset: i16,
    /// The run that it belongs to.
    #[n(3)]
    pub run: RunId,
    /// Name of the run; may be empty.
    #[n(4)]
    pub run_name: String,
    /// Host that ran the program.
    #[n(5)]
    pub host: String,
    /// Program and version.
    #[n(6)]
    pub program: String,
    /// Sorted, without duplicates.
    #[n(7)]
    pub tags: Vec<String>,
    /// Where it came from.
    #[n(8)]
    pub origin: Origin,
    /// Disks and streams in the order in which they came.
    #[n(9)]
    pub disks: Vec<SnapshotDisk>,
    /// How consistent the disks are among each other.
    #[n(10)]
    pub consistency: Consistency,
    /// What it cost.
    #[n(11)]
    pub statistics: Statistics,
    /// The snapshot of the same VM before this one.
    #[n(12)]
    pub predecessor: Option<SnapshotId>,
}

/// Where a snapshot came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// `xva`, `vhd`, `qcow2`, `raw`, `file`, `pool-db`, `host` or `metadata`.
    #[n(0)]
    pub container: String,
    /// Compression around it: empty, `gzip` or `zstd`.
    #[n(1)]
    pub compression: String,
    /// The uuid of the VM, pool or host.
    #[n(2)]
    pub vm_uuid: Option<String>,
    /// Its name.
    #[n(3)]
    pub vm_name: Option<String>,
    /// The host that exported.
    #[n(4)]
    pub host_name: Option<String>,
    /// What the user named.
    #[n(5)]
    pub path: String,
    /// How the VMs of the run were chosen, if they were.
    #[n(6)]
    pub selection: Option<String>,
}

/// A disk or stream of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotDisk {
    /// What it is.
    #[n(0)]
    pub role: DiskRole,
    /// What people call it.
    #[n(1)]
    pub name: String,
    /// What recognises it on another night; may be empty.
    #[n(2)]
    pub key: String,
    /// Virtual size.
    #[n(3)]
    pub size_bytes: u64,
    /// Its id.
    #[n(4)]
    pub id: DiskId,
    /// What its source called the state that it read, if that can tell later what has changed since.
    #[n(5)]
    pub version: Option<String>,
}

/// What a disk or stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DiskRole {
    /// A disk of the VM.
    #[n(0)]
    Disk,
    /// A memory image.
    #[n(1)]
    Memory,
    /// The VM record.
    #[n(2)]
    Record,
    /// The layout of the container.
    #[n(3)]
    Layout,
    /// A file as it is.
    #[n(4)]
    File,
}

/// How consistent the disks are among each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Consistency {
    /// The container does not tell.
    #[n(0)]
    Unknown,
    /// As after pulling the plug.
    #[n(1)]
    Crash,
    /// The guest flushed first.
    #[n(2)]
    Quiesced,
    /// The VM was halted.
    #[n(3)]
    Cold,
    /// With its memory.
    #[n(4)]
    Memory,
}

/// What a snapshot cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Statistics {
    /// Bytes taken from the input.
    #[n(0)]
    pub input_bytes: u64,
    /// Bytes of all disks and streams, holes included.
    #[n(1)]
    pub virtual_bytes: u64,
    /// Bytes of segments that are not holes.
    #[n(2)]
    pub data_bytes: u64,
    /// Bytes of new chunks before compression.
    #[n(3)]
    pub new_bytes: u64,
    /// Bytes of packs and index objects stored.
    #[n(4)]
    pub stored_bytes: u64,
    /// Block checksums verified.
    #[n(5)]
    pub checksums_verified: u64,
    /// Milliseconds.
    #[n(6)]
    pub elapsed_ms: u64,
}

impl Snapshot {
    /// The CBOR, for the copy in a map pack (SPEC 8.1).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads the CBOR and checks the limits.
    pub fn parse(cbor: &[u8]) -> Result<Self, FormatError> {
        let snapshot: Self = cbor::decode("snapshot", cbor)?;
        snapshot.check()?;
        Ok(snapshot)
    }

    /// Whether a reader would take it: limits of texts and lists (SPEC 13), order of the tags.
    /// Writers ask before they seal.
    pub fn check(&self) -> Result<(), FormatError> {
        let Self { origin, disks, tags, .. } = self;
        let texts = [
            &self.run_name,
            &self.host,
            &self.program,
            &origin.container,
            &origin.compression,
            &origin.path,
        ];
        let optional = [&origin.vm_uuid, &origin.vm_name, &origin.host_name, &origin.selection];
        let short = texts
            .into_iter()
            .chain(optional.into_iter().flatten())
            .chain(disks.iter().flat_map(|disk| [&disk.name, &disk.key]))
            .chain(disks.iter().filter_map(|disk| disk.version.as_ref()))
            .chain(tags)
            .all(|text| text.len() <= TEXT_MAX);
        let checks = [
            (short, "a text of the snapshot: it is too long"),
            (tags.len() <= TAGS_MAX, "the list of tags: it is too long"),
            (tags.is_sorted_by(|a, b| a < b), "the order of tags"),
            (disks.len() <= DISKS_MAX, "the list of disks: it is too long"),
            (disks.iter().all(|disk| disk.size_bytes <= DISK_SIZE_MAX), "the size of a disk"),
        ];
        match checks.into_iter().find(|(sound, _)| !sound) {
            None => Ok(()),
            Some((_, what)) => Err(FormatError::Invalid { what }),
        }
    }

    /// The object.
    #[must_use]
    pub fn seal(&self, keys: &Keys, seed: &Secret) -> Vec<u8> {
        seal_catalog(keys, Kind::Snapshot, seed, &self.encode())
    }

    /// Opens an object that must be snapshot `id`.
    pub fn open(keys: &Keys, id: SnapshotId, object: &[u8]) -> Result<Self, FormatError> {
        let cbor = open_catalog(keys, Kind::Snapshot, "snapshot", object)?;
        let snapshot = Self::parse(&cbor)?;
        match snapshot.id == id {
            true => Ok(snapshot),
            false => Err(FormatError::Invalid { what: "id of the snapshot" }),
        }
    }
}

//! Snapshots as tests need them.

use repo_format::id::{DiskId, RunId, SnapshotId};
use repo_format::snapshot::{Consistency, DiskRole, Origin, Snapshot, SnapshotDisk, Statistics};

/// A snapshot of this number, which is its time, too: of an export, with nothing in it.
pub fn snapshot(number: u8) -> Snapshot {
    Snapshot {
        id: SnapshotId::from_bytes([number; 16]),
        time: u64::from(number),
        utc_offset: 0,
        run: RunId::from_bytes([0; 16]),
        run_name: String::new(),
        host: String::new(),
        program: String::new(),
        tags: Vec::new(),
        origin: Origin { container: "xva".to_owned(), ..Origin::default() },
        disks: Vec::new(),
        consistency: Consistency::Crash,
        statistics: Statistics::default(),
        predecessor: None,
    }
}

/// A disk of one byte.
pub fn disk(role: DiskRole, name: &str) -> SnapshotDisk {
    SnapshotDisk {
        role,
        name: name.to_owned(),
        key: String::new(),
        size_bytes: 1,
        id: DiskId::from_bytes([0; 32]),
        version: None,
    }
}

//! What a repository holds and what that costs.

use repo_format::header::Kind;
use repo_format::object_name::Directory;
use repo_format::snapshot::Snapshot;

use crate::catalog::CatalogError;
use crate::prints;
use crate::reader::Reader;

/// Sizes in bytes and counts of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Snapshots that were asked for.
    pub snapshots: u64,
    /// Virtual size of all their disks and streams, together.
    pub virtual_bytes: u64,
    /// Bytes of their segments that are not holes, together.
    pub data_bytes: u64,
    /// Data packs and their bytes.
    pub data_packs: u64,
    /// Bytes of data packs.
    pub data_pack_bytes: u64,
    /// Map packs.
    pub map_packs: u64,
    /// Bytes of map packs.
    pub map_pack_bytes: u64,
    /// Print packs, which only backups use.
    pub print_packs: u64,
    /// Bytes of print packs.
    pub print_pack_bytes: u64,
    /// Index objects, those of prints included.
    pub index_objects: u64,
    /// Bytes of index objects.
    pub index_bytes: u64,
    /// Bytes of all frames of data packs before compression.
    pub uncompressed_bytes: u64,
    /// Bytes of everything in the repository.
    pub total_bytes: u64,
}

/// Adds up the repository, and the logical sizes of `snapshots`.
pub fn stats(reader: &Reader<'_>, snapshots: &[Snapshot]) -> Result<Stats, CatalogError> {
    let mut stats = Stats { snapshots: snapshots.len() as u64, ..Stats::default() };
    for snapshot in snapshots {
        stats.virtual_bytes += snapshot.statistics.virtual_bytes;
        stats.data_bytes += snapshot.statistics.data_bytes;
    }
    reader.with_lookup(|lookup| {
        for (number, _, len, kind) in lookup.packs() {
            if kind == Kind::DataPack {
                stats.data_packs += 1;
                stats.data_pack_bytes += len;
                let frames = lookup.pack(number)?.frames;
                stats.uncompressed_bytes +=
                    frames.iter().map(|frame| u64::from(frame.plain_len)).sum::<u64>();
            } else {
                stats.map_packs += 1;
                stats.map_pack_bytes += len;
            }
        }
        Ok::<_, CatalogError>(())
    })?;
    for len in prints::packs(reader.repository())?.into_values() {
        stats.print_packs += 1;
        stats.print_pack_bytes += len;
    }
    let storage = reader.repository().storage();
    for directory in Directory::ALL {
        let objects = storage.list(directory)?;
        let bytes = objects.iter().map(|(_, len)| len).sum::<u64>();
        stats.total_bytes += bytes;
        if matches!(directory, Directory::Index | Directory::Prints) {
            stats.index_objects += objects.len() as u64;
            stats.index_bytes += bytes;
        }
    }
    Ok(stats)
}

//! Tombstones and markers: a session was fenced, a snapshot is forgotten (SPEC 3.3).

use crate::error::FormatError;
use crate::header::{Kind, read_clear, write_clear};
use crate::id::{RepositoryId, SnapshotId};
use crate::wire::{Reader, Writer, strip_final_hash, with_final_hash};

/// Bytes of a tombstone or marker; every snapshot is longer.
pub const VOID_LEN: usize = 96;

/// A tombstone ([`Kind::Tombstone`]) or marker ([`Kind::Marker`]) of `id`, made at `time` (seconds since 1970).
#[must_use]
pub fn encode(kind: Kind, repository: RepositoryId, id: SnapshotId, time: u64) -> Vec<u8> {
    assert!(matches!(kind, Kind::Tombstone | Kind::Marker));
    let mut w = Writer::with_capacity(VOID_LEN);
    write_clear(&mut w, kind, 0, repository);
    w.bytes(id.as_bytes()).u64(time).zeros(8);
    let object = with_final_hash(w.finish());
    assert_eq!(object.len(), VOID_LEN);
    object
}

/// Whether `object` is a sound tombstone or marker of `id`.
pub fn parse(
    kind: Kind,
    repository: RepositoryId,
    id: SnapshotId,
    object: &[u8],
) -> Result<(), FormatError> {
    let mut r = Reader::new("void", strip_final_hash("void", object)?);
    let (_, found) = read_clear(&mut r, kind)?;
    let named = SnapshotId::from_bytes(r.array()?);
    r.u64()?;
    r.zeros(8)?;
    r.end()?;
    match found == repository && named == id {
        true => Ok(()),
        false => Err(FormatError::Invalid { what: "void" }),
    }
}

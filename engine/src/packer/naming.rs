//! Which index objects name packs that are on storage. Pure.

use repo_format::header::Kind;
use repo_format::id::{Fingerprint, SegmentId};
use repo_format::index::{
    ChunkRecord, HookRecord, IndexObject, IndexedPack, Records, SegmentRecord,
};
use repo_format::pack::{CatalogEntry, ChunkEntry, Entries, EntryKind};

/// Fingerprints, each with the segment to which it shall lead.
pub type Hooks = Vec<(SegmentId, Fingerprint)>;

/// The index objects that name these packs: one for maps, nodes and disks, one for chunks, one for prints. That takes
/// the `hooks` that lead to its segments.
pub fn index_objects(packs: Vec<(IndexedPack, Entries)>, hooks: &mut Hooks) -> Vec<IndexObject> {
    let (mut segments, mut chunks, mut prints) = (Vec::new(), Vec::new(), Vec::new());
    let (mut map_packs, mut data_packs, mut print_packs) = (Vec::new(), Vec::new(), Vec::new());
    for (pack, entries) in packs {
        match entries {
            Entries::Chunks(entries) => {
                let number = data_packs.len() as u32;
                let record = |e: ChunkEntry| ChunkRecord { id: e.id, pack: number, place: e.place };
                chunks.extend(entries.into_iter().map(record));
                data_packs.push(pack);
            }
            Entries::Catalog(entries) => {
                let (packs, records) = match pack.kind {
                    Kind::PrintPack => (&mut print_packs, &mut prints),
                    _ => (&mut map_packs, &mut segments),
                };
                let number = packs.len() as u32;
                let record = |e: CatalogEntry| SegmentRecord {
                    id: e.id,
                    kind: e.kind,
                    pack: number,
                    place: e.place,
                };
                // Copies of snapshots are found through a pack's contents, when listings are lost.
                let indexed = entries.into_iter().filter(|e| e.kind != EntryKind::Snapshot);
                records.extend(indexed.map(record));
                packs.push(pack);
            }
        }
    }
    prints.sort_unstable_by_key(|record| record.id);
    prints.dedup_by_key(|record| record.id);
    let hooks = take_hooks(&prints, hooks);
    let objects = [
        IndexObject { packs: print_packs, records: Records::Prints(prints, hooks) },
        IndexObject { packs: map_packs, records: Records::Segments(segments) },
        IndexObject { packs: data_packs, records: Records::Chunks(chunks) },
    ];
    objects.into_iter().filter(|object| !object.packs.is_empty()).collect()
}

/// The hooks that lead to a segment of `prints`, which are sorted; the others stay.
fn take_hooks(prints: &[SegmentRecord], hooks: &mut Hooks) -> Vec<HookRecord> {
    let mut taken = Vec::new();
    hooks.retain(|(segment, fingerprint)| {
        let found = prints.binary_search_by_key(segment.as_bytes(), |record| record.id);
        let taken_here =
            found.map(|place| HookRecord { fingerprint: *fingerprint, segment: place as u32 });
        taken.extend(taken_here);
        found.is_err()
    });
    taken
}

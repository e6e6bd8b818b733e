//! Content: packs read whole, compared with their names, opened, and every entry compared with its id.

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_format::FormatError;
use repo_format::disk::{Disk, disk_id};
use repo_format::frame::{Codec, Decompressor};
use repo_format::header::{Kind, SEALED_HEADER_LEN, SealedHeader};
use repo_format::id::PackId;
use repo_format::keys::{Keys, Role};
use repo_format::limits::PACK_LEN_MAX;
use repo_format::map::Map;
use repo_format::node::{Node, node_id};
use repo_format::object_name::{Directory, ObjectName};
use repo_format::pack::{
    CatalogEntry, Contents, Entries, EntryKind, TRAILER_LEN, Trailer, frame_offset,
};
use repo_format::print::StoredPrint;
use repo_format::seal::Sealer;
use repo_format::segment::chunk_id;
use repo_format::snapshot::Snapshot;

use super::{Finding, Report};
use crate::catalog::CatalogError;
use crate::lookup::PackFacts;
use crate::observer::{Event, Observer};
use crate::parallel::Workers;
use crate::reader::{Reader, kind_name};
use crate::storage::{Storage, StorageError};

/// Which packs are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// All.
    All,
    /// Part `part` of `parts`, counted from 1: reading every part reads every pack.
    Part {
        /// Which, from 1.
        part: u32,
        /// How many.
        parts: u32,
    },
    /// About this share of the packs, chosen at random.
    Percent(f64),
    /// About this many bytes, chosen at random.
    Bytes(u64),
}

/// Reads the packs of `subset`.
pub(super) fn check_content(
    reader: &Reader<'_>,
    workers: &Workers,
    subset: Subset,
    observer: &dyn Observer,
    report: &mut Report,
) -> Result<(), CatalogError> {
    let repository = reader.repository();
    let role = repository.keys().role();
    if role == Role::Backup {
        report.findings.push(Finding::NotOpened);
    }
    let named = reader.with_lookup(|lookup| lookup.packs().collect::<Vec<_>>());
    let mut sizes: Vec<_> = named.iter().map(|(_, id, len, _)| (*id, *len)).collect();
    sizes.extend(unnamed_packs(reader, &sizes)?);
    let seed = crate::surroundings::random(repository.surroundings());
    let chosen = choose(&sizes, subset, seed);
    let total = chosen.iter().map(|number| sizes[*number].1).sum();
    observer.event(Event::Begins { what: "reading packs", total });
    let examiner = Arc::new(PackExaminer {
        storage: Arc::clone(repository.storage()),
        keys: repository.keys().clone(),
        role,
    });
    // One pack for each worker: 64 MiB each.
    let mut reading = workers.ordered(workers.count());
    let take = |(len, findings): (u64, Vec<Finding>), report: &mut Report| {
        report.findings.extend(findings);
        report.checked.packs += 1;
        report.checked.bytes += len;
        observer.event(Event::Advanced { by: len });
    };
    for number in chosen {
        let (id, len) = sizes[number];
        let known = named.get(number).map(|(number, ..)| *number);
        let facts = known.map(|number| reader.with_lookup(|lookup| lookup.pack(number)));
        let facts = facts.transpose()?;
        let examiner = Arc::clone(&examiner);
        reading.submit(move || (len, examiner.examine(id, facts.as_ref())));
        while reading.is_full() {
            reading.next().into_iter().for_each(|found| take(found, report));
        }
    }
    while let Some(found) = reading.next() {
        take(found, report);
    }
    Ok(())
}

/// Packs that no index object names. The next backup may take their chunks over, so their bytes are compared too.
fn unnamed_packs(
    reader: &Reader<'_>,
    named: &[(PackId, u64)],
) -> Result<Vec<(PackId, u64)>, StorageError> {
    let named: BTreeSet<_> = named.iter().map(|(id, _)| *id).collect();
    let listed = reader.repository().storage().list(Directory::Packs)?.into_iter();
    let unnamed = listed.filter_map(|(name, len)| match name {
        ObjectName::Pack(id) if !named.contains(&id) => Some((id, len)),
        _ => None,
    });
    Ok(unnamed.collect())
}

/// Places of the packs to read. Pure: `seed` decides what is random.
fn choose(packs: &[(PackId, u64)], subset: Subset, seed: [u8; 32]) -> Vec<usize> {
    // A keyed hash of the id puts the packs in an order that nobody can foresee.
    let mut shuffled: Vec<_> = (0..packs.len()).collect();
    shuffled.sort_by_cached_key(|n| *blake3::keyed_hash(&seed, packs[*n].0.as_bytes()).as_bytes());
    let mut chosen: Vec<usize> = match subset {
        Subset::All => shuffled,
        Subset::Part { part, parts } => {
            let belongs = |n: &usize| {
                let [.., a, b] = *packs[*n].0.as_bytes();
                u32::from(u16::from_le_bytes([a, b])) % parts.max(1) + 1 == part
            };
            shuffled.into_iter().filter(belongs).collect()
        }
        Subset::Percent(percent) => {
            let count = (packs.len() as f64 * percent / 100.0).ceil() as usize;
            shuffled.into_iter().take(count).collect()
        }
        Subset::Bytes(bytes) => {
            let mut left = bytes;
            let take = |n: &usize| {
                let wanted = left > 0;
                left = left.saturating_sub(packs[*n].1);
                wanted
            };
            shuffled.into_iter().take_while(take).collect()
        }
    };
    chosen.sort_unstable();
    chosen
}

struct PackExaminer {
    storage: Arc<dyn Storage>,
    keys: Keys,
    role: Role,
}

impl PackExaminer {
    /// Reads a pack; `facts` is what the index says of it, if it does.
    fn examine(&self, id: PackId, facts: Option<&PackFacts>) -> Vec<Finding> {
        let name = ObjectName::Pack(id);
        let bytes = match self.storage.read(name, PACK_LEN_MAX) {
            Ok(bytes) => bytes,
            // It went since it was listed, and nothing names it.
            Err(StorageError::NotFound { .. }) if facts.is_none() => return Vec::new(),
            Err(error) => return vec![Finding::Unreadable { name, reason: error.to_string() }],
        };
        if PackId::of(&bytes) != id {
            let source = FormatError::Hash { what: "pack" };
            return vec![Finding::Damaged { name, source }];
        }
        match facts.map_or(Ok(Vec::new()), |facts| self.open(facts, &bytes)) {
            Ok(findings) => findings,
            Err(source) => vec![Finding::Damaged { name, source }],
        }
    }

    fn open(&self, facts: &PackFacts, bytes: &[u8]) -> Result<Vec<Finding>, FormatError> {
        let what = "pack";
        let short = FormatError::Truncated { what, found: bytes.len() };
        let (header, _) = bytes.split_at_checked(SEALED_HEADER_LEN).ok_or(short.clone())?;
        let (_, tail) = bytes.split_last_chunk::<TRAILER_LEN>().ok_or(short.clone())?;
        let trailer = Trailer::parse(tail, bytes.len() as u64)?;
        let start = trailer.contents_offset as usize;
        let sealed = &bytes[start..start + trailer.contents_len as usize];
        let contents = trailer.open_contents(&self.keys, header, sealed)?;
        let parsed = SealedHeader::parse_as(header, facts.kind, self.keys.repository())?;
        let mut findings = Vec::new();
        if contents.frames != facts.frames {
            findings.push(Finding::PackContents { pack: facts.id });
        }
        if facts.kind == Kind::DataPack && self.role == Role::Backup {
            return Ok(findings);
        }
        let sealer = Sealer::new(&self.keys.open_header(&parsed)?, header);
        let mut decompressor = Decompressor::default();
        for (number, info) in (0..).zip(&contents.frames) {
            let start = frame_offset(&contents.frames, number) as usize;
            let sealed = &bytes[start..start + info.sealed_len as usize];
            let stored = sealer.open("frame", u32::from(number), sealed)?;
            if info.codec != Codec::Padding {
                let plain = decompressor.decompress(info, &stored)?;
                self.check_frame(facts.id, number, plain, &contents, &mut findings)?;
            }
        }
        Ok(findings)
    }

    /// Compares every entry of a frame with its id.
    fn check_frame(
        &self,
        pack: PackId,
        number: u16,
        plain: &[u8],
        contents: &Contents,
        findings: &mut Vec<Finding>,
    ) -> Result<(), FormatError> {
        let mut find = |what, id: &[u8]| {
            let id = repo_format::id::to_hex(id);
            findings.push(Finding::Entry { what, id, pack });
        };
        match &contents.entries {
            Entries::Chunks(entries) => {
                for entry in entries.iter().filter(|entry| entry.place.frame == number) {
                    if chunk_id(&self.keys, entry.place.of(plain)?) != entry.id {
                        find("chunk", entry.id.as_bytes());
                    }
                }
            }
            Entries::Catalog(entries) => {
                for entry in entries.iter().filter(|entry| entry.place.frame == number) {
                    if !self.is_sound(entry, entry.place.of(plain)?) {
                        find(kind_name(entry.kind), &entry.id);
                    }
                }
            }
        }
        Ok(())
    }

    fn is_sound(&self, entry: &CatalogEntry, bytes: &[u8]) -> bool {
        match entry.kind {
            EntryKind::Map => Map::parse(bytes).is_ok(),
            EntryKind::Node => {
                Node::parse(bytes).is_ok() && *node_id(&self.keys, bytes).as_bytes() == entry.id
            }
            EntryKind::Disk => {
                Disk::parse(bytes).is_ok() && *disk_id(&self.keys, bytes).as_bytes() == entry.id
            }
            EntryKind::Snapshot => Snapshot::parse(bytes)
                .is_ok_and(|snapshot| entry.id.starts_with(snapshot.id.as_bytes())),
            EntryKind::Print => StoredPrint::parse(bytes).is_ok(),
        }
    }
}

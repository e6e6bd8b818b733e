//! A session whose entries a packer stores: what it waits for, and what it has named.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use repo_format::header::Kind;
use repo_format::id::{ChunkId, PackId};
use repo_format::index::{IndexObject, IndexedPack};
use repo_format::object_name::IndexName;
use repo_format::pack::{CatalogEntry, ChunkEntry, Entries, EntryKind};
use repo_format::snapshot::Snapshot;

use super::Stored;
use crate::hints::Hint;
use crate::lookup::{Lookup, LookupError};
use crate::session::{Session, SessionError};

/// An entry of a map pack: what it is, and its id.
type EntryId = (EntryKind, [u8; 32]);

/// A pack that is on storage, and all that it holds.
pub(super) struct Uploaded {
    pub(super) pack: IndexedPack,
    pub(super) entries: Entries,
}

/// How a session ends when all that it waits for is on storage.
pub(super) enum End {
    /// With its snapshot.
    Snapshot(Box<Snapshot>),
    /// Without: what it has stored is published, so that the next backup finds it (rule 4).
    Hints,
}

/// Who added an entry that is on its way to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payer {
    /// This session.
    This,
    /// Another session of the run; this one needs it, too.
    Another,
}

pub(super) struct Owner<'r> {
    pub(super) session: Session<'r>,
    /// What it has stored, or will; the newest only, see [`super::Packer::forget_known`].
    pub(super) chunks: HashSet<ChunkId>,
    pub(super) entries: HashSet<EntryId>,
    /// Of these, what is not on storage yet, and who bears its cost.
    awaited_chunks: HashMap<ChunkId, Payer>,
    awaited_entries: HashMap<EntryId, Payer>,
    /// What another lane is storing, and this one keeps until then.
    pub(super) elsewhere: HashSet<ChunkId>,
    /// The moment of the ledger at which it had read the state.
    pub(super) since: u64,
    /// On storage, and in no index object of this session yet.
    unpublished: Vec<Uploaded>,
    repeated: BTreeMap<PackId, (IndexedPack, Vec<ChunkEntry>)>,
    repeated_chunks: usize,
    pub(super) published: BTreeSet<IndexName>,
    /// Whether that grew since ids were last forgotten.
    pub(super) has_published: bool,
    pub(super) published_at: u64,
    pub(super) stored: Stored,
    pub(super) end: Option<End>,
}

impl<'r> Owner<'r> {
    pub(super) fn new(session: Session<'r>, now: u64, since: u64) -> Self {
        Self {
            session,
            chunks: HashSet::new(),
            entries: HashSet::new(),
            awaited_chunks: HashMap::new(),
            awaited_entries: HashMap::new(),
            elsewhere: HashSet::new(),
            since,
            unpublished: Vec::new(),
            repeated: BTreeMap::new(),
            repeated_chunks: 0,
            published: BTreeSet::new(),
            has_published: false,
            published_at: now,
            stored: Stored::default(),
            end: None,
        }
    }

    pub(super) fn awaits_chunk(&self, id: &ChunkId) -> bool {
        self.awaited_chunks.contains_key(id)
    }

    pub(super) fn awaits_entry(&self, id: &EntryId) -> bool {
        self.awaited_entries.contains_key(id)
    }

    pub(super) fn await_chunk(&mut self, id: ChunkId, payer: Payer) {
        self.awaited_chunks.insert(id, payer);
    }

    pub(super) fn await_entry(&mut self, id: EntryId, payer: Payer) {
        self.awaited_entries.insert(id, payer);
    }

    /// Whether all that it has stored is on storage.
    pub(super) fn awaits_nothing(&self) -> bool {
        self.awaited_chunks.is_empty()
            && self.awaited_entries.is_empty()
            && self.elsewhere.is_empty()
    }

    /// Data packs that no index object of this session names yet.
    pub(super) fn unpublished_data_packs(&self) -> usize {
        self.unpublished.iter().filter(|uploaded| uploaded.pack.kind == Kind::DataPack).count()
    }

    /// Names a chunk of another session, once; returns how many are to be named in the next index object.
    pub(super) fn repeat(&mut self, hint: &Hint) -> usize {
        if self.chunks.insert(hint.chunk.id) {
            self.name(hint);
        }
        self.repeated_chunks
    }

    /// The same for a chunk that it has taken for its own already.
    pub(super) fn name(&mut self, hint: &Hint) -> usize {
        let entry = self.repeated.entry(hint.pack.id);
        entry.or_insert_with(|| (hint.pack.clone(), Vec::new())).1.push(hint.chunk);
        self.repeated_chunks += 1;
        self.repeated_chunks
    }

    /// Takes what it waits for out of a pack that is on storage now. Of what the pack cost, it bears its share.
    pub(super) fn take(&mut self, uploaded: &Uploaded) {
        let (mut len, mut mine_len) = (0, 0);
        let mut count = |payer: Option<Payer>, plain_len: u32| {
            len += u64::from(plain_len);
            mine_len += if payer == Some(Payer::This) { u64::from(plain_len) } else { 0 };
            payer.is_some()
        };
        let (chunks, catalog) = (&mut self.awaited_chunks, &mut self.awaited_entries);
        let mine = match &uploaded.entries {
            Entries::Chunks(entries) => {
                let is_mine = |e: &&ChunkEntry| count(chunks.remove(&e.id), e.place.len);
                Entries::Chunks(entries.iter().filter(is_mine).copied().collect())
            }
            Entries::Catalog(entries) => {
                let is_mine =
                    |e: &&CatalogEntry| count(catalog.remove(&(e.kind, e.id)), e.place.len);
                Entries::Catalog(entries.iter().filter(is_mine).copied().collect())
            }
        };
        self.stored.stored_bytes += u64::from(uploaded.pack.len) * mine_len / len.max(1);
        if !mine.is_empty() {
            self.unpublished.push(Uploaded { pack: uploaded.pack.clone(), entries: mine });
        }
    }

    /// What its next index objects name: packs that are on storage, and what is repeated.
    pub(super) fn take_unpublished(&mut self) -> Vec<(IndexedPack, Entries)> {
        self.repeated_chunks = 0;
        let repeated = std::mem::take(&mut self.repeated).into_values();
        let repeated = repeated.map(|(pack, chunks)| (pack, Entries::Chunks(chunks)));
        let uploaded = std::mem::take(&mut self.unpublished).into_iter();
        uploaded.map(|Uploaded { pack, entries }| (pack, entries)).chain(repeated).collect()
    }

    /// Publishes an index object.
    pub(super) fn publish(&mut self, object: IndexObject) -> Result<(), SessionError> {
        let counts = object.kind() != Kind::PrintIndex;
        let (name, len) = self.session.publish(object)?;
        if counts {
            self.published.insert(name);
            self.has_published = true;
        }
        self.stored.stored_bytes += len;
        Ok(())
    }

    /// Forgets the ids that `lookup` knows.
    pub(super) fn forget_known(&mut self, lookup: &Lookup) -> Result<(), LookupError> {
        let mut chunks = HashSet::new();
        for id in self.chunks.drain() {
            if lookup.find_chunk(&id)?.is_none() {
                chunks.insert(id);
            }
        }
        let mut entries = HashSet::new();
        for (kind, id) in self.entries.drain() {
            if lookup.find(kind, &id)?.is_none() {
                entries.insert((kind, id));
            }
        }
        (self.chunks, self.entries) = (chunks, entries);
        self.has_published = false;
        Ok(())
    }
}

//! The write side: new chunks and entries become frames, packs, and index objects, in that order.
//!
//! ```text
//! chunk -> frame (1 MiB) -> [compress] -> seal -> pack (64 MiB) -> [store] -> named in an index object
//! ```
//!
//! What stands in brackets runs on worker threads; everything else, and so every decision, on the caller's.

mod naming;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use repo_format::frame::{Compression, Compressor, StoredFrame};
use repo_format::header::Kind;
use repo_format::id::{ChunkId, Fingerprint, PackId, SegmentId};
use repo_format::index::IndexedPack;
use repo_format::limits::FRAME_PLAIN_MAX;
use repo_format::object_name::IndexName;
use repo_format::pack::{ChunkEntry, Close, Contents, Entries, EntryKind, Pack, PackBuilder};

use naming::{Hooks, index_objects};

use crate::hints::Hint;
use crate::lookup::{Lookup, LookupError};
use crate::observer::{Event, Observer};
use crate::parallel::{Ordered, Workers};
use crate::repository::Repository;
use crate::session::{Session, SessionError, StoredPack};
use crate::surroundings::random_secret;

/// Data packs between two index objects (rule 5).
///
/// One less than the rule allows: one more may be on its way when a kill comes.
const PUBLISH_EVERY_PACKS: usize = 7;
/// Seconds between two index objects (rule 5).
const PUBLISH_EVERY_SECS: u64 = 300;
/// Bytes of a frame of catalog entries: smaller than a frame of chunks, since maps are read one by one too.
const CATALOG_FRAME_LEN: usize = 128 << 10;
/// Chunks of unfinished sessions between two index objects: some 30 MB.
const REPEATED_CHUNKS_MAX: usize = 1 << 19;
/// Packs that may be on their way to storage while the next one fills.
const UPLOADS: usize = 1;

/// What a frame holds, in order.
#[derive(Debug)]
enum FrameList {
    Chunks(Vec<(ChunkId, u32)>),
    Catalog(Vec<([u8; 32], EntryKind, u32)>),
}

/// A pack that is on storage, and what it holds.
struct Uploaded {
    stored: StoredPack,
    kind: Kind,
    len: u32,
    contents: Contents,
    /// The buffer that held it, for the next one.
    buffer: Vec<u8>,
}

type UploadResult = Result<Uploaded, SessionError>;

/// A frame on its way to a pack: compressed, what it holds, and the buffer that it has left.
type Compressed = (StoredFrame, FrameList, Vec<u8>);

/// Fills packs of one kind.
struct Line<'w> {
    frame_len: usize,
    spare: Vec<Vec<u8>>,
    plain: Vec<u8>,
    list: FrameList,
    compressing: Ordered<'w, Compressed>,
    pack: Option<PackBuilder>,
}

/// What was stored, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Of new chunks before compression.
    pub new_bytes: u64,
    /// Of packs and index objects.
    pub stored_bytes: u64,
}

/// Packs for one session.
pub struct Packer<'r, 'w> {
    repository: &'r Repository,
    session: &'w Session<'r>,
    observer: &'w dyn Observer,
    compression: Compression,
    data: Line<'w>,
    catalog: Line<'w>,
    prints: Line<'w>,
    /// Hooks that are in no print index yet.
    hooks: Hooks,
    uploading: Ordered<'w, UploadResult>,
    spare_pack: Vec<u8>,
    unpublished: Vec<Uploaded>,
    repeated: BTreeMap<PackId, (IndexedPack, Vec<ChunkEntry>)>,
    repeated_chunks: usize,
    published: BTreeSet<IndexName>,
    /// Whether that grew since ids were last forgotten.
    has_published: bool,
    published_at: u64,
    fresh_ids_max: usize,
    fresh_chunks: HashSet<ChunkId>,
    fresh_entries: HashSet<(EntryKind, [u8; 32])>,
    stored: Stored,
}

/// How what is new is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// How hard to compress.
    pub compression: Compression,
    /// Ids of what this session has stored that are kept in memory before they are looked up like all others.
    pub fresh_ids_max: usize,
}

impl Packing {
    /// A million ids, some 40 MB, enough for 200 GiB of new data.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self { compression, fresh_ids_max: 1 << 20 }
    }
}

/// The threads that a packer uses.
#[derive(Clone, Copy)]
pub struct Threads<'w> {
    /// For hashing, cutting and compressing.
    pub workers: &'w Workers,
    /// For waiting on storage.
    pub uploaders: &'w Workers,
}

impl<'r, 'w> Packer<'r, 'w> {
    /// A packer for `session`.
    pub fn new(
        repository: &'r Repository,
        session: &'w Session<'r>,
        threads: Threads<'w>,
        packing: Packing,
        observer: &'w dyn Observer,
    ) -> Self {
        let line = |frame_len, list| Line {
            frame_len,
            spare: Vec::new(),
            plain: Vec::with_capacity(frame_len),
            list,
            compressing: threads.workers.ordered(2 * threads.workers.count()),
            pack: None,
        };
        Self {
            repository,
            session,
            observer,
            compression: packing.compression,
            data: line(FRAME_PLAIN_MAX, FrameList::Chunks(Vec::new())),
            catalog: line(CATALOG_FRAME_LEN, FrameList::Catalog(Vec::new())),
            prints: line(CATALOG_FRAME_LEN, FrameList::Catalog(Vec::new())),
            hooks: Vec::new(),
            uploading: threads.uploaders.ordered(UPLOADS),
            spare_pack: Vec::new(),
            unpublished: Vec::new(),
            repeated: BTreeMap::new(),
            repeated_chunks: 0,
            published: BTreeSet::new(),
            has_published: false,
            fresh_ids_max: packing.fresh_ids_max,
            published_at: repository.surroundings().now(),
            fresh_chunks: HashSet::new(),
            fresh_entries: HashSet::new(),
            stored: Stored::default(),
        }
    }

    /// Whether this session has stored the chunk, or will.
    #[must_use]
    pub fn has_chunk(&self, id: &ChunkId) -> bool {
        self.fresh_chunks.contains(id)
    }

    /// Whether this session has stored the entry, or will.
    #[must_use]
    pub fn has_entry(&self, kind: EntryKind, id: &[u8; 32]) -> bool {
        self.fresh_entries.contains(&(kind, *id))
    }

    /// Takes a chunk that is new.
    pub fn add_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<(), SessionError> {
        if !self.fresh_chunks.insert(id) {
            return Ok(());
        }
        self.stored.new_bytes += bytes.len() as u64;
        if self.data.plain.len() + bytes.len() > self.data.frame_len {
            self.close_frame(Kind::DataPack)?;
        }
        self.data.plain.extend_from_slice(bytes);
        if let FrameList::Chunks(list) = &mut self.data.list {
            list.push((id, bytes.len() as u32));
        }
        Ok(())
    }

    /// Takes a map, node, disk or copy of a snapshot that is new. At most 1 MiB.
    pub fn add_entry(
        &mut self,
        kind: EntryKind,
        id: [u8; 32],
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        match self.fresh_entries.insert((kind, id)) {
            true => self.append_entry(kind, id, bytes),
            false => Ok(()),
        }
    }

    /// Takes the print of a segment whose map is new too, and the hooks that shall lead to it.
    pub fn add_print(
        &mut self,
        segment: SegmentId,
        print: &[u8],
        hooks: &[Fingerprint],
    ) -> Result<(), SessionError> {
        self.hooks.extend(hooks.iter().map(|hook| (segment, *hook)));
        self.append_entry(EntryKind::Print, *segment.as_bytes(), print)
    }

    fn append_entry(
        &mut self,
        kind: EntryKind,
        id: [u8; 32],
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let line = self.line(kind.pack());
        if line.plain.len() + bytes.len() > line.frame_len {
            self.close_frame(kind.pack())?;
        }
        let line = self.line(kind.pack());
        line.plain.extend_from_slice(bytes);
        if let FrameList::Catalog(list) = &mut line.list {
            list.push((id, kind, bytes.len() as u32));
        }
        Ok(())
    }

    /// Names a chunk that an unfinished session has stored again in this session's index (rule 4d).
    pub fn repeat_chunk(&mut self, hint: &Hint) -> Result<(), SessionError> {
        if self.fresh_chunks.insert(hint.chunk.id) {
            let entry = self.repeated.entry(hint.pack.id);
            entry.or_insert_with(|| (hint.pack.clone(), Vec::new())).1.push(hint.chunk);
            self.repeated_chunks += 1;
        }
        match self.repeated_chunks < REPEATED_CHUNKS_MAX {
            true => Ok(()),
            false => self.publish(),
        }
    }

    /// Whether so many ids are in memory that [`Self::forget_known`] should be called with a newer index.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let ids = self.fresh_chunks.len() + self.fresh_entries.len();
        self.has_published && ids > self.fresh_ids_max
    }

    /// Keeps all ids in memory from now on.
    pub const fn never_crowded(&mut self) {
        self.fresh_ids_max = usize::MAX;
    }

    /// Index objects that this session has published.
    #[must_use]
    pub const fn published(&self) -> &BTreeSet<IndexName> {
        &self.published
    }

    /// Forgets the ids that `lookup` knows; until more is published, it would not help again.
    pub fn forget_known(&mut self, lookup: &Lookup) -> Result<(), LookupError> {
        let mut chunks = HashSet::new();
        for id in self.fresh_chunks.drain() {
            if lookup.find_chunk(&id)?.is_none() {
                chunks.insert(id);
            }
        }
        let mut entries = HashSet::new();
        for (kind, id) in self.fresh_entries.drain() {
            if lookup.find(kind, &id)?.is_none() {
                entries.insert((kind, id));
            }
        }
        (self.fresh_chunks, self.fresh_entries) = (chunks, entries);
        self.has_published = false;
        Ok(())
    }

    /// Stores what is left and names everything in index objects: all is durable when it returns.
    pub fn finish(mut self) -> Result<Stored, SessionError> {
        self.close_packs()?;
        self.publish()?;
        Ok(self.stored)
    }

    /// What was stored so far; packs under way are not in it.
    #[must_use]
    pub const fn stored(&self) -> Stored {
        self.stored
    }

    fn line(&mut self, kind: Kind) -> &mut Line<'w> {
        match kind {
            Kind::DataPack => &mut self.data,
            Kind::PrintPack => &mut self.prints,
            _ => &mut self.catalog,
        }
    }

    /// Sends the open frame to be compressed, and packs those that are ready.
    fn close_frame(&mut self, kind: Kind) -> Result<(), SessionError> {
        let compression = self.compression;
        let line = self.line(kind);
        if line.plain.is_empty() {
            return Ok(());
        }
        let empty = line.spare.pop().unwrap_or_else(|| Vec::with_capacity(line.frame_len));
        let plain = std::mem::replace(&mut line.plain, empty);
        let empty = match line.list {
            FrameList::Chunks(_) => FrameList::Chunks(Vec::new()),
            FrameList::Catalog(_) => FrameList::Catalog(Vec::new()),
        };
        let list = std::mem::replace(&mut line.list, empty);
        line.compressing.submit(move || {
            let (frame, spare) = compress(compression, plain);
            (frame, list, spare)
        });
        while self.line(kind).compressing.is_full() {
            self.pack_next(kind)?;
        }
        Ok(())
    }

    /// Seals the oldest compressed frame into the open pack; false when there is none.
    fn pack_next(&mut self, kind: Kind) -> Result<bool, SessionError> {
        let repository = self.repository;
        let Some((frame, list, spare)) = self.line(kind).compressing.next() else {
            return Ok(false);
        };
        if self.line(kind).pack.is_none() {
            let seed = random_secret(repository.surroundings());
            let buffer = std::mem::take(&mut self.spare_pack);
            let pack = PackBuilder::in_buffer(repository.keys(), kind, &seed, buffer);
            self.line(kind).pack = Some(pack);
        }
        let line = self.line(kind);
        let Some(pack) = &mut line.pack else { return Ok(false) };
        match list {
            FrameList::Chunks(list) => pack.append_chunks(&frame, &list),
            FrameList::Catalog(list) => pack.append_catalog(&frame, &list),
        }
        let is_full = pack.is_full();
        // A frame that did not shrink is in the buffer that it came in.
        line.spare.push(if spare.capacity() > 0 { spare } else { emptied(frame.stored) });
        if is_full {
            self.close_pack(kind, Close::Full)?;
        }
        Ok(true)
    }

    /// Sends the open pack to storage, and publishes when enough are there.
    fn close_pack(&mut self, kind: Kind, close: Close) -> Result<(), SessionError> {
        self.upload(kind, close)?;
        self.session.sign_of_life()?;
        let waiting = self.unpublished.iter().filter(|pack| pack.kind == Kind::DataPack).count();
        let now = self.repository.surroundings().now();
        if waiting >= PUBLISH_EVERY_PACKS || now > self.published_at + PUBLISH_EVERY_SECS {
            self.close_catalog_packs()?;
            self.publish()?;
        }
        Ok(())
    }

    fn upload(&mut self, kind: Kind, close: Close) -> Result<(), SessionError> {
        let Some(builder) = self.line(kind).pack.take() else { return Ok(()) };
        while self.uploading.is_full() {
            self.await_upload()?;
        }
        let storage = Arc::clone(self.repository.storage());
        self.uploading.submit(move || {
            let Pack { id, bytes, contents } = builder.finish(close);
            let stored = Session::store_pack(&*storage, id, &bytes)?;
            Ok(Uploaded { stored, kind, len: bytes.len() as u32, contents, buffer: bytes })
        });
        Ok(())
    }

    fn await_upload(&mut self) -> Result<(), SessionError> {
        if let Some(uploaded) = self.uploading.next() {
            let mut uploaded = uploaded?;
            self.spare_pack = std::mem::take(&mut uploaded.buffer);
            self.stored.stored_bytes += u64::from(uploaded.len);
            self.observer.event(Event::Stored { bytes: u64::from(uploaded.len) });
            self.unpublished.push(uploaded);
        }
        Ok(())
    }

    /// Closes the open map and print pack, so that an interrupted backup finds them again.
    fn close_catalog_packs(&mut self) -> Result<(), SessionError> {
        for kind in [Kind::MapPack, Kind::PrintPack] {
            self.close_frame(kind)?;
            while self.pack_next(kind)? {}
            self.upload(kind, Close::Padded)?;
        }
        self.drain_uploads()
    }

    fn close_packs(&mut self) -> Result<(), SessionError> {
        for kind in [Kind::DataPack, Kind::MapPack, Kind::PrintPack] {
            self.close_frame(kind)?;
            while self.pack_next(kind)? {}
            self.close_pack(kind, Close::Padded)?;
        }
        self.drain_uploads()
    }

    fn drain_uploads(&mut self) -> Result<(), SessionError> {
        while !self.uploading.is_empty() {
            self.await_upload()?;
        }
        Ok(())
    }

    /// Names all packs that are on storage, and what is repeated, in index objects.
    fn publish(&mut self) -> Result<(), SessionError> {
        let uploaded = std::mem::take(&mut self.unpublished);
        let indexed = uploaded.into_iter().map(|pack| {
            let Uploaded { stored, kind, len, contents, .. } = pack;
            (IndexedPack { id: stored.id(), len, kind, frames: contents.frames }, contents.entries)
        });
        self.repeated_chunks = 0;
        let repeated = std::mem::take(&mut self.repeated).into_values();
        let repeated = repeated.map(|(pack, chunks)| (pack, Entries::Chunks(chunks)));
        let packs: Vec<_> = indexed.chain(repeated).collect();
        for object in index_objects(packs, &mut self.hooks) {
            let counts = object.kind() != Kind::PrintIndex;
            let (name, len) = self.session.publish(object)?;
            if counts {
                self.published.insert(name);
                self.has_published = true;
            }
            self.stored.stored_bytes += len;
        }
        self.published_at = self.repository.surroundings().now();
        Ok(())
    }
}

fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer
}

fn compress(compression: Compression, plain: Vec<u8>) -> (StoredFrame, Vec<u8>) {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<(Compression, Compressor)>> =
            const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(level, _)| *level != compression) {
            *kept = Some((compression, Compressor::new(compression)));
        }
        let (_, compressor) = kept.as_mut().expect("it was set just now");
        compressor.compress_and_return(plain)
    })
}

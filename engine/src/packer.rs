//! The write side: new chunks and entries become frames, packs, and index objects, in that order.
//!
//! ```text
//! chunk -> frame (1 MiB) -> [compress] -> seal -> pack (64 MiB) -> [store] -> named in an index object
//! ```
//!
//! What stands in brackets runs on worker threads; everything else, and so every decision, on the caller's.
//!
//! Sessions one after the other share packs: one that has ended leaves its last pack open for the next, and its snapshot
//! is made when that pack is on storage. Each names what it needs of a pack in index objects of its own. Sessions that run
//! beside each other have packs of their own, and name what others have stored meanwhile (`ledger`).

mod elsewhere;
mod ledger;
mod line;
mod naming;
mod owner;

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_format::frame::Compression;
use repo_format::header::Kind;
use repo_format::id::{ChunkId, Fingerprint, SegmentId, SnapshotId};
use repo_format::index::IndexedPack;
use repo_format::limits::FRAME_PLAIN_MAX;
use repo_format::object_name::IndexName;
use repo_format::pack::{Close, Contents, EntryKind, Pack};
use repo_format::snapshot::Snapshot;

use elsewhere::Elsewhere;
pub use ledger::{Ledger, LedgerLimits};
use line::Line;
use naming::{Hooks, index_objects};
use owner::{End, Owner, Payer, Uploaded};

use crate::hints::Hint;
use crate::lookup::{Lookup, LookupError};
use crate::parallel::{Ordered, Workers};
use crate::repository::Repository;
use crate::session::{Session, SessionError};
use crate::surroundings::random_secret;

/// Data packs between two index objects (rule 5).
///
/// One less than the rule allows: one more may be on its way when a kill comes.
const PUBLISH_EVERY_PACKS: usize = 7;
/// Seconds between two index objects (rule 5), and that a session may wait for a pack that others fill.
const PUBLISH_EVERY_SECS: u64 = 300;
/// Bytes of a frame of catalog entries: smaller than a frame of chunks, since maps are read one by one too.
const CATALOG_FRAME_LEN: usize = 128 << 10;
/// Chunks of unfinished sessions between two index objects: some 30 MB.
const REPEATED_CHUNKS_MAX: usize = 1 << 19;
/// Packs that may be on their way to storage while the next one fills.
const UPLOADS: usize = 1;
/// What comes back from an upload: the pack, and the buffer that held it, for the next one.
type UploadResult = Result<(Uploaded, Vec<u8>), SessionError>;

/// What was stored, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Of new chunks before compression.
    pub new_bytes: u64,
    /// Of packs and index objects; of a shared pack the session's share.
    pub stored_bytes: u64,
}

/// A session that has ended, with or without its snapshot.
pub struct Ended {
    /// The session, and the snapshot that it was to make.
    pub id: SnapshotId,
    /// The snapshot; `None` if there was none to be made.
    pub result: Result<Option<Snapshot>, SessionError>,
}

/// Packs for sessions one after the other.
pub struct Packer<'r, 'w> {
    repository: &'r Repository,
    compression: Compression,
    data: Line<'w>,
    catalog: Line<'w>,
    prints: Line<'w>,
    uploading: Ordered<'w, UploadResult>,
    spare_pack: Vec<u8>,
    /// Print packs that no index object names yet; they belong to nobody (SPEC 12.3).
    print_packs: Vec<Uploaded>,
    /// Hooks that are in no print index yet.
    hooks: Hooks,
    /// Sessions that have ended and wait for packs, oldest first, and behind them the one at work.
    owners: Vec<Owner<'r>>,
    ended: Vec<Ended>,
    fresh_ids_max: usize,
    /// What others store meanwhile.
    elsewhere: Option<Elsewhere>,
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
    /// A packer for sessions of `repository`.
    pub fn new(repository: &'r Repository, threads: Threads<'w>, packing: Packing) -> Self {
        let line = |kind, frame_len| Line::new(threads.workers, kind, frame_len);
        Self {
            repository,
            compression: packing.compression,
            data: line(Kind::DataPack, FRAME_PLAIN_MAX),
            catalog: line(Kind::MapPack, CATALOG_FRAME_LEN),
            prints: line(Kind::PrintPack, CATALOG_FRAME_LEN),
            uploading: threads.uploaders.ordered(UPLOADS),
            spare_pack: Vec::new(),
            print_packs: Vec::new(),
            hooks: Vec::new(),
            owners: Vec::new(),
            ended: Vec::new(),
            fresh_ids_max: packing.fresh_ids_max,
            elsewhere: None,
        }
    }

    /// The same, beside others that share the ledger: a chunk that is new in several is stored by one.
    #[must_use]
    pub fn beside(self, ledger: Option<&Arc<Ledger>>) -> Self {
        Self { elsewhere: ledger.map(Elsewhere::beside), ..self }
    }

    /// To be called before a session begins. What is on its way to storage then may be there before the session reads the
    /// state, which would have to say that it is not condemned (rule 4); so it is waited for, and not shared.
    ///
    /// # Errors
    ///
    /// As [`Self::settle`].
    pub fn prepare(&mut self) -> Result<(), SessionError> {
        self.drain_uploads()?;
        self.settle()
    }

    /// Everything that is added from now on is for `session`.
    pub fn begin(&mut self, session: Session<'r>) {
        let now = self.repository.surroundings().now();
        let since = self.elsewhere.as_ref().map_or(0, |elsewhere| elsewhere.member.moment());
        self.owners.push(Owner::new(session, now, since));
    }

    /// The session at work.
    pub fn session(&self) -> &Session<'r> {
        &self.owners.last().expect("a session has begun").session
    }

    fn owner(&mut self) -> &mut Owner<'r> {
        self.owners.last_mut().expect("a session has begun")
    }

    /// Whether the session at work has stored the entry, or will.
    #[must_use]
    pub fn has_entry(&self, kind: EntryKind, id: &[u8; 32]) -> bool {
        self.owners.last().is_some_and(|owner| owner.entries.contains(&(kind, *id)))
    }

    /// Takes a chunk that is new.
    pub fn add_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<(), SessionError> {
        if !self.owner().chunks.insert(id) {
            return Ok(());
        }
        match self.finds_elsewhere(id, bytes)? {
            true => Ok(()),
            false => self.store_chunk(self.owners.len() - 1, id, bytes),
        }
    }

    /// Stores a chunk for the session at this place.
    fn store_chunk(&mut self, place: usize, id: ChunkId, bytes: &[u8]) -> Result<(), SessionError> {
        // What another session of the lane has added to a pack that is still open is not added again.
        let is_on_its_way = self.owners.iter().any(|owner| owner.awaits_chunk(&id));
        let owner = &mut self.owners[place];
        if is_on_its_way {
            owner.await_chunk(id, Payer::Another);
            return Ok(());
        }
        owner.await_chunk(id, Payer::This);
        owner.stored.new_bytes += bytes.len() as u64;
        if !self.data.has_room(bytes.len()) {
            self.close_frame(Kind::DataPack)?;
        }
        self.data.push_chunk(id, bytes);
        Ok(())
    }

    /// Takes a map, node, disk or copy of a snapshot that is new. At most 1 MiB.
    pub fn add_entry(
        &mut self,
        kind: EntryKind,
        id: [u8; 32],
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        if !self.owner().entries.insert((kind, id)) {
            return Ok(());
        }
        let is_on_its_way = self.owners.iter().any(|owner| owner.awaits_entry(&(kind, id)));
        if is_on_its_way {
            self.owner().await_entry((kind, id), Payer::Another);
            return Ok(());
        }
        self.owner().await_entry((kind, id), Payer::This);
        self.append_entry(kind, id, bytes)
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
        if !self.line(kind.pack()).has_room(bytes.len()) {
            self.close_frame(kind.pack())?;
        }
        self.line(kind.pack()).push_entry(id, kind, bytes);
        Ok(())
    }

    /// Names a chunk that an unfinished session has stored again in this session's index (rule 4d).
    pub fn repeat_chunk(&mut self, hint: &Hint) -> Result<(), SessionError> {
        match self.owner().repeat(hint) >= REPEATED_CHUNKS_MAX {
            true => self.publish(self.owners.len() - 1),
            false => Ok(()),
        }
    }

    /// Whether so many ids are in memory that [`Self::forget_known`] should be called with a newer index.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let is_crowded = |owner: &Owner<'_>| {
            owner.has_published && owner.chunks.len() + owner.entries.len() > self.fresh_ids_max
        };
        self.owners.last().is_some_and(is_crowded)
    }

    /// Keeps all ids in memory from now on.
    pub const fn never_crowded(&mut self) {
        self.fresh_ids_max = usize::MAX;
    }

    /// Index objects that the session at work has published.
    #[must_use]
    pub fn published(&self) -> &BTreeSet<IndexName> {
        &self.owners.last().expect("a session has begun").published
    }

    /// Forgets the ids that `lookup` knows; until more is published, it would not help again.
    pub fn forget_known(&mut self, lookup: &Lookup) -> Result<(), LookupError> {
        self.owner().forget_known(lookup)
    }

    /// What the session at work has stored so far; packs under way are not in it.
    #[must_use]
    pub fn stored(&self) -> Stored {
        self.owners.last().map_or_else(Stored::default, |owner| owner.stored)
    }

    /// The session at work is at its end: it commits `snapshot` when all that it needs is on storage; without one, what it
    /// has stored will be found by the next backup (rule 4).
    pub fn end(&mut self, snapshot: Option<Snapshot>) {
        let end = snapshot.map_or(End::Hints, |snapshot| End::Snapshot(Box::new(snapshot)));
        self.owner().end = Some(end);
    }

    /// Commits or removes the sessions that are at their end and wait for nothing.
    ///
    /// # Errors
    ///
    /// What was stored for several sessions is lost; only [`Self::finish`] is left. What goes wrong with one session alone
    /// is in its [`Ended`].
    pub fn settle(&mut self) -> Result<(), SessionError> {
        self.hear()?;
        let now = self.repository.surroundings().now();
        let is_late = |owner: &Owner<'_>| {
            owner.end.is_some() && now > owner.published_at + PUBLISH_EVERY_SECS
        };
        if self.owners.iter().any(is_late) {
            self.store_rest()?;
            self.close_packs()?;
        }
        let is_ready = |owner: &Owner<'_>| owner.end.is_some() && owner.awaits_nothing();
        while let Some(place) = self.owners.iter().position(is_ready) {
            if self.owners.len() == 1 {
                // Nobody would be left to name the last prints.
                self.close_catalog_packs()?;
            }
            self.publish(place)?;
            self.ended.push(conclude(self.owners.remove(place)));
        }
        Ok(())
    }

    /// To be called now and then, whether anything is stored or not: shows that the sessions are alive, and ends those that
    /// have waited long enough.
    ///
    /// # Errors
    ///
    /// As [`Self::settle`].
    pub fn go_on(&mut self) -> Result<(), SessionError> {
        for owner in &self.owners {
            owner.session.sign_of_life()?;
        }
        if self.owners.len() > 1 { self.settle() } else { self.hear() }
    }

    /// The sessions that have ended since this was last asked.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Stores what is left, and ends all sessions. If that fails: those that are whole are committed, the others go without
    /// their snapshots; they and the error come behind those that have ended.
    pub fn finish(mut self) -> (Vec<Ended>, Vec<SnapshotId>, Option<SessionError>) {
        let awaited = self.await_others();
        let closed = awaited.and_then(|()| self.close_packs());
        let settled = self.settle();
        let lost = self.owners.drain(..).map(|owner| {
            let id = owner.session.id();
            // The first error is the one to tell; a session that stays is no damage.
            let _ = owner.session.abandon();
            id
        });
        (self.ended, lost.collect(), closed.err().or(settled.err()))
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
        self.line(kind).close_frame(compression);
        while self.line(kind).is_full() {
            self.pack_next(kind)?;
        }
        Ok(())
    }

    /// Seals the oldest compressed frame into the open pack; false when there is none.
    fn pack_next(&mut self, kind: Kind) -> Result<bool, SessionError> {
        let repository = self.repository;
        let mut buffer = std::mem::take(&mut self.spare_pack);
        let seed = || random_secret(repository.surroundings());
        let packed = self.line(kind).pack_next(repository.keys(), &mut buffer, seed);
        self.spare_pack = buffer;
        if packed == Some(true) {
            self.close_pack(kind, Close::Full)?;
        }
        Ok(packed.is_some())
    }

    /// Sends the open pack to storage, and publishes when enough are there.
    fn close_pack(&mut self, kind: Kind, close: Close) -> Result<(), SessionError> {
        self.upload(kind, close)?;
        let Some(owner) = self.owners.last() else { return Ok(()) };
        let now = self.repository.surroundings().now();
        if owner.unpublished_data_packs() >= PUBLISH_EVERY_PACKS
            || now > owner.published_at + PUBLISH_EVERY_SECS
        {
            self.close_catalog_packs()?;
            self.publish(self.owners.len() - 1)?;
        }
        Ok(())
    }

    fn upload(&mut self, kind: Kind, close: Close) -> Result<(), SessionError> {
        let Some(builder) = self.line(kind).take_pack() else { return Ok(()) };
        while self.uploading.is_full() {
            self.await_upload()?;
        }
        let storage = Arc::clone(self.repository.storage());
        let told = self.elsewhere.as_ref().filter(|_| kind == Kind::DataPack);
        let told = told.map(|elsewhere| elsewhere.member.close());
        self.uploading.submit(move || {
            let Pack { id, bytes, contents: Contents { frames, entries } } = builder.finish(close);
            let upload = told.map(|closed| closed.send(&entries));
            let id = Session::store_pack(&*storage, id, &bytes)?.id();
            let pack = IndexedPack { id, len: bytes.len() as u32, kind, frames };
            if let Some(upload) = upload {
                upload.succeed(&pack);
            }
            Ok((Uploaded { pack, entries }, bytes))
        });
        Ok(())
    }

    /// A pack is on storage: everybody takes out of it what is theirs.
    fn await_upload(&mut self) -> Result<(), SessionError> {
        let Some(uploaded) = self.uploading.next() else { return Ok(()) };
        let (uploaded, buffer) = uploaded?;
        self.spare_pack = buffer;
        match uploaded.pack.kind {
            Kind::PrintPack => {
                self.owner().stored.stored_bytes += u64::from(uploaded.pack.len);
                self.print_packs.push(uploaded);
            }
            _ => self.owners.iter_mut().for_each(|owner| owner.take(&uploaded)),
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

    /// Names all packs that are on storage, and what is repeated, in index objects of this session.
    fn publish(&mut self, place: usize) -> Result<(), SessionError> {
        let owner = &mut self.owners[place];
        let prints = std::mem::take(&mut self.print_packs).into_iter();
        let prints = prints.map(|Uploaded { pack, entries }| (pack, entries));
        let packs: Vec<_> = owner.take_unpublished().into_iter().chain(prints).collect();
        for object in index_objects(packs, &mut self.hooks) {
            owner.publish(object)?;
        }
        owner.published_at = self.repository.surroundings().now();
        Ok(())
    }
}

/// Ends a session whose packs are all on storage and named.
fn conclude(owner: Owner<'_>) -> Ended {
    let Owner { session, stored, end, .. } = owner;
    let id = session.id();
    let result = match end {
        Some(End::Snapshot(mut snapshot)) => {
            snapshot.statistics.new_bytes = stored.new_bytes;
            snapshot.statistics.stored_bytes = stored.stored_bytes;
            session.commit(&snapshot).map(|()| Some(*snapshot))
        }
        Some(End::Hints) | None => {
            // A session that stays is no damage.
            let _ = session.abandon();
            Ok(None)
        }
    };
    Ended { id, result }
}

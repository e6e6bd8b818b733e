//! What the lanes of a run are storing and have stored: what is new in several of them is stored once.
//!
//! Nobody depends on anybody. A lane that finds a chunk on its way to a pack of another keeps its bytes (`elsewhere`) until
//! the ledger says that the pack is on storage. If that fails, or the chunk is forgotten here, the lane stores it itself. It
//! waits for another only where it may keep no more, or is at its end: it asks for the pack to be closed, closes its own
//! when it is asked meanwhile, so that two that wait for each other both go on, and after some seconds without news it
//! stores what it keeps. Nothing else is held while it waits. So what this ledger forgets, and whatever becomes of a lane,
//! costs the others bytes and seconds, never a snapshot.
//!
//! What it says of a stored chunk is used by SPEC 12.2, R5: only by sessions that had read the state before the pack's
//! upload was begun. Both are moments of the ledger: the upload's is taken before its first byte is sent, the session's
//! after the state has been read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use repo_format::id::ChunkId;
use repo_format::index::IndexedPack;
use repo_format::pack::{ChunkEntry, Entries};

use crate::hints::Hint;

/// How much lanes do to store nothing twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimits {
    /// Chunks that are known, the newest.
    pub chunks_max: usize,
    /// Bytes that all lanes keep of chunks that another is storing; each keeps its part.
    pub kept_bytes_max: usize,
    /// How long a lane waits for another to close a pack; some times over, as long as something happens.
    pub patience: Duration,
}

impl LedgerLimits {
    /// A quarter of a million chunks: the newest 16 GiB in some 30 MB; 64 MiB that are kept; five seconds.
    pub const USUAL: Self =
        Self { chunks_max: 1 << 18, kept_bytes_max: 64 << 20, patience: Duration::from_secs(5) };
}

/// Shared by the lanes of one run.
pub struct Ledger {
    limits: LedgerLimits,
    book: Mutex<Book>,
    /// Something was stored or lost, or is asked for.
    news: Condvar,
}

#[derive(Default)]
struct Book {
    /// Uploads begun so far.
    moment: u64,
    /// How often something was stored or lost.
    news: u64,
    lanes: BTreeMap<Lane, LaneBook>,
    lanes_begun: Lane,
    chunks: HashMap<ChunkId, Whereabouts>,
    /// As they were entered; some may be gone, or entered twice.
    by_age: VecDeque<ChunkId>,
}

/// The number of a lane.
type Lane = u32;

/// The packs of a lane that are not closed yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Batch {
    lane: Lane,
    /// How often it has closed them all since another asked for it.
    number: u64,
}

#[derive(Default)]
struct LaneBook {
    batch: u64,
    is_asked: bool,
}

enum Whereabouts {
    /// On its way to a pack, or the pack is on its way to storage since that moment.
    OnItsWay { batch: Batch, begun: Option<u64> },
    /// By that lane, in a pack whose upload was begun at that moment.
    Stored { lane: Lane, pack: Arc<IndexedPack>, chunk: ChunkEntry, begun: u64 },
}

/// What a session is to do about a chunk.
pub(super) enum Found {
    /// To store it; others will know.
    Nowhere,
    /// Another lane is about to store it.
    OnItsWay(Batch),
    /// It is on storage, and may be named as it is.
    Stored(Hint),
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(limits: LedgerLimits) -> Arc<Self> {
        Arc::new(Self { limits, book: Mutex::default(), news: Condvar::new() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        let mut book = self.book();
        change(&mut book);
        book.news += 1;
        self.news.notify_all();
    }
}

/// A lane, as the ledger knows it. What it had promised is nobody's any more when this is dropped.
pub(super) struct Member {
    ledger: Arc<Ledger>,
    lane: Lane,
}

impl Member {
    pub(super) fn join(ledger: &Arc<Ledger>) -> Self {
        let mut book = ledger.book();
        book.lanes_begun += 1;
        let lane = book.lanes_begun;
        book.lanes.insert(lane, LaneBook::default());
        drop(book);
        Self { ledger: Arc::clone(ledger), lane }
    }

    /// Bytes that this lane may keep.
    pub(super) fn kept_bytes_max(&self) -> usize {
        self.ledger.limits.kept_bytes_max / self.ledger.book().lanes.len().max(1)
    }

    /// Now, among the uploads that begin. Of a session: after it has read the state.
    pub(super) fn moment(&self) -> u64 {
        self.ledger.book().moment
    }

    /// How often something was stored or lost by now.
    pub(super) fn news(&self) -> u64 {
        self.ledger.book().news
    }

    /// Waits a while for news after these, or until this lane is asked for something; false if nothing comes.
    pub(super) fn await_news(&self, known: u64) -> bool {
        let is_asked = |book: &Book| book.lanes.get(&self.lane).is_some_and(|lane| lane.is_asked);
        let waiting = |book: &mut Book| book.news == known && !is_asked(book);
        let (book, patience) = (self.ledger.book(), self.ledger.limits.patience);
        let waited = self.ledger.news.wait_timeout_while(book, patience, waiting);
        !waited.is_ok_and(|(_, waited)| waited.timed_out())
    }

    /// Where a chunk is for a session that has read the state at `since`. If nowhere, this lane is about to store it.
    pub(super) fn find(&self, id: ChunkId, since: u64) -> Found {
        let mut book = self.ledger.book();
        match book.chunks.get(&id) {
            Some(Whereabouts::OnItsWay { batch, begun })
                if batch.lane != self.lane && begun.is_none_or(|begun| begun > since) =>
            {
                return Found::OnItsWay(*batch);
            }
            Some(Whereabouts::Stored { lane, pack, chunk, begun })
                if *lane != self.lane && *begun > since =>
            {
                return Found::Stored(Hint { pack: (**pack).clone(), chunk: *chunk });
            }
            _ => {}
        }
        let number = book.lanes.get(&self.lane).map_or(0, |lane| lane.batch);
        let batch = Batch { lane: self.lane, number };
        book.enter(id, Whereabouts::OnItsWay { batch, begun: None }, self.ledger.limits.chunks_max);
        Found::Nowhere
    }

    /// Asks for these to be closed, if they are open still.
    pub(super) fn ask(&self, batches: impl IntoIterator<Item = Batch>) {
        let mut book = self.ledger.book();
        for batch in batches {
            if let Some(lane) = book.lanes.get_mut(&batch.lane) {
                lane.is_asked |= lane.batch == batch.number;
            }
        }
        self.ledger.news.notify_all();
    }

    /// Whether another waits for what is open here. It is to be closed then.
    pub(super) fn take_request(&self) -> bool {
        let mut book = self.ledger.book();
        let Some(lane) = book.lanes.get_mut(&self.lane) else { return false };
        let is_asked = std::mem::take(&mut lane.is_asked);
        lane.batch += u64::from(is_asked);
        is_asked
    }

    /// A data pack of this lane is closed.
    pub(super) fn close(&self) -> Closed {
        Closed { ledger: Arc::clone(&self.ledger), lane: self.lane }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let lane = self.lane;
        self.ledger.change(|book| {
            book.lanes.remove(&lane);
            book.chunks.retain(|_, found| match found {
                Whereabouts::OnItsWay { batch, .. } => batch.lane != lane,
                Whereabouts::Stored { .. } => true,
            });
        });
    }
}

/// A data pack that is closed and about to be sent.
pub(super) struct Closed {
    ledger: Arc<Ledger>,
    lane: Lane,
}

impl Closed {
    /// Its upload begins.
    pub(super) fn send(self, entries: &Entries) -> Upload {
        let ids = match entries {
            Entries::Chunks(chunks) => chunks.clone(),
            Entries::Catalog(_) => Vec::new(),
        };
        let mut book = self.ledger.book();
        book.moment += 1;
        let moment = book.moment;
        for chunk in &ids {
            if let Some(Whereabouts::OnItsWay { batch, begun }) = book.chunks.get_mut(&chunk.id)
                && batch.lane == self.lane
            {
                *begun = Some(moment);
            }
        }
        drop(book);
        Upload { closed: self, chunks: ids, begun: moment }
    }
}

/// An upload of a data pack. One that fails takes its lane with it, and what it had promised.
pub(super) struct Upload {
    closed: Closed,
    chunks: Vec<ChunkEntry>,
    begun: u64,
}

impl Upload {
    /// It is on storage.
    pub(super) fn succeed(self, pack: &IndexedPack) {
        let Self { closed: Closed { ledger, lane }, chunks, begun: this } = self;
        let pack = Arc::new(pack.clone());
        ledger.change(|book| {
            for chunk in chunks {
                if let Some(found) = book.chunks.get_mut(&chunk.id)
                    && matches!(found, Whereabouts::OnItsWay { begun, .. } if *begun == Some(this))
                {
                    *found =
                        Whereabouts::Stored { lane, pack: Arc::clone(&pack), chunk, begun: this };
                }
            }
        });
    }
}

impl Book {
    fn enter(&mut self, id: ChunkId, found: Whereabouts, limit: usize) {
        self.chunks.insert(id, found);
        self.by_age.push_back(id);
        while self.by_age.len() > limit
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.chunks.remove(&oldest);
        }
    }
}

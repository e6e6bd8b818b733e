//! Prints: what recognises the blocks of stored segments again (SPEC 7.4).
//!
//! Everything here is a gift: what is missing or damaged makes a backup larger, and never wrong. So nothing but the
//! listing can fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use repo_format::id::{Fingerprint, PackId, SegmentId};
use repo_format::keys::{Keys, Secret};
use repo_format::limits::PRINT_DEPTH_MAX;
use repo_format::map::Map;
use repo_format::object_name::{Directory, IndexName, ObjectName};
use repo_format::pack::EntryKind;
use repo_format::print::{Print, StoredPrint};

use crate::catalog::cache_key;
use crate::entries::{ContentReadError, Entries};
use crate::lookup::{CachePlace, Lookup, LookupError};
use crate::repository::{Repository, read_index};
use crate::reuse::ByFingerprint;
use crate::storage::{Storage, StorageError};

/// Segments that are compared with a new one.
const CANDIDATES_MAX: usize = 16;
/// Segments to which one hook may lead; a block that is everywhere recognises nothing.
const HOOK_SEGMENTS_MAX: usize = 16;
/// Bytes of prints and maps that are kept.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Hooks of segments that this session has stored: some 16 MB, 32 GiB of new data.
const FRESH_HOOKS_MAX: usize = 1 << 18;
/// Print indexes that cannot be read until all are given up.
const DAMAGED_MAX: usize = 8;

/// A stored segment whose blocks can be found: its print and its map.
#[derive(Debug)]
pub struct Known {
    /// Its id.
    pub id: SegmentId,
    /// What recognises its blocks.
    pub print: Print,
    /// Where its blocks lie.
    pub map: Map,
    /// Deltas down to its full print.
    pub depth: u8,
    /// Bytes of these deltas.
    pub delta_bytes: usize,
    /// Whether this session has stored it: its chunks are in no index yet.
    pub is_fresh: bool,
}

/// Prints and hooks of a repository.
pub struct Prints {
    storage: Arc<dyn Storage>,
    keys: Keys,
    place: CachePlace,
    cache_key: Secret,
    names: BTreeSet<IndexName>,
    index: OnceLock<Option<Lookup>>,
    discard: Once,
    zeros: OnceLock<Print>,
    entries: Arc<Entries>,
    kept: Mutex<Recent>,
    fresh_hooks: Mutex<FreshHooks>,
}

/// Hooks of segments that this session has stored, each with the number of segments stored before.
type FreshHooks = ByFingerprint<(SegmentId, u64)>;

impl Prints {
    /// Lists them; they are fetched when they are first needed.
    pub fn of(repository: &Repository, entries: Arc<Entries>) -> Result<Self, StorageError> {
        let listed = repository.storage().list(Directory::Prints)?.into_iter();
        let names = listed.filter_map(|(name, _)| match name {
            ObjectName::Prints(name) => Some(name),
            _ => None,
        });
        Ok(Self {
            storage: Arc::clone(repository.storage()),
            keys: repository.keys().clone(),
            place: match repository.cache() {
                CachePlace::Directory(path) => CachePlace::Directory(path.join("prints")),
                CachePlace::Temporary => CachePlace::Temporary,
            },
            cache_key: cache_key(repository),
            names: names.collect(),
            index: OnceLock::new(),
            discard: Once::new(),
            zeros: OnceLock::new(),
            entries,
            kept: Mutex::default(),
            fresh_hooks: Mutex::default(),
        })
    }

    /// The print of 4 MiB of zeros.
    pub fn zeros(&self) -> &Print {
        self.zeros.get_or_init(|| Print::of_zeros(&self.keys))
    }

    /// The print and map of a segment; `lookup` is the index of what counts. Of this session's own segments only the
    /// first `stored_before` are known, so that no race decides what is stored.
    pub fn known(&self, lookup: &Lookup, id: SegmentId, stored_before: u64) -> Option<Arc<Known>> {
        if let Some(known) = self.kept().get(&id, stored_before) {
            return Some(known);
        }
        let map = self.entries.map(lookup, id).ok()?;
        let known = Arc::new(self.resolve(id, map, stored_before)?);
        self.kept().insert(Arc::clone(&known), None);
        Some(known)
    }

    /// Stored segments that share blocks with one that has these fingerprints, the most promising first.
    /// Of this session's own only the first `stored_before` are asked, as by [`Self::known`].
    pub fn candidates(
        &self,
        fingerprints: impl Iterator<Item = Fingerprint>,
        stored_before: u64,
    ) -> Vec<SegmentId> {
        let mut votes: HashMap<SegmentId, usize> = HashMap::new();
        for hook in fingerprints.filter(Fingerprint::is_hook) {
            let stored = self
                .index()
                .and_then(|index| self.given(index.find_hooks(&hook, HOOK_SEGMENTS_MAX)));
            let fresh = self.fresh_hooks().get(&hook).copied();
            let fresh = fresh.filter(|(_, number)| *number < stored_before).map(|(id, _)| id);
            for segment in stored.unwrap_or_default().into_iter().chain(fresh) {
                *votes.entry(segment).or_default() += 1;
            }
        }
        let mut ranked: Vec<(usize, SegmentId)> =
            votes.into_iter().map(|(segment, votes)| (votes, segment)).collect();
        ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(CANDIDATES_MAX);
        ranked.into_iter().map(|(_, segment)| segment).collect()
    }

    /// Takes what this session has stored as its segment `number`, so that later ones find it.
    pub fn learn(&self, known: Arc<Known>, hooks: &[Fingerprint], number: u64) {
        let mut fresh = self.fresh_hooks();
        if fresh.len() + hooks.len() > FRESH_HOOKS_MAX {
            fresh.clear();
        }
        for hook in hooks {
            fresh.entry(*hook).or_insert((known.id, number));
        }
        drop(fresh);
        self.kept().insert(known, Some(number));
    }

    /// Follows deltas down to a full print, or to one that is kept, and applies them.
    fn resolve(&self, id: SegmentId, map: Map, stored_before: u64) -> Option<Known> {
        let index = self.index()?;
        let (mut deltas, mut delta_bytes) = (Vec::<StoredPrint>::new(), 0);
        let mut next = id;
        let (below, depth) = loop {
            if let Some(known) = self.kept().get(&next, stored_before) {
                delta_bytes += known.delta_bytes;
                break (known.print.clone(), known.depth);
            }
            let parse = |bytes: &[u8]| Ok((StoredPrint::parse(bytes)?, bytes.len()));
            let read = self.entries.read(index, EntryKind::Print, next.as_bytes(), parse);
            let (stored, len) = self.given(read)?;
            match stored.base() {
                None => break (stored.over(self.zeros()), 0),
                Some(base) => next = base,
            }
            delta_bytes += len;
            deltas.push(stored);
            if deltas.len() > usize::from(PRINT_DEPTH_MAX) {
                return None;
            }
        };
        let print = deltas.iter().rev().fold(below, |below, delta| delta.over(&below));
        let depth = depth.saturating_add(deltas.len() as u8);
        let proved = print.units().segment_id(&self.keys) == id;
        proved.then_some(Known { id, print, map, depth, delta_bytes, is_fresh: false })
    }

    /// What was asked for, if it can be had. A cache that is damaged goes, so that the next backup makes it anew.
    fn given<T>(&self, asked: Result<T, impl Into<ContentReadError>>) -> Option<T> {
        match asked.map_err(Into::into) {
            Ok(given) => Some(given),
            Err(error) => {
                if error.is_damaged_cache() {
                    // What cannot be removed is noticed again.
                    self.discard.call_once(|| drop(Lookup::discard(&self.place)));
                }
                None
            }
        }
    }

    fn index(&self) -> Option<&Lookup> {
        self.index.get_or_init(|| self.open_index()).as_ref()
    }

    fn open_index(&self) -> Option<Lookup> {
        let mut names = self.names.clone();
        for _ in 0..DAMAGED_MAX {
            if names.is_empty() {
                return None;
            }
            let fetch =
                &mut |name| read_index(&*self.storage, &self.keys, ObjectName::Prints(name));
            match Lookup::open(&names, &self.place, &self.cache_key, fetch) {
                Err(LookupError::Fetch {
                    object: ObjectName::Index(name) | ObjectName::Prints(name),
                    ..
                }) => drop(names.remove(&name)),
                Err(LookupError::CacheDamaged(_)) => drop(Lookup::discard(&self.place)),
                lookup => return lookup.ok(),
            }
        }
        None
    }

    fn kept(&self) -> MutexGuard<'_, Recent> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh_hooks(&self) -> MutexGuard<'_, FreshHooks> {
        self.fresh_hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The packs that print indexes name, with their length in bytes; indexes that cannot be read are left out.
pub fn packs(repository: &Repository) -> Result<BTreeMap<PackId, u64>, StorageError> {
    let storage = &**repository.storage();
    let mut named = BTreeMap::new();
    for (name, _) in storage.list(Directory::Prints)? {
        if let Ok(index) = read_index(storage, repository.keys(), name) {
            named.extend(index.packs.iter().map(|pack| (pack.id, u64::from(pack.len))));
        }
    }
    Ok(named)
}

impl Known {
    /// Bytes in memory.
    fn len(&self) -> usize {
        size_of::<Self>()
            + size_of_val(self.print.fingerprints())
            + size_of_val(self.map.chunks())
            + size_of_val(self.map.extents())
    }
}

/// What is kept of a segment.
struct Kept {
    age: u64,
    known: Arc<Known>,
    /// Its number, if this session has stored it.
    number: Option<u64>,
}

/// What was asked for last, up to [`KEPT_BYTES_MAX`].
#[derive(Default)]
struct Recent {
    found: HashMap<SegmentId, Kept>,
    by_age: BTreeMap<u64, SegmentId>,
    clock: u64,
    bytes: usize,
}

impl Recent {
    fn get(&mut self, id: &SegmentId, stored_before: u64) -> Option<Arc<Known>> {
        let kept = self.found.get_mut(id)?;
        if kept.number.is_some_and(|number| number >= stored_before) {
            return None;
        }
        self.clock += 1;
        self.by_age.remove(&kept.age);
        self.by_age.insert(self.clock, *id);
        kept.age = self.clock;
        Some(Arc::clone(&kept.known))
    }

    fn insert(&mut self, known: Arc<Known>, number: Option<u64>) {
        self.clock += 1;
        let (id, len, age) = (known.id, known.len(), self.clock);
        if let Some(before) = self.found.insert(id, Kept { age, known, number }) {
            self.by_age.remove(&before.age);
            self.bytes -= before.known.len();
        }
        self.by_age.insert(self.clock, id);
        self.bytes += len;
        while self.bytes > KEPT_BYTES_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.bytes -= self.found.remove(&oldest).map_or(0, |kept| kept.known.len());
        }
    }
}

//! Chunks that another lane of the run is storing: their bytes are kept until they are on storage there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use repo_format::header::Kind;
use repo_format::id::ChunkId;
use repo_format::pack::Close;

use super::ledger::{Batch, Found, Ledger, Member};
use super::{Packer, REPEATED_CHUNKS_MAX};
use crate::session::SessionError;

/// How often a lane waits for others before it stores itself what they should have stored.
const WAITS_MAX: usize = 16;

/// A lane beside others.
pub(super) struct Elsewhere {
    pub(super) member: Member,
    kept: HashMap<ChunkId, Kept>,
    kept_bytes: usize,
    /// Chunks kept so far.
    kept_ever: u64,
    /// The news that were heard.
    heard: u64,
}

struct Kept {
    /// Rises: chunks that were neighbours stay neighbours.
    number: u64,
    bytes: Vec<u8>,
    /// Where it is expected.
    batch: Batch,
}

/// What is done about chunks that are not on storage yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Keep,
    Store,
}

impl Elsewhere {
    pub(super) fn beside(ledger: &Arc<Ledger>) -> Self {
        let member = Member::join(ledger);
        Self { member, kept: HashMap::new(), kept_bytes: 0, kept_ever: 0, heard: 0 }
    }

    /// Keeps a chunk, if there is room. When that becomes little, the lane that has most of what is kept is asked to
    /// close its pack.
    fn keep(&mut self, id: ChunkId, bytes: &[u8], batch: Batch) -> bool {
        if self.kept.contains_key(&id) {
            return true;
        }
        if !self.has_room(bytes.len()) {
            return false;
        }
        self.kept_bytes += bytes.len();
        self.kept_ever += 1;
        self.kept.insert(id, Kept { number: self.kept_ever, bytes: bytes.to_vec(), batch });
        if self.kept_bytes > self.member.kept_bytes_max() / 4 * 3 {
            self.ask_most();
        }
        true
    }

    fn has_room(&self, len: usize) -> bool {
        self.kept_bytes + len <= self.member.kept_bytes_max()
    }

    /// Whether there will be room for so many bytes when others have stored what is kept.
    fn is_full(&self, len: usize) -> bool {
        !self.kept.is_empty() && !self.has_room(len)
    }

    /// Asks the lane that is to store most of what is kept.
    fn ask_most(&self) {
        let mut by_batch = BTreeMap::new();
        for kept in self.kept.values() {
            *by_batch.entry(kept.batch).or_insert(0) += kept.bytes.len();
        }
        let most = by_batch.into_iter().max_by_key(|(batch, len)| (*len, *batch));
        self.member.ask(most.map(|(batch, _)| batch));
    }

    fn ask_all(&self) {
        self.member.ask(self.kept.values().map(|kept| kept.batch));
    }
}

impl Packer<'_, '_> {
    /// Whether the session at work need not store this new chunk: another lane has, or is about to.
    pub(super) fn finds_elsewhere(
        &mut self,
        id: ChunkId,
        bytes: &[u8],
    ) -> Result<bool, SessionError> {
        let place = self.owners.len() - 1;
        let since = self.owners[place].since;
        let Some(elsewhere) = &self.elsewhere else { return Ok(false) };
        let mut found = elsewhere.member.find(id, since);
        if matches!(found, Found::OnItsWay(_)) && elsewhere.is_full(bytes.len()) {
            // Others are as far as this lane, which rather waits than stores what they do.
            self.await_until(Elsewhere::ask_most, |elsewhere| !elsewhere.is_full(bytes.len()))?;
            let Some(elsewhere) = &self.elsewhere else { return Ok(false) };
            found = elsewhere.member.find(id, since);
        }
        let (owner, Some(elsewhere)) = (&mut self.owners[place], &mut self.elsewhere) else {
            return Ok(false);
        };
        match found {
            Found::Nowhere => return Ok(false),
            Found::OnItsWay(batch) => {
                if !elsewhere.keep(id, bytes, batch) {
                    return Ok(false);
                }
                owner.elsewhere.insert(id);
            }
            Found::Stored(hint) => {
                if owner.name(&hint) >= REPEATED_CHUNKS_MAX {
                    self.publish(place)?;
                }
            }
        }
        Ok(true)
    }

    /// Closes what others have asked for, and takes what they have stored.
    pub(super) fn hear(&mut self) -> Result<(), SessionError> {
        let Some(elsewhere) = &mut self.elsewhere else { return Ok(()) };
        let news = elsewhere.member.news();
        let is_news = std::mem::replace(&mut elsewhere.heard, news) != news;
        if elsewhere.member.take_request() {
            self.close_data()?;
        }
        if is_news { self.resolve(Rest::Keep) } else { Ok(()) }
    }

    /// Stores what others have not stored by now.
    pub(super) fn store_rest(&mut self) -> Result<(), SessionError> {
        self.resolve(Rest::Store)
    }

    /// At the end of the lane: gives the others what they wait for, and waits for them, but not long.
    pub(super) fn await_others(&mut self) -> Result<(), SessionError> {
        if self.elsewhere.as_ref().is_some_and(|elsewhere| !elsewhere.kept.is_empty()) {
            self.close_packs()?;
            self.await_until(Elsewhere::ask_all, |elsewhere| elsewhere.kept.is_empty())?;
        }
        Ok(())
    }

    /// Asks others to close their packs, and waits until `is_enough`; stores what they do not.
    ///
    /// Two lanes may wait for each other here: each still closes what it is asked for, and neither waits for anything
    /// but news, and not for long.
    fn await_until(
        &mut self,
        ask: impl Fn(&Elsewhere),
        is_enough: impl Fn(&Elsewhere) -> bool,
    ) -> Result<(), SessionError> {
        for _ in 0..WAITS_MAX {
            let Some(elsewhere) = &self.elsewhere else { return Ok(()) };
            ask(elsewhere);
            let has_news = elsewhere.member.await_news(elsewhere.heard);
            self.hear()?;
            match &self.elsewhere {
                Some(elsewhere) if is_enough(elsewhere) => return Ok(()),
                _ if !has_news => break,
                _ => {}
            }
        }
        self.store_rest()
    }

    fn close_data(&mut self) -> Result<(), SessionError> {
        self.close_frame(Kind::DataPack)?;
        while self.pack_next(Kind::DataPack)? {}
        self.close_pack(Kind::DataPack, Close::Padded)
    }

    /// Names for each session what is on storage by now, and stores what nobody is storing any more; the rest as `rest` says.
    fn resolve(&mut self, rest: Rest) -> Result<(), SessionError> {
        let Some(elsewhere) = &mut self.elsewhere else { return Ok(()) };
        elsewhere.kept_bytes = 0;
        let mut kept: Vec<_> = elsewhere.kept.drain().collect();
        kept.sort_unstable_by_key(|(_, kept)| kept.number);
        for (id, mut kept) in kept {
            let mut is_awaited = false;
            for place in 0..self.owners.len() {
                if let Some(batch) = self.resolve_for(place, id, &kept.bytes, rest)? {
                    (is_awaited, kept.batch) = (true, batch);
                }
            }
            if let (true, Some(elsewhere)) = (is_awaited, &mut self.elsewhere) {
                elsewhere.kept_bytes += kept.bytes.len();
                elsewhere.kept.insert(id, kept);
            }
        }
        Ok(())
    }

    /// The same for one chunk of one session. Where the chunk is expected, if it stays so.
    fn resolve_for(
        &mut self,
        place: usize,
        id: ChunkId,
        bytes: &[u8],
        rest: Rest,
    ) -> Result<Option<Batch>, SessionError> {
        let (owner, Some(elsewhere)) = (&mut self.owners[place], &self.elsewhere) else {
            return Ok(None);
        };
        if !owner.elsewhere.contains(&id) {
            return Ok(None);
        }
        let found = elsewhere.member.find(id, owner.since);
        if let (Found::OnItsWay(batch), Rest::Keep) = (&found, rest) {
            return Ok(Some(*batch));
        }
        owner.elsewhere.remove(&id);
        match found {
            Found::Stored(hint) if owner.name(&hint) < REPEATED_CHUNKS_MAX => {}
            Found::Stored(_) => self.publish(place)?,
            Found::OnItsWay(_) | Found::Nowhere => self.store_chunk(place, id, bytes)?,
        }
        Ok(None)
    }
}

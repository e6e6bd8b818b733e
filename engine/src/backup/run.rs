//! A run: backups one after the other that share packs.
//!
//! What one leaves in an open pack waits for the next to fill it, some minutes at most. Only when that pack is on
//! storage is the snapshot created, and only then is there an [`Outcome`].

use std::sync::Arc;

use repo_format::id::SnapshotId;
use repo_format::snapshot::Snapshot;

use super::{BackupError, BackupRequest, describe, read};
use crate::lookup::{Lookup, LookupError};
use crate::observer::Observer;
use crate::packer::{Ended, Ledger, Packer, Packing, Threads};
use crate::repository::Repository;
use crate::session::{Session, SessionError};
use crate::source::{Source, SourceFacts};

/// What became of a source that was read to its end.
pub struct Outcome {
    /// What [`Run::read`] answered.
    pub id: SnapshotId,
    /// Its snapshot.
    pub result: Result<Snapshot, BackupError>,
}

/// Backups one after the other.
pub struct Run<'r, 'w> {
    repository: &'r Repository,
    threads: Threads<'w>,
    packing: Packing,
    ledger: Option<Arc<Ledger>>,
    packer: Packer<'r, 'w>,
    /// Sources that were read, and whose outcome was not told yet.
    read: Vec<SnapshotId>,
    outcomes: Vec<Outcome>,
}

impl<'r, 'w> Run<'r, 'w> {
    /// A run that has nothing yet.
    pub fn new(repository: &'r Repository, threads: Threads<'w>, packing: Packing) -> Self {
        let packer = Packer::new(repository, threads, packing);
        let (read, outcomes) = (Vec::new(), Vec::new());
        Self { repository, threads, packing, ledger: None, packer, read, outcomes }
    }

    /// The same, as a lane beside others that share the ledger: what is new in several is stored once.
    #[must_use]
    pub fn beside(self, ledger: &Arc<Ledger>) -> Self {
        let (packer, ledger) = (self.packer.beside(Some(ledger)), Some(Arc::clone(ledger)));
        Self { packer, ledger, ..self }
    }

    /// Reads a source to its end. Its snapshot follows among the [outcomes](Self::outcomes).
    ///
    /// # Errors
    ///
    /// There is no snapshot, and no outcome; what was stored is found by the next backup.
    pub fn read(
        &mut self,
        source: &mut dyn Source,
        request: &BackupRequest,
        observer: &dyn Observer,
    ) -> Result<SnapshotId, BackupError> {
        let repository = self.repository;
        let begun_ms = repository.surroundings().now_ms();
        // What the user typed is checked before hours are spent on reading the source.
        let unnamed = SnapshotId::from_bytes([0; 16]);
        let draft = describe(repository, unnamed, SourceFacts::default(), request, Vec::new());
        draft.check().map_err(BackupError::Description)?;
        self.prepare();
        let (session, lookup) = Session::begin(repository, &request.who)?;
        let id = session.id();
        self.packer.begin(session);
        let packer = &mut self.packer;
        match read(repository, self.threads, packer, lookup, source, request, observer) {
            Ok(mut snapshot) => {
                let now_ms = repository.surroundings().now_ms();
                snapshot.statistics.elapsed_ms = now_ms.saturating_sub(begun_ms);
                self.packer.end(Some(snapshot));
                self.read.push(id);
                self.settle();
                Ok(id)
            }
            Err(error) => {
                self.packer.end(None);
                match &error {
                    BackupError::Source(_) => self.settle(),
                    _ => self.start_over(None),
                }
                if let BackupError::Lookup(LookupError::CacheDamaged(_)) = error {
                    let _ = Lookup::discard(repository.cache());
                }
                Err(error)
            }
        }
    }

    /// What became of sources by now, each once.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Stores what is left, and tells what became of all that was not told yet.
    pub fn finish(mut self) -> Vec<Outcome> {
        self.start_over(None);
        self.outcomes
    }

    fn prepare(&mut self) {
        let prepared = self.packer.prepare();
        self.told(prepared);
    }

    fn settle(&mut self) {
        let settled = self.packer.settle();
        self.told(settled);
    }

    /// Tells what has ended; after an error with the packs new ones are begun.
    fn told(&mut self, settled: Result<(), SessionError>) {
        let ended = self.packer.take_ended();
        self.tell(ended);
        if let Err(error) = settled {
            self.start_over(Some(error));
        }
    }

    /// Stores what is left, and goes on with new packs.
    fn start_over(&mut self, cause: Option<SessionError>) {
        let packer = Packer::new(self.repository, self.threads, self.packing);
        let packer = packer.beside(self.ledger.as_ref());
        let (ended, lost, error) = std::mem::replace(&mut self.packer, packer).finish();
        self.tell(ended);
        let lost: Vec<SnapshotId> = lost.into_iter().filter(|id| self.read.contains(id)).collect();
        self.read.retain(|id| !lost.contains(id));
        match (&*lost, cause.or(error)) {
            ([id], Some(error)) => {
                self.outcomes.push(Outcome { id: *id, result: Err(error.into()) });
            }
            (lost, error) => {
                let error = error.map(Arc::new);
                let outcome = |id: &SnapshotId| Outcome {
                    id: *id,
                    result: Err(BackupError::Shared(error.clone())),
                };
                self.outcomes.extend(lost.iter().map(outcome));
            }
        }
    }

    fn tell(&mut self, ended: Vec<Ended>) {
        for Ended { id, result } in ended {
            self.read.retain(|read| *read != id);
            // Those without a snapshot have failed before.
            if let Some(result) = result.map_err(BackupError::from).transpose() {
                self.outcomes.push(Outcome { id, result });
            }
        }
    }
}

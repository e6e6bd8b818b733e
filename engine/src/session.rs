//! A writer's session: rules 1 to 8 of the protocol (SPEC 12.2).

use std::cell::Cell;

use repo_format::FormatError;
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::{IndexHash, PackId, SnapshotId};
use repo_format::index::IndexObject;
use repo_format::limits::CATALOG_LEN_MAX;
use repo_format::object_name::{IndexName, ObjectName};
use repo_format::seal::seal_object;
use repo_format::session::SessionRecord;
use repo_format::snapshot::Snapshot;

use crate::catalog::{Audience, Catalog, CatalogError, load_index};
use crate::lookup::Lookup;
use crate::repository::{ReadError, Repository};
use crate::storage::{Creation, StorageError};
use crate::surroundings::{random, random_secret};

/// Seconds between two signs of life.
const ALIVE_EVERY_SECS: u64 = 300;

/// Who runs a session; shown to those who wonder whether it still runs.
#[derive(Debug, Clone)]
pub struct Who {
    /// Name of the host.
    pub host: String,
    /// Process number.
    pub process: u32,
    /// Program and version.
    pub program: String,
}

/// A session that stands in the repository.
pub struct Session<'r> {
    repository: &'r Repository,
    record: SessionRecord,
    catalog: Catalog,
    alive: Cell<u64>,
}

/// A pack that is on storage: only [`Session::store_pack`] makes one, and only such packs are named in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPack(PackId);

impl StoredPack {
    /// Its name.
    #[must_use]
    pub const fn id(self) -> PackId {
        self.0
    }
}

/// Why a session could not begin, go on or commit.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state or the index could not be loaded.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A prune took this session for dead.
    #[error("session {id} was fenced: a prune took it for dead")]
    Fenced {
        /// The session.
        id: SnapshotId,
    },
    /// Something else stands where the snapshot should be created.
    #[error("{name} exists already and is not this snapshot")]
    Occupied {
        /// The snapshot.
        name: ObjectName,
    },
    /// A new object has the name of one that is there: the random source repeats itself.
    #[error("{name} exists already: the machine's random source repeats itself")]
    Repeated {
        /// The object.
        name: ObjectName,
    },
}

impl<'r> Session<'r> {
    /// Rules 1 to 3: the session, then the state, then the index. A session that cannot load is removed again.
    pub fn begin(repository: &'r Repository, who: &Who) -> Result<(Self, Lookup), SessionError> {
        let world = repository.surroundings();
        let started = world.now();
        let record = SessionRecord {
            id: SnapshotId::from_bytes(random(world)),
            started,
            host: who.host.clone(),
            process: who.process,
            program: who.program.clone(),
            alive: started,
        };
        let name = ObjectName::Session(record.id);
        let sealed = record.seal(repository.keys(), &random_secret(world));
        if repository.storage().create(name, &sealed)? == Creation::Exists {
            return Err(SessionError::Repeated { name });
        }
        match load_index(repository, Audience::Writer) {
            Ok((catalog, lookup)) => {
                Ok((Self { repository, record, catalog, alive: Cell::new(started) }, lookup))
            }
            Err(error) => {
                repository.storage().delete(name)?;
                Err(error.into())
            }
        }
    }

    /// The id of the session and of the snapshot that it will make.
    #[must_use]
    pub const fn id(&self) -> SnapshotId {
        self.record.id
    }

    /// What counted when it began.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Rewrites the session if the last sign of life is some minutes old (SPEC 9.3).
    pub fn sign_of_life(&self) -> Result<(), SessionError> {
        let world = self.repository.surroundings();
        let now = world.now();
        if now < self.alive.get().saturating_add(ALIVE_EVERY_SECS) {
            return Ok(());
        }
        let record = SessionRecord { alive: now, ..self.record.clone() };
        let sealed = record.seal(self.repository.keys(), &random_secret(world));
        self.repository.storage().replace_session(ObjectName::Session(self.id()), &sealed)?;
        self.alive.set(now);
        Ok(())
    }

    /// Rule 5: publishes an index object of this session; returns its name and its length in bytes.
    pub fn publish(&self, mut object: IndexObject) -> Result<(IndexName, u64), SessionError> {
        let kind = object.kind();
        let text = object.encode();
        let seed = random_secret(self.repository.surroundings());
        let bytes = seal_object(self.repository.keys(), kind, &seed, &text);
        let hash = IndexHash::of(&bytes);
        let index = IndexName { owner: self.id(), hash };
        let name = match kind {
            Kind::PrintIndex => ObjectName::Prints(index),
            _ => ObjectName::Index(index),
        };
        match self.repository.storage().create(name, &bytes)? {
            Creation::Created => Ok((index, bytes.len() as u64)),
            Creation::Exists => Err(SessionError::Repeated { name }),
        }
    }

    /// Rules 5 to 7: creates the snapshot, which is the commit, and removes the session.
    /// Call it when everything that the snapshot needs is published.
    pub fn commit(self, snapshot: &Snapshot) -> Result<(), SessionError> {
        let seed = random_secret(self.repository.surroundings());
        let sealed = snapshot.seal(self.repository.keys(), &seed);
        let name = ObjectName::Snapshot(self.id());
        match self.repository.storage().create(name, &sealed) {
            Ok(Creation::Created) => {}
            Ok(Creation::Exists) => self.settle(name, &sealed)?,
            // Not answered: the snapshot may be there. The session stays, since the request may still be under way
            // (rule 7).
            Err(error) => return self.settle(name, &sealed).map_err(|_| error.into()),
        }
        // The snapshot is there, whatever becomes of the session: one that stays is no damage.
        let _ = self.repository.storage().delete(ObjectName::Session(self.id()));
        Ok(())
    }

    /// Gives up: nothing of this session counts. What it published is a hint for the next one.
    /// Every request was answered, so the session may go (rule 7).
    pub fn abandon(self) -> Result<(), SessionError> {
        Ok(self.repository.storage().delete(ObjectName::Session(self.id()))?)
    }

    /// Rule 6: the name is taken. By our own lost request, or by a tombstone?
    fn settle(&self, name: ObjectName, ours: &[u8]) -> Result<(), SessionError> {
        let found = self.repository.storage().read(name, CATALOG_LEN_MAX)?;
        let damaged =
            |source: FormatError| SessionError::Catalog(ReadError::Damaged { name, source }.into());
        match claimed_kind(&found).map_err(damaged)? {
            Kind::Tombstone => Err(SessionError::Fenced { id: self.id() }),
            _ if found == ours => Ok(()),
            _ => Err(SessionError::Occupied { name }),
        }
    }

    /// Stores a pack; rule 5: one whose upload was not answered is named nowhere.
    pub fn store_pack(
        storage: &dyn crate::storage::Storage,
        id: PackId,
        bytes: &[u8],
    ) -> Result<StoredPack, SessionError> {
        match storage.create(ObjectName::Pack(id), bytes)? {
            Creation::Created => Ok(StoredPack(id)),
            Creation::Exists => Err(SessionError::Repeated { name: ObjectName::Pack(id) }),
        }
    }
}

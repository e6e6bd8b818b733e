//! A repository: opens, and hands out its parts. Commands are elsewhere.

use std::sync::Arc;

use repo_format::config::Config;
use repo_format::header::Kind;
use repo_format::id::{RepositoryId, SlotId};
use repo_format::keys::{Epoch, Keys, Role};
use repo_format::limits::{INDEX_LEN_MAX, ROOT_LEN_MAX, SLOTS_MAX};
use repo_format::object_name::{Directory, IndexName, ObjectName, ROOTS};
use repo_format::seal::open_object;
use repo_format::slot::{Bundle, KdfCost, Slot, SlotInfo, SlotParts};
use repo_format::state::State;
use repo_format::{FormatError, index::IndexObject, slot};

use crate::lookup::CachePlace;
use crate::storage::{Creation, Storage, StorageError};
use crate::surroundings::{Surroundings, random, random_secret};

/// An open repository.
pub struct Repository {
    storage: Arc<dyn Storage>,
    surroundings: Arc<dyn Surroundings>,
    config: Config,
    bundle: Bundle,
    slot: SlotId,
    cache: CachePlace,
}

/// How a repository is opened.
pub struct OpenOptions {
    /// Where it lies.
    pub storage: Arc<dyn Storage>,
    /// Time and randomness.
    pub surroundings: Arc<dyn Surroundings>,
    /// The directory of all caches; each repository uses one below it. `None`: nothing is kept.
    pub cache: Option<std::path::PathBuf>,
}

/// Why a repository could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("there is no repository at {location}")]
    Missing {
        /// Where.
        location: String,
    },
    /// There is one already.
    #[error("there is a repository at {location} already")]
    Exists {
        /// Where.
        location: String,
    },
    /// Its creation was interrupted; nothing can be in it.
    #[error("the repository at {location} was never finished: it has no key slot")]
    Unfinished {
        /// Where.
        location: String,
    },
    /// No slot opens with this password.
    #[error("the password opens none of the {slots} key slots of {location}")]
    WrongPassword {
        /// Where.
        location: String,
        /// Slots that were tried.
        slots: usize,
    },
    /// All copies of the config, or all of the key slots, are damaged.
    #[error("no copy of {what} at {location} can be read")]
    Damaged {
        /// Where.
        location: String,
        /// Which root.
        what: &'static str,
        /// What is wrong with the last copy.
        source: FormatError,
    },
    /// A newer program made it.
    #[error("the repository at {location} needs a newer program")]
    TooNew {
        /// Where.
        location: String,
        /// Why.
        source: FormatError,
    },
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Repository {
    /// Makes a repository whose first slot is of the full role.
    ///
    /// The config comes first, since creating it decides between two that do this at once; the slot
    /// comes last, so that a repository with a slot is complete.
    pub fn create(
        options: OpenOptions,
        password: &[u8],
        cost: KdfCost,
        label: &str,
    ) -> Result<Self, OpenError> {
        let OpenOptions { storage, surroundings, cache } = options;
        let location = storage.location();
        for copy in ROOTS {
            if !storage.list(Directory::Config(copy))?.is_empty() {
                return Err(OpenError::Exists { location });
            }
        }
        let world = &*surroundings;
        let id = RepositoryId::from_bytes(random(world));
        let epoch = Epoch::generate(0, random_secret(world), &random_secret(world));
        let keys = Keys::new(id, random_secret(world), vec![epoch]).expect("one epoch is enough");
        let bundle = Bundle { role: Role::Full, keys, signing_seed: random_secret(world) };
        let config = Config::new(id, world.now());
        for copy in ROOTS {
            let name = ObjectName::Config { copy, number: 0 };
            if storage.create(name, &config.encode())? == Creation::Exists {
                return Err(OpenError::Exists { location });
            }
        }
        let state = State::initial().seal(&bundle.keys, &random_secret(world));
        storage.create(ObjectName::State(0), &state)?;
        let info = SlotInfo { role: Role::Full, label: label.to_owned(), created: world.now() };
        let slot = new_slot(world, &bundle, password, cost, &info);
        store_slot(&*storage, slot.0, &slot.1)?;
        let cache = cache_place(cache, id);
        Ok(Self { storage, surroundings, config, bundle, slot: slot.0, cache })
    }

    /// Opens a repository with the slot that `password` opens.
    pub fn open(options: OpenOptions, password: &[u8]) -> Result<Self, OpenError> {
        let OpenOptions { storage, surroundings, cache } = options;
        let config = read_config(&*storage)?;
        let slots = read_slots(&*storage)?;
        if slots.is_empty() {
            return Err(OpenError::Unfinished { location: storage.location() });
        }
        let mut damage = None;
        for found in &slots {
            let opened = found.as_ref().map_err(Clone::clone).and_then(|slot| {
                Ok(slot.open(password)?.map(|bundle| (slot.id, slot.repository, bundle)))
            });
            match opened {
                Ok(Some((slot, repository, bundle))) if repository == config.repository => {
                    let cache = cache_place(cache, repository);
                    return Ok(Self { storage, surroundings, config, bundle, slot, cache });
                }
                Ok(_) => {}
                Err(error) => damage = Some(error),
            }
        }
        let location = storage.location();
        match damage {
            Some(source) => Err(OpenError::Damaged { location, what: "a key slot", source }),
            None => Err(OpenError::WrongPassword { location, slots: slots.len() }),
        }
    }

    /// Where the repository lies.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Time and randomness.
    #[must_use]
    pub fn surroundings(&self) -> &dyn Surroundings {
        &*self.surroundings
    }

    /// The config.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Its secrets.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.bundle.keys
    }

    /// The bundle that the password opened.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The slot that the password opened.
    #[must_use]
    pub const fn slot(&self) -> SlotId {
        self.slot
    }

    /// Where the index is cached.
    #[must_use]
    pub const fn cache(&self) -> &CachePlace {
        &self.cache
    }

    /// Reads, verifies and opens an index object.
    pub fn read_index(&self, name: IndexName) -> Result<IndexObject, ReadError> {
        read_index(&*self.storage, self.keys(), ObjectName::Index(name))
    }
}

/// Reads, verifies and opens an index object of `index/` or `prints/`.
pub fn read_index(
    storage: &dyn Storage,
    keys: &Keys,
    name: ObjectName,
) -> Result<IndexObject, ReadError> {
    let bytes = storage.read(name, INDEX_LEN_MAX)?;
    parse_index(keys, name, &bytes).map_err(|source| ReadError::Damaged { name, source })
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Storage could not deliver it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is not what was stored.
    #[error("{name} is damaged")]
    Damaged {
        /// Which object.
        name: ObjectName,
        /// What is wrong with it.
        source: FormatError,
    },
}

/// Verifies the name of an index object and opens it; its kind is in its header, and fits its directory.
pub fn parse_index(
    keys: &Keys,
    name: ObjectName,
    bytes: &[u8],
) -> Result<IndexObject, FormatError> {
    let hash = repo_format::id::IndexHash::of(bytes);
    if !matches!(name, ObjectName::Index(name) | ObjectName::Prints(name) if name.hash == hash) {
        return Err(FormatError::Hash { what: "index object" });
    }
    let kind = match (name, repo_format::header::claimed_kind(bytes)?) {
        (ObjectName::Index(_), kind @ (Kind::SegmentIndex | Kind::ChunkIndex)) => kind,
        (ObjectName::Prints(_), kind @ Kind::PrintIndex) => kind,
        _ => return Err(FormatError::Invalid { what: "kind of index" }),
    };
    IndexObject::parse(kind, &open_object(keys, kind, "index object", bytes)?)
}

/// A new slot: its id and its object.
#[must_use]
pub fn new_slot(
    world: &dyn Surroundings,
    bundle: &Bundle,
    password: &[u8],
    cost: KdfCost,
    info: &SlotInfo,
) -> (SlotId, Vec<u8>) {
    let id = SlotId::from_bytes(random(world));
    let parts = SlotParts { id, salt: random(world), cost, info };
    (id, slot::encode(bundle, password, &parts))
}

/// Writes the three copies of a slot.
pub fn store_slot(storage: &dyn Storage, id: SlotId, object: &[u8]) -> Result<(), StorageError> {
    for copy in ROOTS {
        storage.create(ObjectName::KeySlot { copy, id }, object)?;
    }
    Ok(())
}

/// Every slot: the first copy that verifies, or what is wrong with the last.
pub fn read_slots(storage: &dyn Storage) -> Result<Vec<Result<Slot, FormatError>>, StorageError> {
    let mut ids = std::collections::BTreeSet::new();
    for copy in ROOTS {
        for (name, _) in storage.list(Directory::Keys(copy))? {
            if let ObjectName::KeySlot { id, .. } = name {
                ids.insert(id);
            }
        }
    }
    let copies = |id| ROOTS.map(|copy| ObjectName::KeySlot { copy, id });
    let mut slots = Vec::new();
    for id in ids.into_iter().take(SLOTS_MAX) {
        let parse = |bytes: &[u8]| match Slot::parse(bytes) {
            Ok(slot) if slot.id != id => Err(FormatError::Invalid { what: "id of the key slot" }),
            parsed => parsed,
        };
        slots.extend(first_sound(storage, copies(id), parse)?);
    }
    Ok(slots)
}

fn read_config(storage: &dyn Storage) -> Result<Config, OpenError> {
    let mut numbers = std::collections::BTreeSet::new();
    for copy in ROOTS {
        for (name, _) in storage.list(Directory::Config(copy))? {
            if let ObjectName::Config { number, .. } = name {
                numbers.insert(number);
            }
        }
    }
    let location = storage.location();
    let mut damage = None;
    for number in numbers.into_iter().rev() {
        let copies = ROOTS.map(|copy| ObjectName::Config { copy, number });
        match first_sound(storage, copies, Config::parse)? {
            Some(Ok(config)) => return Ok(config),
            Some(Err(source @ FormatError::TooNew { .. })) => {
                return Err(OpenError::TooNew { location, source });
            }
            Some(Err(source)) => damage = Some(source),
            None => {}
        }
    }
    match damage {
        Some(source) => Err(OpenError::Damaged { location, what: "the config", source }),
        None => Err(OpenError::Missing { location }),
    }
}

/// The first of the copies that parses, else the last error; `None` when there is no copy.
fn first_sound<T>(
    storage: &dyn Storage,
    copies: [ObjectName; 3],
    parse: impl Fn(&[u8]) -> Result<T, FormatError>,
) -> Result<Option<Result<T, FormatError>>, StorageError> {
    let mut last = None;
    for name in copies {
        let parsed = match storage.read(name, ROOT_LEN_MAX) {
            Ok(bytes) => parse(&bytes),
            Err(StorageError::NotFound { .. }) => continue,
            Err(StorageError::TooLong { .. }) => Err(FormatError::Invalid { what: "length" }),
            Err(error) => return Err(error),
        };
        match parsed {
            Ok(value) => return Ok(Some(Ok(value))),
            Err(error) => last = Some(Err(error)),
        }
    }
    Ok(last)
}

fn cache_place(cache: Option<std::path::PathBuf>, id: RepositoryId) -> CachePlace {
    match cache {
        Some(directory) => CachePlace::Directory(directory.join(id.to_string())),
        None => CachePlace::Temporary,
    }
}

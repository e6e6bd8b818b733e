//! A storage that counts which frames are read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::storage::{Creation, Storage, StorageError};
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::PackId;
use repo_format::object_name::{Directory, ObjectName};

/// What was read of data packs.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// Frames, each as often as it was read.
    pub opened: usize,
    /// Different ones.
    pub distinct: usize,
}

impl Frames {
    /// Opened / distinct.
    pub fn ratio(self) -> f64 {
        self.opened as f64 / self.distinct.max(1) as f64
    }
}

/// Decorates a storage.
pub struct CountingStorage {
    inner: Arc<dyn Storage>,
    /// How often, by pack and offset.
    reads: Mutex<HashMap<(PackId, u64), usize>>,
}

impl CountingStorage {
    /// Does what `inner` does, and counts.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, reads: Mutex::default() }
    }

    /// Counts anew.
    pub fn forget(&self) {
        self.reads().clear();
    }

    /// What was read of data packs, but for their headers.
    pub fn frames(&self) -> Result<Frames, StorageError> {
        let mut frames = Frames { opened: 0, distinct: 0 };
        let mut kinds = HashMap::new();
        for ((pack, offset), times) in self.reads().iter() {
            let kind = match kinds.get(pack) {
                Some(kind) => *kind,
                None => {
                    let header = self.inner.read_range(ObjectName::Pack(*pack), 0..32)?;
                    *kinds.entry(*pack).or_insert(claimed_kind(&header).ok())
                }
            };
            if *offset > 0 && kind == Some(Kind::DataPack) {
                frames.opened += times;
                frames.distinct += 1;
            }
        }
        Ok(frames)
    }

    fn reads(&self) -> MutexGuard<'_, HashMap<(PackId, u64), usize>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for CountingStorage {
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError> {
        self.inner.create(name, bytes)
    }

    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.replace_session(name, bytes)
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        self.inner.read(name, limit_bytes)
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        if let ObjectName::Pack(pack) = name {
            *self.reads().entry((pack, range.start)).or_default() += 1;
        }
        self.inner.read_range(name, range)
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        self.inner.list(directory)
    }

    fn delete(&self, name: ObjectName) -> Result<(), StorageError> {
        self.inner.delete(name)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

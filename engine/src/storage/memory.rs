//! A repository in memory: for tests, and for trying things without a disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use repo_format::object_name::{Directory, ObjectName};

use super::{Creation, Storage, StorageError};

/// Keeps every object in a map.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    objects: Mutex<BTreeMap<ObjectName, Vec<u8>>>,
}

impl MemoryStorage {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every object, for tests that look at or change what is stored.
    pub fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError> {
        let mut objects = self.objects();
        if objects.contains_key(&name) {
            return Ok(Creation::Exists);
        }
        objects.insert(name, bytes.to_vec());
        Ok(Creation::Created)
    }

    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError> {
        self.objects().insert(name, bytes.to_vec());
        Ok(())
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        let objects = self.objects();
        let bytes = objects.get(&name).ok_or(StorageError::NotFound { name })?;
        match bytes.len() as u64 {
            len if len > limit_bytes => Err(StorageError::TooLong { name, len }),
            _ => Ok(bytes.clone()),
        }
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let objects = self.objects();
        let bytes = objects.get(&name).ok_or(StorageError::NotFound { name })?;
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let found = range.and_then(|(start, end)| bytes.get(start..end));
        found.map(<[u8]>::to_vec).ok_or(StorageError::Short { name })
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        let prefix = directory.path() + "/";
        let objects = self.objects();
        let all = objects.iter().filter(|(name, _)| name.to_string().starts_with(&prefix));
        Ok(all.map(|(name, bytes)| (*name, bytes.len() as u64)).collect())
    }

    fn delete(&self, name: ObjectName) -> Result<(), StorageError> {
        self.objects().remove(&name);
        Ok(())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

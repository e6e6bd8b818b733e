//! A storage that reads what is there and forgets what is stored: how a backup is tried without a trace.

use std::ops::Range;
use std::sync::Arc;

use repo_format::object_name::{Directory, ObjectName};

use super::{Creation, Storage, StorageError};

/// Answers every creation with "created" and keeps nothing.
pub struct DiscardingStorage {
    inner: Arc<dyn Storage>,
}

impl DiscardingStorage {
    /// Reads from `inner`.
    #[must_use]
    pub const fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner }
    }
}

impl Storage for DiscardingStorage {
    fn create(&self, _: ObjectName, _: &[u8]) -> Result<Creation, StorageError> {
        Ok(Creation::Created)
    }

    fn replace_session(&self, _: ObjectName, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        self.inner.read(name, limit_bytes)
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        self.inner.read_range(name, range)
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        self.inner.list(directory)
    }

    fn delete(&self, _: ObjectName) -> Result<(), StorageError> {
        Ok(())
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

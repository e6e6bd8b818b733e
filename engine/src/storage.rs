//! Storage: the verbs that a repository needs, and what they promise.
//!
//! Objects are immutable and appear whole or not at all, so there is no append, seek or rename.
//! The protocol (SPEC 12) rests on three promises: of all creations of one name exactly one wins;
//! a list that begins after a creation was answered shows it; so does a read.

use std::io;
use std::ops::Range;

use repo_format::object_name::{Directory, ObjectName};

pub mod discarding;
pub mod local;
pub mod memory;

/// What a creation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The object is there now, durable.
    Created,
    /// An object of that name was there before; it was left as it was.
    Exists,
}

/// A place where a repository lies.
pub trait Storage: Send + Sync {
    /// Stores `bytes` under `name` unless it exists. Durable when it returns.
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError>;

    /// Stores or replaces a session, the only object that changes (SPEC 9.3).
    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError>;

    /// The whole object; refused if it is longer than `limit_bytes`.
    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError>;

    /// Exactly the bytes of `range`; an object that is shorter is [`StorageError::Short`].
    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError>;

    /// Every object of a directory with its length in bytes, in order of names. Other files are left out.
    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError>;

    /// Removes an object; removing what is not there succeeds.
    fn delete(&self, name: ObjectName) -> Result<(), StorageError>;

    /// Where it is, for people.
    fn location(&self) -> String;
}

/// Why storage could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("{name} is not in the repository")]
    NotFound {
        /// Which.
        name: ObjectName,
    },
    /// The object ends before the range that was asked for.
    #[error("{name} is shorter than it must be")]
    Short {
        /// Which.
        name: ObjectName,
    },
    /// The object is longer than its kind may be.
    #[error("{name} has {len} bytes, more than its kind may have")]
    TooLong {
        /// Which.
        name: ObjectName,
        /// Its length.
        len: u64,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path}")]
    Io {
        /// The verb.
        doing: &'static str,
        /// Of what.
        path: String,
        /// Its answer.
        source: io::Error,
    },
}

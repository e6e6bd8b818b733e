//! A session: says that a snapshot is being made (SPEC 9.3).

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::FormatError;
use crate::header::Kind;
use crate::id::SnapshotId;
use crate::keys::{Keys, Secret};
use crate::seal::{open_catalog, seal_catalog};

/// Who is running.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionRecord {
    /// The snapshot that it will make.
    #[n(0)]
    pub id: SnapshotId,
    /// Seconds since 1970.
    #[n(1)]
    pub started: u64,
    /// Where it runs.
    #[n(2)]
    pub host: String,
    /// Process number there.
    #[n(3)]
    pub process: u32,
    /// Program and version.
    #[n(4)]
    pub program: String,
    /// Last sign of life, seconds since 1970.
    #[n(5)]
    pub alive: u64,
}

impl SessionRecord {
    /// The object.
    #[must_use]
    pub fn seal(&self, keys: &Keys, seed: &Secret) -> Vec<u8> {
        seal_catalog(keys, Kind::Session, seed, &cbor::encode(self))
    }

    /// Opens an object.
    pub fn open(keys: &Keys, object: &[u8]) -> Result<Self, FormatError> {
        cbor::decode("session", &open_catalog(keys, Kind::Session, "session", object)?)
    }
}

//! The config: all that is not secret, and nothing more (SPEC 9.1).

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::FormatError;
use crate::header::{FORMAT_VERSION, Kind, read_clear, write_clear};
use crate::id::RepositoryId;
use crate::limits::{CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN, ROOT_LEN_MAX, SEGMENT_LEN};
use crate::wire::{Reader, Writer, strip_final_hash, with_final_hash};

/// What everyone must know of a repository before opening it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Config {
    #[n(0)]
    version: u16,
    /// R.
    #[n(1)]
    pub repository: RepositoryId,
    #[n(2)]
    chunker: ChunkerConfig,
    #[n(3)]
    segment_len: u32,
    #[n(4)]
    features_read: u64,
    #[n(5)]
    features_write: u64,
    /// When it was made, seconds since 1970.
    #[n(6)]
    pub created: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct ChunkerConfig {
    #[n(0)]
    algorithm: u8,
    #[n(1)]
    min: u32,
    #[n(2)]
    average: u32,
    #[n(3)]
    max: u32,
    #[n(4)]
    level: u8,
}

const CHUNKER: ChunkerConfig = ChunkerConfig {
    algorithm: 1,
    min: CHUNK_MIN as u32,
    average: CHUNK_AVERAGE as u32,
    max: CHUNK_MAX as u32,
    level: 1,
};

impl Config {
    /// The config of a new repository.
    #[must_use]
    pub const fn new(repository: RepositoryId, created: u64) -> Self {
        Self {
            version: FORMAT_VERSION,
            repository,
            chunker: CHUNKER,
            segment_len: SEGMENT_LEN as u32,
            features_read: 0,
            features_write: 0,
            created,
        }
    }

    /// The format version.
    #[must_use]
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// The object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let cbor = cbor::encode(self);
        let mut w = Writer::default();
        write_clear(&mut w, Kind::Config, 0, self.repository);
        w.length(cbor.len()).bytes(&cbor);
        with_final_hash(w.finish())
    }

    /// Reads a config and refuses what this program could misread.
    pub fn parse(object: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("config", strip_final_hash("config", object)?);
        let (_, repository) = read_clear(&mut r, Kind::Config)?;
        let len = r.length("config", ROOT_LEN_MAX as usize)?;
        let config: Self = cbor::decode("config", r.bytes(len)?)?;
        r.end()?;
        if config.version > FORMAT_VERSION || config.features_read != 0 {
            return Err(FormatError::TooNew { found: config.version });
        }
        let sound = config.repository == repository
            && config.chunker == CHUNKER
            && config.segment_len as usize == SEGMENT_LEN;
        match sound {
            true => Ok(config),
            false => Err(FormatError::Invalid { what: "config" }),
        }
    }

    /// Refuses to write where a newer program has set a rule that this one does not know.
    pub const fn check_writable(&self) -> Result<(), FormatError> {
        match self.features_write {
            0 => Ok(()),
            _ => Err(FormatError::TooNew { found: self.version }),
        }
    }
}

//! A state: what counts, and what is being deleted (SPEC 9.4).

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::FormatError;
use crate::header::Kind;
use crate::id::{Digest, PackId, SnapshotId};
use crate::keys::{Keys, Secret};
use crate::object_name::IndexName;
use crate::seal::{open_catalog, seal_catalog};

/// Where a prune stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// Nothing is being deleted.
    #[n(0)]
    Idle,
    /// Packs are condemned.
    #[n(1)]
    Condemned,
    /// Sessions are waited for.
    #[n(2)]
    Waiting,
    /// Doomed objects are being deleted.
    #[n(3)]
    Dooming,
}

/// A state; complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    /// Counts from 0.
    #[n(0)]
    pub number: u64,
    /// Final hash of the state before; zeros for number 0.
    #[n(1)]
    pub previous: Digest,
    /// Where a prune stands.
    #[n(2)]
    pub phase: Phase,
    /// Index objects that count for everybody.
    #[n(3)]
    pub live: Vec<IndexName>,
    /// Index objects that count for readers only.
    #[n(4)]
    pub retired: Vec<IndexName>,
    /// Sessions whose index objects count no more.
    #[n(5)]
    pub absorbed: Vec<SnapshotId>,
    /// Packs that writers starting from now on cannot find.
    #[n(6)]
    pub condemned: Vec<PackId>,
    /// Sessions that are waited for.
    #[n(7)]
    pub wait: Vec<SnapshotId>,
    /// Index objects that will be deleted.
    #[n(8)]
    pub doomed_index: Vec<IndexName>,
    /// Packs that will be deleted.
    #[n(9)]
    pub doomed_packs: Vec<PackId>,
}

impl State {
    /// The first state of a repository: idle and empty.
    #[must_use]
    pub const fn initial() -> Self {
        Self {
            number: 0,
            previous: Digest::from_bytes([0; 32]),
            phase: Phase::Idle,
            live: Vec::new(),
            retired: Vec::new(),
            absorbed: Vec::new(),
            condemned: Vec::new(),
            wait: Vec::new(),
            doomed_index: Vec::new(),
            doomed_packs: Vec::new(),
        }
    }

    /// The object.
    #[must_use]
    pub fn seal(&self, keys: &Keys, seed: &Secret) -> Vec<u8> {
        seal_catalog(keys, Kind::State, seed, &cbor::encode(self))
    }

    /// Opens an object that must be state `number`.
    pub fn open(keys: &Keys, number: u64, object: &[u8]) -> Result<Self, FormatError> {
        let state: Self =
            cbor::decode("state", &open_catalog(keys, Kind::State, "state", object)?)?;
        match state.number == number {
            true => Ok(state),
            false => Err(FormatError::Invalid { what: "number of the state" }),
        }
    }
}

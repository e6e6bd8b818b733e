//! How objects begin (SPEC 3.1, 3.2).

use crate::error::FormatError;
use crate::id::RepositoryId;
use crate::wire::{Reader, Writer};

/// The format version that this crate writes, and the highest that it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a clear header.
pub const CLEAR_HEADER_LEN: usize = 32;
/// Bytes of a sealed header.
pub const SEALED_HEADER_LEN: usize = 96;

const MAGIC: [u8; 4] = *b"XNTH";

/// What an object is (SPEC 3). The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `roots/*/config/<n>`
    Config = 1,
    /// `roots/*/keys/<id>`
    KeySlot = 2,
    /// Chunks of disks and streams, sealed so that only the full role opens them.
    DataPack = 3,
    /// Maps, nodes, disks and copies of snapshots.
    MapPack = 4,
    /// Prints: recognise the parts of segments again.
    PrintPack = 5,
    /// Ids of maps, nodes and disks and where they lie.
    SegmentIndex = 6,
    /// Ids of chunks and where they lie.
    ChunkIndex = 7,
    /// Where prints lie, and hooks: fingerprints that lead to segments.
    PrintIndex = 8,
    /// `snapshots/<id>`
    Snapshot = 9,
    /// `sessions/<id>`
    Session = 10,
    /// `state/<n>`
    State = 11,
    /// `snapshots/<id>` of a fenced session.
    Tombstone = 12,
    /// `snapshots/<id>.void`
    Marker = 13,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Config,
        Self::KeySlot,
        Self::DataPack,
        Self::MapPack,
        Self::PrintPack,
        Self::SegmentIndex,
        Self::ChunkIndex,
        Self::PrintIndex,
        Self::Snapshot,
        Self::Session,
        Self::State,
        Self::Tombstone,
        Self::Marker,
    ];

    /// The kind with this number.
    pub fn parse(number: u8) -> Result<Self, FormatError> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == number)
            .ok_or(FormatError::Invalid { what: "kind of object" })
    }
}

/// How an object is sealed (SPEC 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// Not sealed.
    Clear = 0,
    /// Under the catalog secret; both roles open it.
    Catalog = 1,
    /// To the repository's public key; the full role opens it.
    Hpke = 2,
}

/// The first bytes of a sealed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHeader {
    /// What the object is.
    pub kind: Kind,
    /// How it is sealed.
    pub suite: Suite,
    /// Whose secrets seal it.
    pub epoch: u32,
    /// Which repository it belongs to.
    pub repository: RepositoryId,
    /// Salt of the object key, or the HPKE encapsulated key.
    pub salt: [u8; 32],
    /// Commitment of the object key (SPEC 4.2).
    pub commitment: [u8; 32],
}

impl SealedHeader {
    /// The 96 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEALED_HEADER_LEN] {
        let mut w = Writer::with_capacity(SEALED_HEADER_LEN);
        start(&mut w, self.kind, self.suite, self.epoch, self.repository);
        w.bytes(&self.salt).bytes(&self.commitment);
        w.finish().try_into().expect("the fields above are 96 bytes")
    }

    /// Reads the header of an object of any sealed kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("header", bytes);
        let (kind, suite, epoch, repository) = parse_start(&mut r)?;
        let wanted = match kind {
            Kind::DataPack => Suite::Hpke,
            Kind::Config | Kind::KeySlot | Kind::Tombstone | Kind::Marker => Suite::Clear,
            _ => Suite::Catalog,
        };
        if suite != wanted || suite == Suite::Clear {
            return Err(FormatError::Invalid { what: "suite" });
        }
        let (salt, commitment) = (r.array()?, r.array()?);
        Ok(Self { kind, suite, epoch, repository, salt, commitment })
    }

    /// Reads a header that must be of `kind` and of `repository`.
    pub fn parse_as(
        bytes: &[u8],
        kind: Kind,
        repository: RepositoryId,
    ) -> Result<Self, FormatError> {
        let header = Self::parse(bytes)?;
        expect(header.kind == kind, "kind of object")?;
        expect(header.repository == repository, "repository id")?;
        Ok(header)
    }
}

/// Writes a clear header.
pub fn write_clear(w: &mut Writer, kind: Kind, epoch: u32, repository: RepositoryId) {
    start(w, kind, Suite::Clear, epoch, repository);
}

/// Reads a clear header of `kind`; returns epoch and repository.
pub fn read_clear(r: &mut Reader<'_>, kind: Kind) -> Result<(u32, RepositoryId), FormatError> {
    let (found, suite, epoch, repository) = parse_start(r)?;
    expect(found == kind, "kind of object")?;
    expect(suite == Suite::Clear, "suite")?;
    expect(epoch == 0 || kind == Kind::KeySlot, "epoch of a clear header")?;
    Ok((epoch, repository))
}

/// The kind that an object claims in its first bytes; enough to tell a tombstone from a snapshot.
pub fn claimed_kind(object: &[u8]) -> Result<Kind, FormatError> {
    Ok(parse_start(&mut Reader::new("header", object))?.0)
}

fn expect(condition: bool, what: &'static str) -> Result<(), FormatError> {
    match condition {
        true => Ok(()),
        false => Err(FormatError::Invalid { what }),
    }
}

fn start(w: &mut Writer, kind: Kind, suite: Suite, epoch: u32, repository: RepositoryId) {
    w.bytes(&MAGIC).u16(FORMAT_VERSION).u8(kind as u8).u8(suite as u8);
    w.u32(epoch).u32(0).bytes(repository.as_bytes());
}

fn parse_start(r: &mut Reader<'_>) -> Result<(Kind, Suite, u32, RepositoryId), FormatError> {
    expect(r.array()? == MAGIC, "magic")?;
    let version = r.u16()?;
    if version > FORMAT_VERSION {
        return Err(FormatError::TooNew { found: version });
    }
    expect(version == FORMAT_VERSION, "format version")?;
    let kind = Kind::parse(r.u8()?)?;
    let suite = match r.u8()? {
        0 => Suite::Clear,
        1 => Suite::Catalog,
        2 => Suite::Hpke,
        _ => return Err(FormatError::Invalid { what: "suite" }),
    };
    let epoch = r.u32()?;
    r.zeros(4)?;
    Ok((kind, suite, epoch, RepositoryId::from_bytes(r.array()?)))
}

//! Where objects lie (SPEC 3).

use std::fmt;

use crate::id::{IndexHash, PackId, SlotId, SnapshotId};

/// Copies of every root.
pub const ROOTS: [u8; 3] = [1, 2, 3];

/// The name of an index object: who wrote it and the hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName {
    /// The session or prune that wrote it.
    pub owner: SnapshotId,
    /// The hash of its bytes.
    pub hash: IndexHash,
}

impl IndexName {
    /// Reads `<owner>-<hash>`.
    fn parse(text: &str) -> Option<Self> {
        let (owner, hash) = text.split_once('-')?;
        let owner = SnapshotId::parse_hex(owner).ok()?;
        Some(Self { owner, hash: IndexHash::parse_hex(hash).ok()? })
    }
}

impl<C> minicbor::Encode<C> for IndexName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let parts: [&[u8]; 2] = [self.owner.as_bytes(), self.hash.as_bytes()];
        e.bytes(&parts.concat())?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for IndexName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let refuse = || minicbor::decode::Error::message("index name of the wrong length");
        let bytes: &[u8; 36] = d.bytes()?.try_into().map_err(|_| refuse())?;
        let (owner, hash) = bytes.split_first_chunk::<16>().ok_or_else(refuse)?;
        let hash: [u8; 20] = hash.try_into().map_err(|_| refuse())?;
        Ok(Self { owner: SnapshotId::from_bytes(*owner), hash: IndexHash::from_bytes(hash) })
    }
}

/// The directories in which objects are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Directory {
    /// `roots/<copy>/config`
    Config(u8),
    /// `roots/<copy>/keys`
    Keys(u8),
    /// `packs`, with all its prefixes
    Packs,
    /// `index`
    Index,
    /// `prints`
    Prints,
    /// `snapshots`, with tombstones and markers
    Snapshots,
    /// `sessions`
    Sessions,
    /// `state`
    States,
}

impl Directory {
    /// Every directory of a repository, in the order in which `check` goes through them.
    pub const ALL: [Self; 12] = [
        Self::Config(1),
        Self::Config(2),
        Self::Config(3),
        Self::Keys(1),
        Self::Keys(2),
        Self::Keys(3),
        Self::States,
        Self::Snapshots,
        Self::Sessions,
        Self::Index,
        Self::Prints,
        Self::Packs,
    ];

    /// The path below the repository, without a final slash.
    #[must_use]
    pub fn path(self) -> String {
        match self {
            Self::Config(copy) => format!("roots/{copy}/config"),
            Self::Keys(copy) => format!("roots/{copy}/keys"),
            Self::Packs => "packs".to_owned(),
            Self::Index => "index".to_owned(),
            Self::Prints => "prints".to_owned(),
            Self::Snapshots => "snapshots".to_owned(),
            Self::Sessions => "sessions".to_owned(),
            Self::States => "state".to_owned(),
        }
    }
}

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// A copy of a config.
    Config {
        /// 1, 2 or 3.
        copy: u8,
        /// Counts; the highest wins.
        number: u64,
    },
    /// A copy of a key slot.
    KeySlot {
        /// 1, 2 or 3.
        copy: u8,
        /// The slot.
        id: SlotId,
    },
    /// A pack of any kind.
    Pack(PackId),
    /// A segment or chunk index.
    Index(IndexName),
    /// A print index. Never needed to read.
    Prints(IndexName),
    /// A snapshot, or a tombstone in its place.
    Snapshot(SnapshotId),
    /// Says that a snapshot is forgotten.
    Marker(SnapshotId),
    /// A session.
    Session(SnapshotId),
    /// A state.
    State(u64),
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { copy, number } => write!(f, "roots/{copy}/config/{number}"),
            Self::KeySlot { copy, id } => write!(f, "roots/{copy}/keys/{id}"),
            Self::Pack(id) => write!(f, "packs/{}/{id}", &id.to_string()[..2]),
            Self::Index(name) => write!(f, "index/{}-{}", name.owner, name.hash),
            Self::Prints(name) => write!(f, "prints/{}-{}", name.owner, name.hash),
            Self::Snapshot(id) => write!(f, "snapshots/{id}"),
            Self::Marker(id) => write!(f, "snapshots/{id}.void"),
            Self::Session(id) => write!(f, "sessions/{id}"),
            Self::State(number) => write!(f, "state/{number}"),
        }
    }
}

impl ObjectName {
    /// Reads a path below the repository. `None`: it is no object's, and is ignored.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let name = match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("roots", copy, Some("config"), Some(number)) => {
                Self::Config { copy: root(copy)?, number: count(number)? }
            }
            ("roots", copy, Some("keys"), Some(id)) => {
                Self::KeySlot { copy: root(copy)?, id: SlotId::parse_hex(id).ok()? }
            }
            ("packs", _, Some(id), None) => Self::Pack(PackId::parse_hex(id).ok()?),
            ("index", name, None, None) => Self::Index(IndexName::parse(name)?),
            ("prints", name, None, None) => Self::Prints(IndexName::parse(name)?),
            ("snapshots", name, None, None) => match name.strip_suffix(".void") {
                Some(id) => Self::Marker(SnapshotId::parse_hex(id).ok()?),
                None => Self::Snapshot(SnapshotId::parse_hex(name).ok()?),
            },
            ("sessions", id, None, None) => Self::Session(SnapshotId::parse_hex(id).ok()?),
            ("state", number, None, None) => Self::State(count(number)?),
            _ => return None,
        };
        // One object has one name: what does not print as it was read is another file.
        (name.to_string() == path).then_some(name)
    }
}

fn root(text: &str) -> Option<u8> {
    ROOTS.into_iter().find(|copy| copy.to_string() == text)
}

fn count(text: &str) -> Option<u64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_names_are_read_back_and_are_at_most_80_characters() {
        let id = SnapshotId::from_bytes([0xab; 16]);
        let names = [
            ObjectName::Config { copy: 2, number: 0 },
            ObjectName::KeySlot { copy: 3, id: SlotId::from_bytes([1; 16]) },
            ObjectName::Pack(PackId::from_bytes([0xcd; 32])),
            ObjectName::Index(IndexName { owner: id, hash: IndexHash::from_bytes([9; 20]) }),
            ObjectName::Prints(IndexName { owner: id, hash: IndexHash::from_bytes([9; 20]) }),
            ObjectName::Snapshot(id),
            ObjectName::Marker(id),
            ObjectName::Session(id),
            ObjectName::State(u64::MAX),
        ];
        for name in names {
            let path = name.to_string();
            assert!(path.len() <= 80, "{path}");
            assert_eq!(ObjectName::parse(&path), Some(name), "{path}");
        }
    }

    #[test]
    fn s3_other_files_are_no_objects() {
        let pack = format!("packs/00/{}", "cd".repeat(32));
        for path in
            ["", "tmp/x", "state/007", "state/-1", "roots/4/config/0", "snapshots/xyz", &pack]
        {
            assert_eq!(ObjectName::parse(path), None, "{path}");
        }
    }
}

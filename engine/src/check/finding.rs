//! What a check can find.

use repo_format::FormatError;
use repo_format::id::{PackId, SnapshotId};
use repo_format::object_name::ObjectName;

/// One thing that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// An object is not what was stored.
    #[error("{name} is damaged: {source}")]
    Damaged {
        /// The object.
        name: ObjectName,
        /// What is wrong.
        source: FormatError,
    },
    /// An object is listed and cannot be read.
    #[error("{name} cannot be read: {reason}")]
    Unreadable {
        /// The object.
        name: ObjectName,
        /// What storage said.
        reason: String,
    },
    /// A root has fewer than three copies, or copies that differ; the others serve.
    #[error("{name} is missing or differs from the other copies")]
    RootCopy {
        /// The copy.
        name: ObjectName,
    },
    /// A pack that the index names is not there.
    #[error("pack {pack} is missing")]
    PackMissing {
        /// The pack.
        pack: PackId,
    },
    /// A pack has another length than the index says.
    #[error("pack {pack} has {found} bytes instead of {expected}")]
    PackLength {
        /// The pack.
        pack: PackId,
        /// Bytes on storage.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// The contents of a pack are not what the index says.
    #[error("pack {pack} holds something else than the index says")]
    PackContents {
        /// The pack.
        pack: PackId,
    },
    /// A chunk, map, node or disk in a pack is not what its id says.
    #[error("{what} {id} in pack {pack} does not match its id")]
    Entry {
        /// Chunk, segment, node or disk.
        what: &'static str,
        /// Its id.
        id: String,
        /// The pack.
        pack: PackId,
    },
    /// A snapshot needs something that cannot be had: it cannot be restored.
    #[error("snapshot {snapshot}, disk {disk}: {reason}")]
    Unrestorable {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The disk or stream.
        disk: String,
        /// What is missing.
        reason: String,
    },
    /// An index object cannot be used, so snapshots could not be followed.
    #[error("the index cannot be loaded; snapshots were not followed")]
    IndexUnusable,
    /// Nothing names this pack: an interrupted backup left it.
    #[error("pack {pack} is not in use: an interrupted backup left it")]
    PackUnused {
        /// The pack.
        pack: PackId,
    },
    /// A print pack that a print index names is not there as it says; no snapshot needs it.
    #[error(
        "print pack {pack} is missing or cut: nothing is lost, the next backups may store more"
    )]
    PrintsMissing {
        /// The pack.
        pack: PackId,
    },
    /// A session stands in the repository.
    #[error("session {id} is running, or was interrupted")]
    Session {
        /// The session.
        id: SnapshotId,
    },
    /// The password cannot open data packs, so only their hashes were checked.
    #[error("this password opens the backup role: data packs were compared with their names only")]
    NotOpened,
}

impl Finding {
    /// Whether something stored is damaged or lost. The others are worth knowing and no reason to act.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::PackUnused { .. }
            | Self::PrintsMissing { .. }
            | Self::Session { .. }
            | Self::NotOpened => false,
            Self::Damaged { .. }
            | Self::Unreadable { .. }
            | Self::RootCopy { .. }
            | Self::PackMissing { .. }
            | Self::PackLength { .. }
            | Self::PackContents { .. }
            | Self::Entry { .. }
            | Self::Unrestorable { .. }
            | Self::IndexUnusable => true,
        }
    }

    /// A short name for JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::Unreadable { .. } => "unreadable",
            Self::RootCopy { .. } => "root_copy",
            Self::PackMissing { .. } => "pack_missing",
            Self::PackLength { .. } => "pack_length",
            Self::PackContents { .. } => "pack_contents",
            Self::Entry { .. } => "entry",
            Self::Unrestorable { .. } => "unrestorable",
            Self::IndexUnusable => "index_unusable",
            Self::PackUnused { .. } => "pack_unused",
            Self::PrintsMissing { .. } => "prints_missing",
            Self::Session { .. } => "session",
            Self::NotOpened => "not_opened",
        }
    }
}

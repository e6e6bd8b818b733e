//! How a VM is to be read, and who is told what happens meanwhile.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::source::StoredVersion;

use super::error::XapiError;
use super::export::Compression;
use super::limits::SHUTDOWN_TIMEOUT;

/// How a VM is read.
pub struct SourceOptions {
    /// Uuids of disks that are not wanted.
    pub left_out: Vec<String>,
    /// Compression by the host.
    pub compression: Compression,
    /// What becomes of a VM that runs.
    pub mode: Mode,
    /// Whether the memory of a suspended VM is wanted, too.
    pub memory: bool,
    /// How long a guest may take to shut down.
    pub shutdown_timeout: Duration,
    /// Whether storage is scanned before, so that it is known how full it is.
    pub scan: bool,
    /// Of thin storage, the share that has to be free for a snapshot, in percent.
    pub min_free_percent: u8,
    /// Whether the snapshot is taken even if there seems to be no room for it.
    pub force: bool,
    /// Who takes the backup, in a few words, such as host and process: noted on the snapshot.
    pub by: String,
    /// How disks come.
    pub transfer: Transfer,
    /// Whether only what has changed is read.
    pub changes: Changes,
    /// What the repository has of this VM's disks, the newest first.
    pub versions: Vec<StoredVersion>,
    /// Names the repository in the marks of disk snapshots that tell what has changed.
    pub repository: String,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
}

impl SourceOptions {
    /// Hot, all disks, all of them, by whatever is there.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            left_out: Vec::new(),
            // What a host compresses is only unpacked again here.
            compression: Compression::Off,
            mode: Mode::default(),
            memory: false,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            scan: true,
            min_free_percent: 5,
            force: false,
            by: String::new(),
            transfer: Transfer::default(),
            changes: Changes::default(),
            versions: Vec::new(),
            repository: String::new(),
            observer,
        }
    }
}

/// What becomes of a VM that runs while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It goes on: its disks are as after pulling the plug.
    #[default]
    Hot,
    /// It is suspended for a moment: its memory is read, too.
    Warm,
    /// It is shut down until the snapshot is taken.
    Cold,
}

/// How disks come from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// By NBD if it is there, else all in one XVA.
    #[default]
    Auto,
    /// All in one XVA.
    Xva,
    /// Disk by disk, raw or as VHD.
    Vdi,
    /// Disk by disk, by NBD.
    Nbd,
}

/// Whether only what has changed since the last backup is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Changes {
    /// Whether changed-block tracking is used.
    pub tracking: Tracking,
    /// Of the segments that should not have changed, the share that is read nevertheless: 0 to 1.
    pub sample: f64,
}

/// Whether changed-block tracking is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracking {
    /// Never.
    #[default]
    Off,
    /// Where it is on already.
    Use,
    /// It is switched on where it can be.
    Enable,
    /// A VM with a disk of which the changes cannot be told is not read.
    Require,
}

/// What happens on the pool while a VM is read.
#[derive(Debug)]
pub enum Event {
    /// A disk begins to be read.
    DiskBegins {
        /// Its uuid.
        uuid: String,
        /// How it comes: `xva`, `raw`, `vhd` or `nbd`.
        transfer: &'static str,
        /// Whether only changes are read.
        changes_only: bool,
        /// Why it comes so, and not in the way that would be best; empty if it is.
        reason: String,
    },
    /// There is a snapshot now.
    SnapshotTaken {
        /// Its uuid.
        uuid: String,
    },
    /// It is gone again.
    SnapshotRemoved {
        /// Its uuid.
        uuid: String,
    },
    /// It could not be removed. What was read is whole nevertheless; the snapshot is among the
    /// [leftovers](super::leftovers::find).
    SnapshotStays {
        /// Its uuid.
        uuid: String,
        /// Why.
        error: XapiError,
    },
    /// What tells changes of a disk could not be removed, or not all of it. It is among the
    /// [leftovers](super::leftovers::find), too.
    TraceStays {
        /// Why.
        error: XapiError,
    },
    /// The VM has been shut down for its snapshot.
    PoweredDown,
    /// It is again what it was before.
    PoweredBack,
    /// It is not, and somebody has to look after it now.
    NotBack {
        /// Why: [`XapiError::NotBack`].
        error: XapiError,
    },
    /// The end was asked for while the VM shuts down: it is seen for up to 30 s whether it goes down
    /// all the same, so that it can be started again.
    LeavesShutdown {
        /// The VM's name.
        vm: String,
    },
    /// Storage could not be scanned, so its room is judged by what was known before.
    NotScanned {
        /// The storage repository's name.
        sr: String,
        /// Why.
        error: XapiError,
    },
}

/// Is told what happens on the pool.
pub trait Observer: Send + Sync {
    /// Something has happened.
    fn event(&self, event: Event);

    /// Whether the backup is still wanted; asked before the snapshot is taken. If not, the VM is put
    /// back.
    fn goes_on(&self) -> bool {
        true
    }

    /// The snapshot is about to be taken: what runs in the VM may be told to flush. Says whether
    /// anything was. On an error there is no backup.
    fn before_snapshot(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// The snapshot was taken, or was not. Follows [`Self::before_snapshot`] always, also if that
    /// failed.
    fn after_snapshot(&self) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _event: Event) {}
}

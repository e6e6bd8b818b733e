//! What is wanted of a restore into a pool.

use crate::sink::Macs;

/// What is wanted. Storage, networks and disks are named by name or uuid.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Another name for the VM; `None`: its own.
    pub name: Option<String>,
    /// Where its disks go; `None`: the pool's default.
    pub sr: Option<String>,
    /// Disks that go elsewhere: a disk's name, uuid or place in the VM, and an SR.
    pub disk_srs: Vec<(String, String)>,
    /// Only these disks; `None`: all.
    pub disks: Option<Vec<String>>,
    /// Whether there is to be a VM.
    pub scope: Scope,
    /// Networks that have another name or uuid here: old and new.
    pub networks: Vec<(String, String)>,
    /// What becomes of addresses; `None`: new ones, but the same for a VM that replaces one.
    pub macs: Option<Macs>,
    /// Whether the VM has the uuid that it had.
    pub keep_uuid: bool,
    /// What becomes of the VM that is there.
    pub overwrite: Overwrite,
    /// Whether the VM that is there is shut down first.
    pub shutdown_first: bool,
    /// What becomes of the VM when it is there.
    pub after: After,
    /// Whether objections that may be wrong are passed over.
    pub force: bool,
    /// Whether every disk is read back and compared.
    pub verify: bool,
    /// How disks are sent.
    pub form: WishedForm,
    /// Random bytes, for new addresses, uuids and the mark of this restore.
    pub seed: [u8; 32],
}

impl Wish {
    /// A new VM beside the old one, off, under its own name, on the default SR.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            name: None,
            sr: None,
            disk_srs: Vec::new(),
            disks: None,
            scope: Scope::Vm,
            networks: Vec::new(),
            macs: None,
            keep_uuid: false,
            overwrite: Overwrite::No,
            shutdown_first: false,
            after: After::Off,
            force: false,
            verify: false,
            form: WishedForm::Auto,
            seed,
        }
    }
}

/// Whether there is to be a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A VM with its disks.
    Vm,
    /// Disks that belong to no VM.
    DisksOnly,
}

/// What becomes of the VM that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Nothing: the new one stands beside it.
    No,
    /// It is replaced, and kept under the name `NAME.replaced-DATE`.
    Keep,
    /// It is replaced, and destroyed with its disks.
    Destroy,
}

/// What becomes of the VM when it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It stays off.
    Off,
    /// It is started.
    Start,
    /// It is started, and its processors stay stopped.
    StartPaused,
    /// It is suspended if it was, and its memory is there; else it is off.
    AsBefore,
}

/// How disks are to be sent. Raw, they come without holes where new disks are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WishedForm {
    /// With the VM where one SR takes them all, else one by one, raw.
    Auto,
    /// One by one, raw.
    Raw,
    /// One by one, as VHD.
    Vhd,
}

//! What a stored VM needs of a pool.

use engine::source::{Content, ContentError};

use crate::xva::ova::OvaXml;

/// A stored VM, or stored disks without one.
#[derive(Debug, Clone)]
pub struct StoredVm {
    /// Its record, if the snapshot has one.
    pub record: Option<OvaXml>,
    /// The uuid that it had, which is not that of its record if that is of a snapshot of it.
    pub uuid: Option<String>,
    /// Its name, or the first disk's.
    pub name: String,
    /// Most memory, in bytes.
    pub memory_bytes: u64,
    /// The seed of its network addresses.
    pub mac_seed: Option<String>,
    /// xapi's version where it was, major and minor.
    pub version: Option<(u64, u64)>,
    /// Its disks and its memory image, in the order of [`Content::disks`].
    pub disks: Vec<VmDisk>,
    /// Its network cards.
    pub cards: Vec<StoredCard>,
}

/// A stored disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VmDisk {
    /// Its place in [`Content::disks`].
    pub place: usize,
    /// What people call it.
    pub name: String,
    /// Its uuid where it was.
    pub uuid: String,
    /// Its virtual size in bytes.
    pub size_bytes: u64,
    /// What is stored of it, in bytes, if that is known: the rest is holes.
    pub data_bytes: Option<u64>,
    /// Its place among the drives, such as `0`; empty if it is in none.
    pub userdevice: String,
    /// Whether the VM boots from it.
    pub is_bootable: bool,
    /// Whether the VM may only read it.
    pub is_read_only: bool,
    /// Whether it is a memory image.
    pub is_memory: bool,
    /// Notes of programs on its drive, such as `owner`.
    pub drive_notes: Vec<(String, String)>,
    /// What people say about it.
    pub description: String,
}

/// A stored network card.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredCard {
    /// Its place, a number.
    pub device: String,
    /// Its address.
    pub mac: String,
    /// The uuid of its network where it was.
    pub network_uuid: String,
    /// The name of its network where it was; empty when unknown.
    pub network_name: String,
    /// Longest packet, in bytes.
    pub mtu: u64,
    /// Such as `network_default`.
    pub locking_mode: String,
    /// Addresses that it may use when locked.
    pub ipv4_allowed: Vec<String>,
    /// The same of IPv6.
    pub ipv6_allowed: Vec<String>,
    /// Notes of programs.
    pub notes: Vec<(String, String)>,
}

impl StoredVm {
    /// Reads what `content` needs. `uuid` is that of the VM, if the snapshot tells it.
    ///
    /// # Errors
    ///
    /// [`ContentError`]: the record cannot be read, or does not fit the disks.
    pub fn of(content: &dyn Content, uuid: Option<&str>) -> Result<Self, ContentError> {
        let _ = (content, uuid);
        Err(ContentError::Invalid { what: "a stored VM cannot be read yet".to_owned() })
    }
}

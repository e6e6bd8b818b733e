//! What a stored VM needs of a pool.

use engine::source::{Content, ContentError, Role, SEGMENT_LEN, StoredDisk};

use crate::sink::{ids_of_disks, record_of};
use crate::xva::ova::{DiskKind, OvaXml, VifFacts};

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
    /// What it is called in the snapshot, such as `xvda`.
    pub stored_name: String,
    /// Its uuid where it was.
    pub uuid: String,
    /// Its virtual size in bytes.
    pub size_bytes: u64,
    /// What is stored of it, in bytes: the rest is holes.
    pub data_bytes: u64,
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
        let record = record_of(content)?;
        let facts = record.as_ref().and_then(OvaXml::vm);
        let disks = match &record {
            Some(record) => disks_of_record(content, record)?,
            None => bare_disks(content)?,
        };
        let of_vm = |vif: &&VifFacts| facts.is_some_and(|vm| vm.id == vif.vm);
        let vifs = record.as_ref().map(OvaXml::vifs).unwrap_or_default();
        let mut cards: Vec<_> = vifs.iter().filter(of_vm).map(StoredCard::of).collect();
        cards.sort_by_key(|card| card.device.parse().unwrap_or(u32::MAX));
        let own_uuid = facts.map(|vm| vm.uuid.clone());
        let first_disk = || disks.first().map(|disk| disk.name.clone());
        Ok(Self {
            uuid: uuid.map(str::to_owned).or(own_uuid),
            name: facts.map(|vm| vm.name_label.clone()).or_else(first_disk).unwrap_or_default(),
            memory_bytes: facts.and_then(|vm| vm.memory_bytes).unwrap_or(0),
            mac_seed: facts.and_then(|vm| vm.mac_seed.clone()),
            version: record.as_ref().and_then(|record| record.version().xapi),
            disks,
            cards,
            record,
        })
    }
}

impl StoredCard {
    fn of(vif: &VifFacts) -> Self {
        Self {
            device: vif.device.clone(),
            mac: vif.mac.clone(),
            network_uuid: vif.network_uuid.clone(),
            network_name: vif.network_name.clone(),
            mtu: vif.mtu.unwrap_or(MTU),
            locking_mode: vif.locking_mode.clone(),
            ipv4_allowed: vif.ipv4_allowed.clone(),
            ipv6_allowed: vif.ipv6_allowed.clone(),
            notes: vif.notes.clone(),
        }
    }
}

/// Longest packet of a card that does not tell, in bytes.
const MTU: u64 = 1500;

/// The disks of the VM itself, and its memory image: snapshots in the archive are passed over.
fn disks_of_record(content: &dyn Content, record: &OvaXml) -> Result<Vec<VmDisk>, ContentError> {
    let vm = record.vm().map_or("", |vm| &*vm.id);
    let memory = record.vm().map_or("", |vm| &*vm.memory_disk);
    let mut disks = Vec::new();
    for (place, id) in ids_of_disks(content, record)? {
        let Some(facts) = record.disks().iter().find(|disk| disk.id == id) else { continue };
        let vbd = facts.vbd.as_ref().filter(|vbd| vbd.vm == vm);
        let is_memory = facts.kind == DiskKind::Suspend;
        if (is_memory && id != memory) || (!is_memory && vbd.is_none()) {
            continue;
        }
        let stored = bare_disk(content, place)?;
        let name = if facts.name_label.is_empty() { stored.name } else { facts.name_label.clone() };
        disks.push(VmDisk {
            name,
            userdevice: vbd.map(|vbd| vbd.userdevice.clone()).unwrap_or_default(),
            is_bootable: vbd.is_some_and(|vbd| vbd.bootable),
            is_read_only: vbd.is_some_and(|vbd| vbd.is_read_only),
            is_memory,
            drive_notes: vbd.map(|vbd| vbd.notes.clone()).unwrap_or_default(),
            description: facts.name_description.clone(),
            ..stored
        });
    }
    disks.sort_by_key(|disk| disk.place);
    Ok(disks)
}

/// Disks that came without a VM.
fn bare_disks(content: &dyn Content) -> Result<Vec<VmDisk>, ContentError> {
    let is_disk = |(_, disk): &(usize, &StoredDisk)| disk.role == Role::Disk;
    let places = content.disks().iter().enumerate().filter(is_disk).map(|(place, _)| place);
    places.map(|place| bare_disk(content, place)).collect()
}

fn bare_disk(content: &dyn Content, place: usize) -> Result<VmDisk, ContentError> {
    let stored = &content.disks()[place];
    let segments = content.segment_numbers(place)?.len() as u64;
    let data_bytes = segments.saturating_mul(SEGMENT_LEN as u64).min(stored.size_bytes);
    Ok(VmDisk {
        place,
        name: stored.name.clone(),
        stored_name: stored.name.clone(),
        uuid: stored.key.clone(),
        size_bytes: stored.size_bytes,
        data_bytes,
        is_memory: stored.role == Role::Memory,
        ..VmDisk::default()
    })
}

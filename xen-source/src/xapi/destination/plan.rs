//! What a restore will do: decided before anything is done.

use super::{Inventory, Objection, StoredCard, StoredVm, VmDisk, Wish};
use crate::xapi::destination::run::Step;

/// How a VM comes into the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In one stream.
    Xva,
    /// Record first, then disk by disk.
    Disks,
}

/// What a restore will do. Made by [`plan()`] only.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name that the VM will have.
    pub name: String,
    /// How it comes.
    pub way: Way,
    /// Whether there will be a VM.
    pub has_vm: bool,
    /// The disks that come, and where they go.
    pub disks: Vec<TargetDisk>,
    /// The network cards that it will have.
    pub cards: Vec<Card>,
    /// The uuid that it keeps, if it does.
    pub uuid: Option<String>,
    /// The VM that it replaces.
    pub replaced: Option<Replaced>,
    /// What becomes of it when it is there.
    pub after: super::After,
    /// Whether its memory comes along.
    pub has_memory: bool,
    /// The version of xapi that its record claims, if not its own.
    pub claimed_version: Option<(u64, u64)>,
    /// Whether every disk is read back.
    pub verify: bool,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// The VM's memory, in bytes.
    pub memory_bytes: u64,
    pub(super) seed: [u8; 32],
}

/// An SR that disks go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSr {
    /// Names it until xapi restarts.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
}

/// How a disk is sent that is sent alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskForm {
    /// Raw, only what is no hole.
    Sparse,
    /// Raw, every byte.
    Raw,
    /// As VHD.
    Vhd,
}

/// A disk, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetDisk {
    /// The stored disk.
    pub disk: VmDisk,
    /// Where it goes.
    pub sr: TargetSr,
    /// How it is sent if it is sent alone.
    pub form: DiskForm,
}

/// A network card to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// As it was.
    pub stored: StoredCard,
    /// Its network's reference.
    pub network: String,
    /// Its network's uuid.
    pub network_uuid: String,
    /// Its network's name.
    pub network_name: String,
    /// The address that it will have.
    pub mac: String,
}

/// A VM that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Names it until xapi restarts.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The name that it gets.
    pub new_name: String,
    /// Whether it is shut down first.
    pub is_shut_down: bool,
    /// Whether it is destroyed, with its disks, in the end.
    pub is_destroyed: bool,
}

/// Decides how `vm` comes into the pool.
///
/// # Errors
///
/// All that speaks against it.
pub fn plan(pool: &Inventory, vm: &StoredVm, wish: &Wish) -> Result<Plan, Vec<Objection>> {
    let _ = (pool, vm, wish);
    Err(vec![Objection::NothingChosen])
}

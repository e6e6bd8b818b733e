//! VMs of a pool, as they are told.

use serde::Serialize;
use xen_source::xapi::{Disk, PowerState, Vm};

use crate::size;
use crate::text::{Align, Table};

/// A VM. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct VmEntry {
    name: String,
    uuid: String,
    power_state: &'static str,
    tags: Vec<String>,
    size: u64,
    disks: Vec<VmDiskEntry>,
}

/// A disk of a VM.
#[derive(Debug, Serialize)]
struct VmDiskEntry {
    place: String,
    uuid: String,
    name: String,
    size: u64,
    sr: Option<String>,
}

impl VmEntry {
    /// A VM as its pool has it.
    pub fn of(vm: &Vm) -> Self {
        Self {
            name: vm.record.name.clone(),
            uuid: vm.record.uuid.clone(),
            power_state: power_name(vm.record.power_state),
            tags: vm.record.tags.clone(),
            size: size_of(vm),
            disks: vm.disks.iter().map(VmDiskEntry::of).collect(),
        }
    }
}

impl VmDiskEntry {
    fn of(disk: &Disk) -> Self {
        Self {
            place: disk.userdevice.clone(),
            uuid: disk.record.uuid.clone(),
            name: disk.record.name.clone(),
            size: disk.record.size_bytes,
            sr: disk.sr.as_ref().map(|sr| sr.name.clone()),
        }
    }
}

/// A line for each VM, and one for all.
pub fn vm_table(vms: &[Vm]) -> String {
    let mut table = Table::new(&[
        ("VM", Align::Left),
        ("UUID", Align::Left),
        ("State", Align::Left),
        ("Disks", Align::Right),
        ("Size", Align::Right),
        ("Tags", Align::Left),
    ]);
    for vm in vms {
        table.row([
            vm.record.name.clone(),
            vm.record.uuid.clone(),
            power_name(vm.record.power_state).to_owned(),
            vm.disks.len().to_string(),
            size::bytes(size_of(vm)),
            vm.record.tags.join(","),
        ]);
    }
    let total = vms.iter().map(size_of).fold(0, u64::saturating_add);
    let count = size::plural(vms.len() as u64, "VM");
    table.lines("") + &format!("{count}, {}\n", size::bytes(total))
}

/// What a power state is called.
pub const fn power_name(state: PowerState) -> &'static str {
    match state {
        PowerState::Halted => "halted",
        PowerState::Paused => "paused",
        PowerState::Running => "running",
        PowerState::Suspended => "suspended",
        PowerState::Other => "other",
    }
}

fn size_of(vm: &Vm) -> u64 {
    vm.disks.iter().map(|disk| disk.record.size_bytes).fold(0, u64::saturating_add)
}

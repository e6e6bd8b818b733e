//! VMs of a pool, as they are told.

use serde::Serialize;
use xen_source::xapi::{Disk, PowerState, Vm};

use crate::left_out::{DiskRules, Reason, device};
use crate::size;
use crate::text::{Align, Table};

/// A VM. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct VmEntry {
    name: String,
    uuid: String,
    power_state: &'static str,
    is_a_template: bool,
    tags: Vec<String>,
    size: u64,
    disks: Vec<VmDiskEntry>,
}

/// A disk of a VM.
#[derive(Debug, Serialize)]
struct VmDiskEntry {
    place: String,
    device: String,
    uuid: String,
    name: String,
    size: u64,
    used: u64,
    sr: Option<String>,
    cbt: bool,
    /// `nobak` or `excluded`, if the disk is left out.
    left_out: Option<&'static str>,
}

impl VmEntry {
    /// A VM as its pool has it, with the disks that are left out unless somebody says otherwise.
    pub fn of(vm: &Vm) -> Self {
        let rules = DiskRules::default();
        let left_out: Vec<_> = vm.disks.iter().map(|disk| rules.reason(disk)).collect();
        Self::with_left_out(vm, &left_out)
    }

    /// The same, with the reason why each disk is left out, if it is.
    pub fn with_left_out(vm: &Vm, left_out: &[Option<Reason>]) -> Self {
        let disks = vm.disks.iter().zip(left_out);
        Self {
            name: vm.record.name.clone(),
            uuid: vm.record.uuid.clone(),
            power_state: power_name(vm.record.power_state),
            is_a_template: vm.record.is_a_template,
            tags: vm.record.tags.clone(),
            size: size_of(vm),
            disks: disks.map(|(disk, reason)| VmDiskEntry::of(disk, reason.as_ref())).collect(),
        }
    }
}

impl VmDiskEntry {
    fn of(disk: &Disk, left_out: Option<&Reason>) -> Self {
        Self {
            place: disk.userdevice.clone(),
            device: device(disk),
            uuid: disk.record.uuid.clone(),
            name: disk.record.name.clone(),
            size: disk.record.size_bytes,
            used: disk.record.used_bytes,
            sr: disk.sr.as_ref().map(|sr| sr.name.clone()),
            cbt: disk.record.has_cbt,
            left_out: left_out.map(Reason::code),
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
        ("CBT", Align::Left),
        ("Tags", Align::Left),
    ]);
    let rules = DiskRules::default();
    for vm in vms {
        let left_out = vm.disks.iter().filter(|disk| rules.reason(disk).is_some()).count();
        let disks = vm.disks.len();
        table.row([
            vm.record.name.clone(),
            vm.record.uuid.clone(),
            power_name(vm.record.power_state).to_owned(),
            match left_out {
                0 => disks.to_string(),
                count => format!("{disks} ({count} NOBAK)"),
            },
            size::bytes(size_of(vm)),
            cbt_text(vm).to_owned(),
            vm.record.tags.join(","),
        ]);
    }
    let total = vms.iter().map(size_of).fold(0, u64::saturating_add);
    let count = size::plural(vms.len() as u64, "VM");
    table.lines("") + &format!("{count}, {}\n", size::bytes(total))
}

/// Whether changed blocks of its disks are tracked.
fn cbt_text(vm: &Vm) -> &'static str {
    let tracked = vm.disks.iter().filter(|disk| disk.record.has_cbt).count();
    match (tracked, vm.disks.len()) {
        (0, _) => "off",
        (tracked, all) if tracked == all => "on",
        _ => "partly",
    }
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

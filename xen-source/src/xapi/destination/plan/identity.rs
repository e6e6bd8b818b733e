//! Who the VM is to be, and whom it replaces.

use super::super::{Inventory, Objection, Overwrite, Scope, StoredVm, Wish};
use super::Replaced;
use super::cards::macs;
use crate::sink::Macs;
use crate::xapi::objects::{PowerState, VmRecord};
use crate::xva::checksum::ChecksumKind;

/// The VM that is to be replaced: that of the same uuid, else the only one of the same name.
pub fn replaced(
    pool: &Inventory,
    vm: &StoredVm,
    wish: &Wish,
    against: &mut Vec<Objection>,
) -> Option<Replaced> {
    if wish.overwrite == Overwrite::No || wish.scope == Scope::DisksOnly {
        return None;
    }
    if wish.name.is_some() {
        against.push(Objection::NameAndOverwrite);
    }
    let was_replaced = format!("{}{REPLACED}", vm.name);
    let is_same = |one: &&VmRecord| Some(&one.uuid) == vm.uuid.as_ref();
    let by_uuid = vms(pool).find(|one| is_same(one) && !one.name.starts_with(&was_replaced));
    let by_name: Vec<_> = vms(pool).filter(|one| one.name == vm.name).collect();
    let old = match (by_uuid, &*by_name) {
        (Some(old), _) => old,
        (None, [old]) => *old,
        (None, []) => {
            against.push(Objection::NothingToReplace { name: vm.name.clone() });
            return None;
        }
        (None, several) => {
            let (class, name, count) = ("VM", vm.name.clone(), several.len());
            against.push(Objection::Ambiguous { class, name, count });
            return None;
        }
    };
    against.extend(not_off(old, wish));
    if let Some(operation) = old.current_operations.first() {
        let (name, operation) = (old.name.clone(), operation.clone());
        against.push(Objection::Busy { name, operation });
    }
    Some(Replaced {
        reference: old.reference.clone(),
        uuid: old.uuid.clone(),
        name: old.name.clone(),
        new_name: name_of_replaced(pool, &old.name),
        // One that is suspended stays so under its new name, with its memory.
        is_shut_down: [PowerState::Running, PowerState::Paused].contains(&old.power_state),
        is_destroyed: wish.overwrite == Overwrite::Destroy,
    })
}

/// What stands between a replaced VM's name and the date.
const REPLACED: &str = ".replaced-";

fn not_off(old: &VmRecord, wish: &Wish) -> Option<Objection> {
    let state = match old.power_state {
        PowerState::Halted => return None,
        PowerState::Other => "in a state that is not known",
        _ if wish.shutdown_first => return None,
        PowerState::Running => "running",
        PowerState::Paused => "paused",
        PowerState::Suspended => "suspended",
    };
    Some(Objection::NotOff { name: old.name.clone(), state })
}

/// `NAME.replaced-DATE`, or that with a number if it was replaced today before.
fn name_of_replaced(pool: &Inventory, name: &str) -> String {
    let date: String = pool.now.chars().filter(char::is_ascii_digit).take(8).collect();
    let first = format!("{name}{REPLACED}{date}").trim_end_matches('-').to_owned();
    let is_taken = |name: &String| pool.vms.iter().any(|vm| vm.name == *name);
    if !is_taken(&first) {
        return first;
    }
    let mut names = (2..=pool.vms.len() + 2).map(|number| format!("{first}-{number}"));
    names.find(|name| !is_taken(name)).unwrap_or(first)
}

/// What speaks against the name, the uuid and the seed of addresses.
pub fn check(pool: &Inventory, vm: &StoredVm, wish: &Wish, against: &mut Vec<Objection>) {
    if wish.scope == Scope::DisksOnly {
        return;
    }
    if vm.record.is_none() {
        against.push(Objection::NoVm);
        return;
    }
    let name = wish.name.as_ref().unwrap_or(&vm.name);
    if wish.overwrite == Overwrite::No && vms(pool).any(|one| one.name == *name) {
        against.push(Objection::TakenName { name: name.clone() });
    }
    check_uuid(pool, vm, wish, against);
    check_seed(pool, vm, wish, against);
}

fn check_uuid(pool: &Inventory, vm: &StoredVm, wish: &Wish, against: &mut Vec<Objection>) {
    let Some(uuid) = vm.uuid.as_ref().filter(|_| wish.keep_uuid) else { return };
    if let Some(one) = pool.vms.iter().find(|one| one.uuid == *uuid) {
        against.push(Objection::TakenUuid { uuid: uuid.clone(), vm: one.name.clone() });
    }
}

/// Two VMs of one seed make the same addresses. What is replaced has it, too.
fn check_seed(pool: &Inventory, vm: &StoredVm, wish: &Wish, against: &mut Vec<Objection>) {
    let is_kept = macs(wish) == Macs::Keep && wish.overwrite == Overwrite::No;
    let Some(seed) = vm.mac_seed.as_ref().filter(|_| is_kept) else { return };
    let has_seed = |one: &&VmRecord| one.other_config.get("mac_seed") == Some(seed);
    let mut others = pool.vms.iter().filter(|one| !one.is_a_snapshot);
    if let Some(one) = others.find(has_seed) {
        let (seed, vm) = (seed.clone(), one.name.clone());
        against.push(Objection::TakenMacSeed { vm, seed });
    }
}

/// The version that the record claims here: its own, unless that is refused (contract 0.9).
pub fn claimed_version(
    pool: &Inventory,
    vm: &StoredVm,
    wish: &Wish,
    against: &mut Vec<Objection>,
) -> Option<(u64, u64)> {
    let (stored, here) = (vm.version?, pool.xapi_version()?);
    if wish.scope == Scope::DisksOnly || stored <= here {
        return None;
    }
    let text = |(major, minor): (u64, u64)| format!("{major}.{minor}");
    against.push(Objection::NewerVersion { stored: text(stored), pool: text(here) });
    Some(here)
}

/// The xapi that brought XXH64 (contract 3.7).
const XXH64_SINCE: (u64, u64) = (1, 170);

/// The checksums that the pool knows.
pub fn checksum(pool: &Inventory) -> ChecksumKind {
    match pool.xapi_version() {
        Some(version) if version < XXH64_SINCE => ChecksumKind::Sha1,
        _ => ChecksumKind::Xxh64,
    }
}

/// VMs as people see them.
fn vms(pool: &Inventory) -> impl Iterator<Item = &VmRecord> {
    pool.vms.iter().filter(|vm| !vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain)
}

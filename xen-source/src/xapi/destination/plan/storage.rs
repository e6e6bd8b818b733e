//! Which disks come, and where they go.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{After, Inventory, Objection, Scope, StoredVm, VmDisk, Wish, WishedForm};
use super::{DiskForm, TargetDisk, TargetSr};
use crate::vhd;
use crate::xapi::objects::SrRecord;
use crate::xapi::storage::THICK;
use crate::xva::ova::fresh::device_name;

/// Storage whose disks are VHDs, unless it says otherwise.
const OF_VHDS: [&str; 9] =
    ["ext", "nfs", "smb", "cifs", "file", "lvm", "lvmoiscsi", "lvmohba", "lvmofcoe"];
/// The xapi from which on disks may be larger than VHDs (contract 10).
const LARGE_SINCE: (u64, u64) = (25, 27);

/// The SR of the record, and the disks with theirs.
pub fn targets(
    pool: &Inventory,
    vm: &StoredVm,
    wish: &Wish,
    against: &mut Vec<Objection>,
) -> (TargetSr, Vec<TargetDisk>) {
    let chosen = chosen(vm, wish, against);
    let is_named = |disk: &VmDisk, name: &str| names(disk).iter().any(|known| known == name);
    for (name, _) in &wish.disk_srs {
        if !vm.disks.iter().any(|disk| is_named(disk, name)) {
            against.push(no_disk(vm, name));
        }
    }
    let of_disk = |disk: &VmDisk| {
        let mapped = wish.disk_srs.iter().find(|(name, _)| is_named(disk, name));
        mapped.map(|(_, sr)| sr.as_str()).or(wish.sr.as_deref())
    };
    let mut named: BTreeSet<Option<&str>> = chosen.iter().map(|disk| of_disk(disk)).collect();
    if named.is_empty() && wish.scope == Scope::Vm {
        named.insert(wish.sr.as_deref());
    }
    let mut found: BTreeMap<Option<&str>, &SrRecord> = BTreeMap::new();
    for name in named {
        match usable(pool, name) {
            Ok(sr) => drop(found.insert(name, sr)),
            Err(objection) => against.push(objection),
        }
    }
    let mut targets = Vec::new();
    for disk in chosen {
        let Some(sr) = found.get(&of_disk(disk)) else { continue };
        let form = form(pool, disk, sr, wish, against);
        targets.push((*sr, TargetDisk { disk: disk.clone(), sr: target(sr), form }));
    }
    check_room(&targets, against);
    if wish.scope == Scope::Vm {
        check_hosts(pool, &targets, against);
    }
    let record_sr = targets.first().map(|(sr, _)| *sr).or(found.into_values().next());
    let disks = targets.into_iter().map(|(_, disk)| disk).collect();
    (record_sr.map(target).unwrap_or_default(), disks)
}

/// The disks that come: all, or those that are named; memory only if it is of use.
fn chosen<'a>(vm: &'a StoredVm, wish: &Wish, against: &mut Vec<Objection>) -> Vec<&'a VmDisk> {
    let wants_memory =
        wish.after == After::AsBefore && wish.scope == Scope::Vm && wish.disks.is_none();
    let disks = vm.disks.iter().filter(|disk| wants_memory || !disk.is_memory);
    let Some(wanted) = &wish.disks else {
        return disks.collect();
    };
    for name in wanted {
        if !vm.disks.iter().any(|disk| !disk.is_memory && names(disk).contains(name)) {
            against.push(no_disk(vm, name));
        }
    }
    disks.filter(|disk| names(disk).iter().any(|name| wanted.contains(name))).collect()
}

/// What a disk may be called.
fn names(disk: &VmDisk) -> Vec<String> {
    let device = disk.userdevice.parse().ok().filter(|place| *place < 256).map(device_name);
    let known = [&disk.stored_name, &disk.name, &disk.uuid, &disk.userdevice];
    let known = known.into_iter().filter(|name| !name.is_empty()).cloned();
    known.chain(device).collect()
}

fn no_disk(vm: &StoredVm, disk: &str) -> Objection {
    let disks = vm.disks.iter().filter(|disk| !disk.is_memory);
    let candidates = disks.map(|disk| disk.stored_name.clone()).collect();
    Objection::NoDisk { disk: disk.to_owned(), candidates }
}

/// The SR of this name or uuid, or the default, if disks can go there.
fn usable<'a>(pool: &'a Inventory, name: Option<&str>) -> Result<&'a SrRecord, Objection> {
    let sr = match name {
        None => {
            let default = pool.pool.default_sr.as_ref();
            let mut srs = pool.srs.iter();
            let sr = srs.find(|sr| Some(&sr.reference) == default);
            sr.ok_or_else(|| Objection::NoDefaultSr { candidates: candidates(pool) })?
        }
        Some(name) => {
            let by_uuid = pool.srs.iter().find(|sr| sr.uuid == name);
            let by_name: Vec<_> = pool.srs.iter().filter(|sr| sr.name == name).collect();
            match (by_uuid, &*by_name) {
                (Some(sr), _) => sr,
                (None, [sr]) => *sr,
                (None, []) => {
                    let (sr, candidates) = (name.to_owned(), candidates(pool));
                    return Err(Objection::NoSr { sr, candidates });
                }
                (None, several) => {
                    let (class, name, count) = ("SR", name.to_owned(), several.len());
                    return Err(Objection::Ambiguous { class, name, count });
                }
            }
        }
    };
    match sr {
        sr if is_for_cds(sr) => Err(Objection::IsoSr { sr: sr.name.clone() }),
        sr if hosts_of(pool, sr).is_empty() => Err(Objection::NotAttached { sr: sr.name.clone() }),
        sr => Ok(sr),
    }
}

fn is_for_cds(sr: &SrRecord) -> bool {
    sr.content_type == "iso" || ["iso", "udev"].contains(&&*sr.kind)
}

/// SRs that would do, and what is free there.
fn candidates(pool: &Inventory) -> Vec<(String, u64)> {
    let would_do = |sr: &&SrRecord| !is_for_cds(sr) && !hosts_of(pool, sr).is_empty();
    pool.srs.iter().filter(would_do).map(|sr| (sr.name.clone(), free_bytes(sr))).collect()
}

/// References of hosts that have attached it.
fn hosts_of<'a>(pool: &'a Inventory, sr: &SrRecord) -> BTreeSet<&'a str> {
    let joins = |pbd: &&_| is_joined(pbd, sr);
    pool.pbds.iter().filter(joins).map(|pbd| pbd.host.as_deref().unwrap_or_default()).collect()
}

fn is_joined(pbd: &crate::xapi::objects::PbdRecord, sr: &SrRecord) -> bool {
    pbd.is_attached && (pbd.sr.as_ref() == Some(&sr.reference) || sr.pbds.contains(&pbd.reference))
}

fn free_bytes(sr: &SrRecord) -> u64 {
    sr.size_bytes.saturating_sub(sr.used_bytes)
}

fn target(sr: &SrRecord) -> TargetSr {
    TargetSr { reference: sr.reference.clone(), uuid: sr.uuid.clone(), name: sr.name.clone() }
}

/// How a disk is sent alone. Holes may be left out only where new disks are zero, and only such
/// disks can be filled from a VHD (contract 4.4).
fn form(
    pool: &Inventory,
    disk: &VmDisk,
    sr: &SrRecord,
    wish: &Wish,
    against: &mut Vec<Objection>,
) -> DiskForm {
    let is_raw = sr.uses_vhd == Some(false);
    let knows_larger = pool.xapi_version().is_some_and(|version| version >= LARGE_SINCE);
    let is_bound = OF_VHDS.contains(&&*sr.kind) && !knows_larger && !is_raw;
    let (name, size_bytes) = (disk.name.clone(), disk.size_bytes);
    let is_vhd = wish.form == WishedForm::Vhd;
    if size_bytes > vhd::DISK_LEN_MAX && is_vhd {
        against.push(Objection::TooLargeAsVhd { disk: name, size_bytes });
    } else if size_bytes > vhd::DISK_LEN_MAX && is_bound {
        against.push(Objection::TooLargeForVhd { disk: name, sr: sr.name.clone(), size_bytes });
    } else if is_vhd && is_raw {
        against.push(Objection::TakesNoVhd { disk: name, sr: sr.name.clone() });
    }
    match wish.form {
        WishedForm::Vhd => DiskForm::Vhd,
        WishedForm::Auto | WishedForm::Raw if is_raw => DiskForm::Raw,
        WishedForm::Auto | WishedForm::Raw => DiskForm::Sparse,
    }
}

/// Thick storage takes whole disks, other storage what is stored of them.
fn check_room(targets: &[(&SrRecord, TargetDisk)], against: &mut Vec<Objection>) {
    let mut needed: BTreeMap<&str, (&SrRecord, u64)> = BTreeMap::new();
    for (sr, TargetDisk { disk, form, .. }) in targets {
        let is_whole = THICK.contains(&&*sr.kind) || *form == DiskForm::Raw;
        let bytes = if is_whole { disk.size_bytes } else { disk.data_bytes };
        let entry = needed.entry(&sr.uuid).or_insert((sr, 0));
        entry.1 = entry.1.saturating_add(bytes);
    }
    for (sr, needs_bytes) in needed.into_values() {
        let has_bytes = free_bytes(sr);
        // Some kinds of storage do not tell their size.
        if sr.size_bytes > 0 && has_bytes < needs_bytes {
            against.push(Objection::NoRoom { sr: sr.name.clone(), needs_bytes, has_bytes });
        }
    }
}

/// A VM starts only where all its disks are seen.
fn check_hosts(
    pool: &Inventory,
    targets: &[(&SrRecord, TargetDisk)],
    against: &mut Vec<Objection>,
) {
    let sets = targets.iter().map(|(sr, _)| hosts_of(pool, sr));
    let common = sets.reduce(|all, one| all.intersection(&one).copied().collect());
    if common.is_some_and(|common| common.is_empty()) {
        let names: BTreeSet<&String> = targets.iter().map(|(sr, _)| &sr.name).collect();
        against.push(Objection::NoCommonHost { srs: names.into_iter().cloned().collect() });
    }
}

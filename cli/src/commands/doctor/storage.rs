//! Storage: room, what is not at hand, chains of snapshots, and what backups left behind.

use std::collections::BTreeMap;

use xen_source::xapi::probe::Inventory;
use xen_source::xapi::{Leftover, Pool, SrRecord, Vm};

use super::as_failure;
use super::finding::{Finding, StorageFact};

/// What one storage repository holds of VMs.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    disks: usize,
    largest_bytes: u64,
}

/// Room and attachments of every storage repository, and whether there is a default one.
pub fn check(inventory: &Inventory, vms: &[Vm], default_sr: Option<&str>) -> Vec<Finding> {
    let loads = loads(vms);
    let mut findings = Vec::new();
    for sr in inventory.srs.iter().filter(|sr| sr.content_type != "iso") {
        let load = loads.get(&*sr.reference).copied().unwrap_or_default();
        let facts = [space(sr, load), detached(inventory, sr, load)].into_iter().flatten();
        findings.extend(facts.map(|fact| Finding::Storage { sr: sr.name.clone(), fact }));
    }
    let default = inventory.srs.iter().find(|sr| Some(&*sr.reference) == default_sr);
    findings.push(Finding::DefaultStorage(default.map(|sr| sr.name.clone())));
    findings
}

fn loads(vms: &[Vm]) -> BTreeMap<&str, Load> {
    let mut loads: BTreeMap<&str, Load> = BTreeMap::new();
    for disk in vms.iter().flat_map(|vm| &vm.disks) {
        if let Some(sr) = &disk.sr {
            let load = loads.entry(&sr.reference).or_default();
            load.disks += 1;
            load.largest_bytes = load.largest_bytes.max(disk.record.size_bytes);
        }
    }
    loads
}

/// Where no disk of a VM lies, room does not matter. On LVM a snapshot takes as much as its disk.
fn space(sr: &SrRecord, load: Load) -> Option<StorageFact> {
    let is_thick = sr.kind.starts_with("lvm");
    let size = sr.size_bytes;
    (load.disks > 0 && size > 0).then(|| StorageFact::Space {
        free: size.saturating_sub(sr.used_bytes),
        size,
        needed: if is_thick { load.largest_bytes } else { 0 },
    })
}

fn detached(inventory: &Inventory, sr: &SrRecord, load: Load) -> Option<StorageFact> {
    let of_sr = || inventory.attachments.iter().filter(|it| it.sr == sr.reference);
    let name = |host: &String| {
        let known = inventory.hosts.iter().find(|it| it.reference == *host);
        known.map_or_else(|| "a host that is gone".to_owned(), |host| host.name.clone())
    };
    let hosts: Vec<String> =
        of_sr().filter(|it| !it.is_attached).map(|it| name(&it.host)).collect();
    let everywhere = !of_sr().any(|it| it.is_attached);
    let is_whole = hosts.is_empty() && !everywhere;
    (!is_whole).then_some(StorageFact::Detached { hosts, everywhere, disks: load.disks })
}

/// The disk of a VM that has most snapshots, whoever took them.
pub fn chains(inventory: &Inventory, vms: &[Vm]) -> Finding {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let snapshots = inventory.disks.iter().filter(|disk| disk.is_a_snapshot);
    for original in snapshots.filter_map(|disk| disk.snapshot_of.as_deref()) {
        *counts.entry(original).or_default() += 1;
    }
    let disks = vms.iter().flat_map(|vm| vm.disks.iter().map(move |disk| (vm, disk)));
    let count = |reference: &str| counts.get(reference).copied().unwrap_or(0);
    let counted = disks.map(|(vm, disk)| {
        (count(&disk.record.reference), format!("{} of {}", disk.record.name, vm.record.name))
    });
    let (snapshots, disk) = counted.max().unwrap_or_default();
    Finding::Chain { disk, snapshots }
}

/// Snapshots of ours that are there now.
pub fn leftovers(pool: &Pool) -> Finding {
    let is_busy = |leftover: &&Leftover| leftover.is_in_use;
    match pool.leftovers() {
        Ok(found) => {
            Finding::Leftovers { count: found.len(), busy: found.iter().filter(is_busy).count() }
        }
        Err(error) => Finding::failed("leftovers", &as_failure(error)),
    }
}

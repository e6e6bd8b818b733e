//! VMs that an earlier fail-over has brought to the pool already. Pure.

use xen_source::xapi::destination::{Inventory, Restored};
use xen_source::xapi::{VmRecord, origin};

use super::candidate::Candidate;

/// The VM of the pool that was restored from the snapshot of `candidate`.
pub fn present<'p>(pool: &'p Inventory, candidate: &Candidate) -> Option<&'p VmRecord> {
    let id = candidate.snapshot.id.to_string();
    pool.vms.iter().find(|vm| origin::of(vm) == Some(&id))
}

/// Names of the candidates that are there.
pub fn names<'c>(pool: &Inventory, candidates: &'c [Candidate]) -> Vec<&'c str> {
    let there = candidates.iter().filter(|candidate| present(pool, candidate).is_some());
    there.map(|candidate| &*candidate.vm.name).collect()
}

/// What a restore would have said that made it.
pub fn as_restored(vm: &VmRecord) -> Restored {
    Restored {
        reference: Some(vm.reference.clone()),
        uuid: Some(vm.uuid.clone()),
        name: vm.name.clone(),
        disks: Vec::new(),
        macs: Vec::new(),
        replaced: None,
        is_started: false,
    }
}

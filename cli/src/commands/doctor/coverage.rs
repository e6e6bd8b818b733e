//! What of the pool is in the repository, if there is one.

use std::collections::BTreeSet;

use repo_format::snapshot::Snapshot;
use xen_source::xapi::{Pool, Vm};

use super::finding::Finding;
use crate::advice::{Doing as _, Failure};
use crate::job::{Job, Writes};
use crate::selection;

/// Compares the VMs of the pool with the snapshots of the repository that was named.
pub fn check(job: &Job, pool: &Pool) -> Result<Option<Finding>, Failure> {
    if !job.has_repository() {
        return Ok(None);
    }
    let snapshots = selection::all(&job.open(Writes::Kept)?)?;
    let vms = pool.vms().doing(|| "cannot list the VMs of the pool".to_owned())?;
    Ok(Some(compare(&vms, &snapshots)))
}

fn compare(vms: &[Vm], snapshots: &[Snapshot]) -> Finding {
    let is_one_of =
        |snapshot: &&Snapshot, kinds: [&str; 2]| kinds.contains(&&*snapshot.origin.container);
    // Configurations alone bring no disk back.
    let of_vms = snapshots.iter().filter(|snapshot| !is_one_of(snapshot, ["metadata", "host"]));
    let saved: BTreeSet<&str> = of_vms.filter_map(|it| it.origin.vm_uuid.as_deref()).collect();
    let missing = vms.iter().filter(|vm| !saved.contains(&*vm.record.uuid));
    Finding::Coverage {
        vms: vms.len(),
        missing: missing.map(|vm| vm.record.name.clone()).collect(),
        has_system: snapshots.iter().any(|it| is_one_of(&it, ["pool-db", "host"])),
    }
}

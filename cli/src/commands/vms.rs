//! `vms`: lists the VMs of a pool.

use crate::advice::{Doing as _, Failure};
use crate::args::VmsArgs;
use crate::connection;
use crate::exit::Exit;
use crate::job::Job;
use crate::report::{VmEntry, vm_table};

/// Lists VMs.
pub fn run(job: &Job, args: VmsArgs) -> Result<Exit, Failure> {
    let pool = connection::open(job, args.pool)?;
    let vms = pool.vms().doing(|| "cannot list the VMs of the pool".to_owned())?;
    let entries: Vec<VmEntry> = vms.iter().map(VmEntry::of).collect();
    job.report.answer(&vm_table(&vms), &entries)?;
    Ok(Exit::Done)
}

//! What a backup of VMs would do, as a dry run tells it.

use serde::Serialize;
use xen_source::xapi::Vm;

use super::saved::Lost;
use crate::report::{VmEntry, vm_table};

/// The VMs that would be backed up, as JSON.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    message_type: &'static str,
    vms: Vec<VmEntry>,
    failed: &'a [Lost],
}

impl<'a> Plan<'a> {
    /// Of these VMs; `failed` are the selectors that choose none.
    pub fn new(vms: &[Vm], failed: &'a [Lost]) -> Self {
        Self { message_type: "plan", vms: vms.iter().map(VmEntry::of).collect(), failed }
    }
}

/// The table, and that nothing was done.
pub fn text(vms: &[Vm]) -> String {
    vm_table(vms) + "dry run: nothing read, nothing saved, nothing changed on the pool\n"
}

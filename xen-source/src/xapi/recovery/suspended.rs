//! VMs that are said to be suspended, and whose memory is gone: so they are after their database
//! was restored, and cannot be started until they are reset.

use std::collections::BTreeSet;

use super::super::error::XapiError;
use super::super::objects::{PowerState, VmRecord, records};
use super::super::pool::Pool;
use super::super::task;
use super::super::value::Value;

/// The VMs of a pool that are suspended without memory, by name.
///
/// # Errors
///
/// What the pool said.
pub fn find(pool: &Pool) -> Result<Vec<VmRecord>, XapiError> {
    let all = |class: &str| pool.session().call(&format!("{class}.get_all_records"), &[]);
    let vms = records::<VmRecord>(&all("VM")?)?;
    let vdis = all("VDI")?;
    let is_there = |vdi: &Value| !vdi.get("missing").and_then(Value::bool).unwrap_or(false);
    let vdis = vdis.members().into_iter().flatten().filter(|(_, vdi)| is_there(vdi));
    Ok(without_memory(vms, &vdis.map(|(reference, _)| reference.as_str()).collect()))
}

/// Those of `vms` that are suspended, and whose memory is not among the disks `vdis`, by name.
/// VM snapshots with memory are suspended too, and are nobody's to start.
pub fn without_memory(vms: Vec<VmRecord>, vdis: &BTreeSet<&str>) -> Vec<VmRecord> {
    let has_memory =
        |vm: &VmRecord| vm.suspend_vdi.as_deref().is_some_and(|vdi| vdis.contains(vdi));
    let mut found: Vec<VmRecord> = vms
        .into_iter()
        .filter(|vm| vm.power_state == PowerState::Suspended && !has_memory(vm))
        .filter(|vm| !vm.is_a_snapshot && !vm.is_a_template && !vm.is_control_domain)
        .collect();
    found.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    found
}

/// Makes it off. It must be one of those that [`find`] finds, and is looked at once more.
///
/// # Errors
///
/// [`XapiError::NoVm`] if it is none of them any more; else what the pool said.
pub fn reset(pool: &Pool, vm: &VmRecord) -> Result<(), XapiError> {
    if !find(pool)?.iter().any(|found| found.uuid == vm.uuid) {
        return Err(XapiError::NoVm { uuid: vm.uuid.clone() });
    }
    let label = format!("reset of {}", vm.name);
    let params = [Value::from(&*vm.reference)];
    task::run(pool.session(), &label, "VM.hard_shutdown", &params).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xapi::json;
    use crate::xapi::objects::Record as _;

    #[track_caller]
    fn check(fields: &str, expected: bool) {
        let text = format!(r#"{{"uuid":"u",{fields}}}"#);
        let vm = VmRecord::of("r", &json::parse_value(text.as_bytes()).expect("a record"));
        let found = without_memory(vec![vm.expect("a VM")], &BTreeSet::from(["V"]));
        assert_eq!(!found.is_empty(), expected, "{fields}");
    }

    #[test]
    fn only_what_is_suspended_without_memory_is_found() {
        check(r#""power_state":"Suspended","suspend_VDI":"gone""#, true);
        check(r#""power_state":"Suspended","suspend_VDI":"OpaqueRef:NULL""#, true);
        check(r#""power_state":"Suspended""#, true);
        check(r#""power_state":"Suspended","suspend_VDI":"V""#, false);
        check(r#""power_state":"Halted","suspend_VDI":"gone""#, false);
        check(r#""power_state":"Running""#, false);
        check(r#""power_state":"Suspended","is_a_snapshot":true"#, false);
        check(r#""power_state":"Suspended","is_a_template":true"#, false);
    }
}

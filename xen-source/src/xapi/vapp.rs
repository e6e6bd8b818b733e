//! vApps, made again on another pool (contract 2.3: an import forgets which vApp a VM was in).

use std::collections::BTreeMap;

use super::error::XapiError;
use super::fail_over::VApp;
use super::session::{Session, reference};
use super::value::Value;

/// Makes `vapp` of VMs that are on the pool, by their references. Their order and delays are in
/// their own records.
///
/// # Errors
///
/// What the pool said. Then there is no vApp, or one that lacks VMs and could not be removed; VMs
/// stay as they are.
pub fn make(session: &Session, vapp: &VApp, vms: &[String]) -> Result<(), XapiError> {
    let record = BTreeMap::from([
        ("name_label".to_owned(), Value::from(&*vapp.name)),
        ("name_description".to_owned(), Value::from(&*vapp.description)),
    ]);
    let made = session.call("VM_appliance.create", &[Value::Struct(record)])?;
    let made = reference(&made).ok_or(XapiError::Record { field: "vApp reference" })?;
    let join = |vm: &String| {
        session.call("VM.set_appliance", &[Value::from(&**vm), Value::from(&*made)]).map(drop)
    };
    vms.iter().try_for_each(join).inspect_err(|_| {
        // One that starts a part of its VMs is worse than none. If it stays, it is seen by its name.
        let _ = session.call("VM_appliance.destroy", &[Value::from(&*made)]);
    })
}

/// Names of the vApps that the pool has.
///
/// # Errors
///
/// What the pool said.
pub fn names(session: &Session) -> Result<Vec<String>, XapiError> {
    let all = session.call("VM_appliance.get_all_records", &[])?;
    let records = all.members().ok_or(XapiError::Record { field: "records" })?;
    let name = |record: &Value| record.get("name_label").and_then(Value::text).map(str::to_owned);
    Ok(records.values().filter_map(name).collect())
}

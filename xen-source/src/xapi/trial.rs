//! A fail-over that is only tried: VMs that were [restored](super::destination::Plan::for_trial)
//! for that are looked at, started, and removed with all that belongs to them.
//!
//! What a trial makes keeps its marks (see [`super::unfinished`]), and nothing without them is
//! removed.

use std::time::Duration;

use super::destination::Restored;
use super::error::XapiError;
use super::looks::Looks;
use super::objects::{PowerState, VdiRecord, VmRecord};
use super::session::{Session, reference};
use super::snapshot::{record, unless_gone};
use super::task;
use super::unfinished::{self, is_tried};
use super::value::Value;

/// Time until a VM that was started is told to run.
const RUNNING_TIME: Duration = Duration::from_secs(30);

/// What a VM did when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booted {
    /// Whether it runs.
    pub is_running: bool,
    /// Whether its guest tools were seen; `None`: nobody looked.
    pub has_tools: Option<bool>,
}

/// Whether the disks of a VM that was restored are as large as those that were stored. Storage
/// may make them a little larger.
///
/// # Errors
///
/// What the pool said.
pub fn has_sizes(session: &Session, restored: &Restored) -> Result<bool, XapiError> {
    for disk in &restored.disks {
        if record::<VdiRecord>(session, &disk.reference)?.size_bytes < disk.size_bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Starts a VM that does not run yet, and waits until it does; with `tools` also until its guest tools tell of
/// themselves, but no longer than that. `goes_on` ends the wait early.
///
/// # Errors
///
/// What the pool said.
pub fn boot(
    session: &Session,
    vm: &str,
    tools: Option<Duration>,
    goes_on: &dyn Fn() -> bool,
) -> Result<Booted, XapiError> {
    let runs = || Ok(record::<VmRecord>(session, vm)?.power_state == PowerState::Running);
    if !runs()? {
        let params = [Value::from(vm), Value::from(false), Value::from(false)];
        task::run(session, "start of a VM", "VM.start", &params)?;
    }
    let is_running = comes(session, RUNNING_TIME, goes_on, &runs)?;
    let has_tools = match tools.filter(|_| is_running) {
        None => tools.map(|_| false),
        Some(time) => Some(comes(session, time, goes_on, &|| tells(session, vm))?),
    };
    Ok(Booted { is_running, has_tools })
}

/// Looks until `is_so`, or for so much `time`.
fn comes(
    session: &Session,
    time: Duration,
    goes_on: &dyn Fn() -> bool,
    is_so: &dyn Fn() -> Result<bool, XapiError>,
) -> Result<bool, XapiError> {
    let mut looks = Looks::within(time);
    while !is_so()? {
        match looks.next().filter(|_| goes_on()) {
            Some(pause) => session.pause(pause),
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether the tools in a guest tell their version.
fn tells(session: &Session, vm: &str) -> Result<bool, XapiError> {
    let Some(metrics) = reference(&session.call("VM.get_guest_metrics", &[Value::from(vm)])?)
    else {
        return Ok(false);
    };
    match session.call("VM_guest_metrics.get_PV_drivers_version", &[Value::from(metrics)]) {
        Err(error) if error.is_gone() => Ok(false),
        answer => Ok(answer?.members().is_some_and(|version| !version.is_empty())),
    }
}

/// Removes a VM of a trial and its disks; what is gone already is gone, and what does not carry
/// its own marks stays.
///
/// # Errors
///
/// What the pool said first; all is tried nevertheless.
pub fn remove(session: &Session, restored: &Restored) -> Result<(), XapiError> {
    let vm = restored.reference.as_ref().map_or(Ok(()), |vm| remove_vm(session, vm));
    let disks = restored.disks.iter();
    let disks: Vec<_> =
        disks.map(|disk| unfinished::remove_disk(session, &disk.reference)).collect();
    vm.and(disks.into_iter().collect())
}

/// Removes a VM of a trial and the disks of the trial in its drives, also while it runs.
///
/// # Errors
///
/// What the pool said.
pub fn remove_vm(session: &Session, vm: &str) -> Result<(), XapiError> {
    let Some(found) = unless_gone(record::<VmRecord>(session, vm))? else { return Ok(()) };
    if found.is_a_snapshot || !is_tried(&found.uuid, &found.other_config) {
        return Ok(());
    }
    if found.power_state != PowerState::Halted {
        task::run(session, "end of a test", "VM.hard_shutdown", &[Value::from(vm)])?;
    }
    unfinished::remove_vm(session, vm)
}

//! A fail-over that is only tried: VMs on a network that leads nowhere, started, looked at, and
//! removed with all that belongs to them.
//!
//! What a trial makes carries the mark `xenith` with its own uuid (see [`super::snapshot`]), and
//! nothing without it is removed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::destination::Restored;
use super::error::XapiError;
use super::objects::{NetworkRecord, PowerState, VdiRecord, VmRecord};
use super::session::{Session, reference};
use super::snapshot::{MARK, once_free, record, set_note};
use super::task;
use super::value::Value;

/// Pause between two looks at a VM that starts.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Looks at a VM that was started until it is told to run.
const RUNNING_LOOKS: u64 = 30;
/// Tries to remove a network: cards of VMs that were just removed may hold it for a moment.
const NETWORK_TRIES: u32 = 5;

/// A network without any card of a host, for a trial. It goes when this is dropped.
#[derive(Debug)]
pub struct IsolatedNetwork {
    session: Session,
    /// The network.
    pub record: NetworkRecord,
    is_gone: bool,
}

/// The network as it will be, to plan with before there is one.
#[must_use]
pub fn stand_in(name: &str) -> NetworkRecord {
    NetworkRecord {
        reference: "OpaqueRef:not-made-yet".to_owned(),
        uuid: "not made yet".to_owned(),
        name: name.to_owned(),
        bridge: String::new(),
        purposes: Vec::new(),
    }
}

/// What a VM did when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booted {
    /// Whether it runs.
    pub is_running: bool,
    /// Whether its guest tools were seen; `None`: nobody looked.
    pub has_tools: Option<bool>,
}

impl IsolatedNetwork {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// What the pool said; then there is none, or one that is called `name` and has no VM.
    pub fn make(session: &Session, name: &str) -> Result<Self, XapiError> {
        let description = "Leads nowhere; made for a test of disaster recovery, and removed after";
        let fields = BTreeMap::from([
            ("name_label".to_owned(), Value::from(name)),
            ("name_description".to_owned(), Value::from(description)),
            ("MTU".to_owned(), Value::from("1500")),
            ("other_config".to_owned(), Value::empty_struct()),
        ]);
        let made = session.call_once("network.create", &[Value::Struct(fields)])?;
        let made = reference(&made).ok_or(XapiError::Record { field: "network reference" })?;
        let is_ready = record::<NetworkRecord>(session, &made).and_then(|network| {
            set_note(session, "network", &made, MARK, &network.uuid)?;
            Ok(network)
        });
        match is_ready {
            Ok(record) => Ok(Self { session: session.clone(), record, is_gone: false }),
            Err(error) => {
                // It is the one that was just made. If it stays, people see it by its name.
                let _ = session.call("network.destroy", &[Value::from(made)]);
                Err(error)
            }
        }
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// What the pool said. It is tried again when this is dropped.
    pub fn remove(&mut self) -> Result<(), XapiError> {
        let own = [Value::from(&*self.record.reference)];
        let mut answer = self.session.call("network.destroy", &own);
        for _try in 1..NETWORK_TRIES {
            match &answer {
                Err(error) if !error.is_gone() => self.session.pause(LOOK_PAUSE),
                _ => break,
            }
            answer = self.session.call("network.destroy", &own);
        }
        match answer {
            Err(error) if !error.is_gone() => Err(error),
            _ => {
                self.is_gone = true;
                Ok(())
            }
        }
    }
}

impl Drop for IsolatedNetwork {
    fn drop(&mut self) {
        if !self.is_gone {
            // Nobody is left to be told; it is called what it is for.
            let _ = self.remove();
        }
    }
}

/// Marks a VM that was restored, and its disks, as what [`remove`] may remove.
///
/// # Errors
///
/// What the pool said.
pub fn mark(session: &Session, restored: &Restored) -> Result<(), XapiError> {
    for disk in &restored.disks {
        set_note(session, "VDI", &disk.reference, MARK, &disk.uuid)?;
    }
    match (&restored.reference, &restored.uuid) {
        (Some(vm), Some(uuid)) => set_note(session, "VM", vm, MARK, uuid),
        _ => Ok(()),
    }
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

/// Starts a VM, and waits until it runs; with `tools` also until its guest tools tell of
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
    let params = [Value::from(vm), Value::from(false), Value::from(false)];
    task::run(session, "start for a test", "VM.start", &params)?;
    let runs = || Ok(record::<VmRecord>(session, vm)?.power_state == PowerState::Running);
    let is_running = comes(session, RUNNING_LOOKS, goes_on, &runs)?;
    let has_tools = match tools.filter(|_| is_running) {
        None => tools.map(|_| false),
        Some(time) => Some(comes(session, time.as_secs().max(1), goes_on, &|| tells(session, vm))?),
    };
    Ok(Booted { is_running, has_tools })
}

/// Looks once a second until `is_so`.
fn comes(
    session: &Session,
    looks: u64,
    goes_on: &dyn Fn() -> bool,
    is_so: &dyn Fn() -> Result<bool, XapiError>,
) -> Result<bool, XapiError> {
    for look in 0..looks {
        if look > 0 {
            session.pause(LOOK_PAUSE);
        }
        if is_so()? {
            return Ok(true);
        }
        if !goes_on() {
            break;
        }
    }
    Ok(false)
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
/// its own mark stays.
///
/// # Errors
///
/// What the pool said first; all is tried nevertheless.
pub fn remove(session: &Session, restored: &Restored) -> Result<(), XapiError> {
    let vm = restored.reference.as_ref().map_or(Ok(()), |vm| remove_vm(session, vm));
    let disks: Vec<_> =
        restored.disks.iter().map(|disk| remove_disk(session, &disk.reference)).collect();
    vm.and(disks.into_iter().collect())
}

fn remove_vm(session: &Session, vm: &str) -> Result<(), XapiError> {
    let found = match record::<VmRecord>(session, vm) {
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    if !is_marked(&found.uuid, &found.other_config) {
        return Ok(());
    }
    let own = [Value::from(vm)];
    if found.power_state != PowerState::Halted {
        task::run(session, "end of a test", "VM.hard_shutdown", &own)?;
    }
    gone(task::run(session, "removal of a test", "VM.destroy", &own))
}

fn remove_disk(session: &Session, disk: &str) -> Result<(), XapiError> {
    let found = match record::<VdiRecord>(session, disk) {
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    match is_marked(&found.uuid, &found.other_config) {
        true => gone(once_free(session, &found, "VDI.destroy")),
        false => Ok(()),
    }
}

fn is_marked(uuid: &str, other_config: &BTreeMap<String, String>) -> bool {
    other_config.get(MARK).is_some_and(|mark| mark == uuid)
}

/// What is gone is removed.
fn gone(answer: Result<Value, XapiError>) -> Result<(), XapiError> {
    match answer {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}

//! VM snapshots that we take, and how they go again (contract 6).
//!
//! What is ours carries a mark in `other_config`: the key `xenith` with *its own* uuid. Hosts copy
//! `other_config` to snapshots and clones, and so do exports; a copied mark names another object
//! and says nothing. Nothing without a good mark is ever removed.

use std::collections::BTreeMap;

use super::error::XapiError;
use super::objects::{Record, VbdRecord, VdiRecord, VmRecord, records};
use super::session::{Session, reference};
use super::task;
use super::value::Value;

/// The key of the mark.
pub const MARK: &str = "xenith";

/// A snapshot of ours, and its disks.
#[derive(Debug, Clone)]
pub struct OurSnapshot {
    /// The snapshot.
    pub vm: VmRecord,
    /// Its disks.
    pub disks: Vec<VdiRecord>,
}

/// Something of ours that was left behind.
#[derive(Debug, Clone)]
pub enum Leftover {
    /// A snapshot and its disks. It may belong to a backup that is at work.
    Snapshot(VmRecord),
    /// The snapshot of a disk, whose VM snapshot is gone.
    Disk(VdiRecord),
}

/// Takes a snapshot of `vm`, without `left_out` (disks), marks it, and makes it fit for export: it
/// is called like its VM, since that is how it will be restored.
///
/// # Errors
///
/// What the pool said. Then there is no snapshot, or it was removed again, or it is called
/// "Xenith: unfinished snapshot".
pub fn take(
    session: &Session,
    vm: &VmRecord,
    left_out: &[String],
) -> Result<OurSnapshot, XapiError> {
    let snapshot = snapshot(session, vm, left_out)?;
    let made = mark(session, &snapshot).and_then(|()| dress(session, vm, &snapshot));
    match made.and_then(|()| disks_of(session, &snapshot)) {
        Ok((record, disks)) => Ok(OurSnapshot { vm: record, disks }),
        Err(error) => {
            // What is marked by now goes; what is not, people see by its name.
            let left = record::<VmRecord>(session, &snapshot);
            let _ = left.and_then(|left| remove(session, &Leftover::Snapshot(left)));
            Err(error)
        }
    }
}

/// Destroys a snapshot and its disks; what is gone already is gone.
///
/// # Errors
///
/// What the pool said; disks after the first that stays are tried nevertheless.
pub fn remove(session: &Session, leftover: &Leftover) -> Result<(), XapiError> {
    match leftover {
        Leftover::Disk(disk) => remove_disk(session, &disk.reference),
        Leftover::Snapshot(snapshot) => {
            let (current, disks) = match disks_of(session, &snapshot.reference) {
                Ok(found) => found,
                Err(error) if error.is_gone() => return Ok(()),
                Err(error) => return Err(error),
            };
            if !is_ours(current.is_a_snapshot, &current.uuid, &current.other_config) {
                return Ok(());
            }
            let vm = [Value::from(&*snapshot.reference)];
            done(task::run(session, "removal of a snapshot", "VM.destroy", &vm))?;
            remove_disks(session, &disks)
        }
    }
}

/// Destroys a snapshot that was taken, and its disks.
///
/// # Errors
///
/// As [`remove`].
pub fn remove_taken(session: &Session, taken: &OurSnapshot) -> Result<(), XapiError> {
    let vm = [Value::from(&*taken.vm.reference)];
    let gone = done(task::run(session, "removal of a snapshot", "VM.destroy", &vm));
    gone.and_then(|()| remove_disks(session, &taken.disks))
}

/// What carries our mark.
///
/// # Errors
///
/// What the pool said.
pub fn leftovers(session: &Session) -> Result<Vec<Leftover>, XapiError> {
    let vms: Vec<VmRecord> = records(&session.call("VM.get_all_records", &[])?)?;
    let disks: Vec<VdiRecord> = records(&session.call("VDI.get_all_records", &[])?)?;
    let vms = vms.into_iter().filter(|vm| is_ours(vm.is_a_snapshot, &vm.uuid, &vm.other_config));
    let disks = disks.into_iter().filter(|disk| {
        disk.vbds.is_empty() && is_ours(disk.is_a_snapshot, &disk.uuid, &disk.other_config)
    });
    Ok(vms.map(Leftover::Snapshot).chain(disks.map(Leftover::Disk)).collect())
}

/// Whether a record is a snapshot that carries a mark of its own.
fn is_ours(is_a_snapshot: bool, uuid: &str, other_config: &BTreeMap<String, String>) -> bool {
    is_a_snapshot && other_config.get(MARK).is_some_and(|mark| mark == uuid)
}

/// Older hosts know no third parameter (contract 6).
fn snapshot(session: &Session, vm: &VmRecord, left_out: &[String]) -> Result<String, XapiError> {
    let label = format!("snapshot of {}", vm.name);
    let mut params = vec![
        Value::from(&*vm.reference),
        Value::from("Xenith: unfinished snapshot"),
        left_out.iter().map(|disk| Value::from(&**disk)).collect(),
    ];
    let taken = match task::run(session, &label, "VM.snapshot", &params) {
        Err(error) if is_about_count(&error) && left_out.is_empty() => {
            params.truncate(2);
            task::run(session, &label, "VM.snapshot", &params)?
        }
        other => other?,
    };
    reference(&taken).ok_or(XapiError::Record { field: "snapshot reference" })
}

fn is_about_count(error: &XapiError) -> bool {
    error.has_code("MESSAGE_PARAMETER_COUNT_MISMATCH")
}

/// Marks the snapshot first, then its disks, so that whatever is left is found.
fn mark(session: &Session, snapshot: &str) -> Result<(), XapiError> {
    let vm: VmRecord = record(session, snapshot)?;
    set_mark(session, "VM", snapshot, &vm.uuid)?;
    let (_, disks) = disks_of(session, snapshot)?;
    disks.iter().try_for_each(|disk| set_mark(session, "VDI", &disk.reference, &disk.uuid))
}

/// A mark that was copied goes first; removing what is not there is no error (contract 8).
fn set_mark(session: &Session, class: &str, object: &str, uuid: &str) -> Result<(), XapiError> {
    let params = [Value::from(object), Value::from(MARK)];
    session.call(&format!("{class}.remove_from_other_config"), &params)?;
    let params = [Value::from(object), Value::from(MARK), Value::from(uuid)];
    session.call(&format!("{class}.add_to_other_config"), &params).map(drop)
}

/// A snapshot would be restored as a template, and under the name of a snapshot (contract 0.10).
fn dress(session: &Session, vm: &VmRecord, snapshot: &str) -> Result<(), XapiError> {
    let params = [Value::from(snapshot), Value::from(&*vm.name)];
    session.call("VM.set_name_label", &params)?;
    match session.call("VM.set_is_a_template", &[Value::from(snapshot), Value::from(false)]) {
        Err(error) if !error.has_code("LICENCE_RESTRICTION") => Err(error),
        _ => Ok(()),
    }
}

/// The snapshot and its disks: those that are snapshots themselves, and nothing else.
fn disks_of(session: &Session, snapshot: &str) -> Result<(VmRecord, Vec<VdiRecord>), XapiError> {
    let vm: VmRecord = record(session, snapshot)?;
    let mut references: Vec<String> = Vec::new();
    for vbd in &vm.vbds {
        let vbd: VbdRecord = match record(session, vbd) {
            Err(error) if error.is_gone() => continue,
            other => other?,
        };
        references.extend(vbd.vdi.filter(|_| vbd.is_disk));
    }
    references.extend(vm.suspend_vdi.clone());
    let mut disks = Vec::new();
    for vdi in references {
        let vdi: VdiRecord = match record(session, &vdi) {
            Err(error) if error.is_gone() => continue,
            other => other?,
        };
        if vdi.is_a_snapshot && !disks.contains(&vdi) {
            disks.push(vdi);
        }
    }
    Ok((vm, disks))
}

fn remove_disks(session: &Session, disks: &[VdiRecord]) -> Result<(), XapiError> {
    let removed: Vec<_> = disks.iter().map(|disk| remove_disk(session, &disk.reference)).collect();
    removed.into_iter().collect()
}

/// The disk of a host that is still about to let it go is waited for (contract 0.12).
fn remove_disk(session: &Session, disk: &str) -> Result<(), XapiError> {
    let current: VdiRecord = match record(session, disk) {
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    if !is_ours(current.is_a_snapshot, &current.uuid, &current.other_config) {
        return Ok(());
    }
    done(task::run(session, "removal of a disk", "VDI.destroy", &[Value::from(disk)]))
}

/// What is gone is removed.
fn done(answer: Result<Value, XapiError>) -> Result<(), XapiError> {
    match answer {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}

/// One record.
pub fn record<R: Record>(session: &Session, reference: &str) -> Result<R, XapiError> {
    let method = format!("{}.get_record", R::CLASS);
    R::of(reference, &session.call(&method, &[Value::from(reference)])?)
}

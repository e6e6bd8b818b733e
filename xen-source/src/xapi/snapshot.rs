//! VM snapshots that we take, and how they go again (contract 6).
//!
//! What is ours carries a mark in `other_config`: the key `xenith` with *its own* uuid. Hosts copy
//! `other_config` to snapshots and clones, and so do exports; a copied mark names another object
//! and says nothing. Nothing without a good mark is ever removed.
//!
//! A snapshot can only be marked once it is there. So while one is being taken its VM carries a
//! note, which the host copies to the snapshot: with that, and the name that it was given, a
//! snapshot of a backup that was killed just then is known, too.

use std::collections::BTreeMap;

use super::error::{Stage, XapiError};
use super::limits::TASK_LOST_TIME;
use super::looks::Looks;
use super::objects::{PowerState, Record, VbdRecord, VdiRecord, VmRecord, records};
use super::retry::{Failure, Nature};
use super::session::{Session, reference};
use super::task::{self, Task};
use super::time;
use super::value::Value;

/// The key of the mark.
pub const MARK: &str = "xenith";
/// The key of the mark on a VM that was shut down for its snapshot.
pub const POWER_MARK: &str = "xenith-power";
/// The key of a note beside the mark: who took the snapshot, and when.
pub const BY: &str = "xenith-by";
/// The key of the note that a VM carries while its snapshot is being taken: its uuid, and when.
pub const TAKING: &str = "xenith-taking";

/// What of a VM is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// Itself: a template, whose disks nobody writes to.
    Itself,
    /// A snapshot of its disks.
    Snapshot,
    /// A snapshot of its disks and its memory, for which the host suspends it.
    Checkpoint,
}

/// A snapshot of ours, and its disks.
#[derive(Debug, Clone)]
pub struct OurSnapshot {
    /// The snapshot.
    pub vm: VmRecord,
    /// Its disks.
    pub disks: Vec<VdiRecord>,
}

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Whether memory comes along.
    pub taking: Taking,
    /// References of disks that are not wanted.
    pub left_out: &'a [String],
    /// Who takes it, in a few words.
    pub by: &'a str,
}

/// Takes a snapshot of `vm`, marks it, and makes it fit for export: it is called like its VM, since
/// that is how it will be restored.
///
/// # Errors
///
/// What the pool said. Then there is no snapshot, or it was removed again, or it is called
/// "Xenith: unfinished snapshot".
pub fn take(session: &Session, vm: &VmRecord, wish: Wish<'_>) -> Result<OurSnapshot, XapiError> {
    let note = format!("{} {}", vm.uuid, time::now(session));
    let note = note.trim_end();
    let made = set_note(session, "VM", &vm.reference, TAKING, note)
        .and_then(|()| make(session, vm, wish, note));
    let unnote = || take_note(session, "VM", &vm.reference, TAKING);
    // A note that stays says nothing without a snapshot, and goes with the next backup.
    let _ = unnote().or_else(|_| unnote());
    made
}

fn make(
    session: &Session,
    vm: &VmRecord,
    wish: Wish<'_>,
    note: &str,
) -> Result<OurSnapshot, XapiError> {
    let attempt = || match wish.taking {
        Taking::Checkpoint => checkpoint(session, vm),
        Taking::Itself | Taking::Snapshot => snapshot(session, vm, wish.left_out),
    };
    let snapshot = match attempt() {
        Err(error) if is_untold(&error) => match discard_untold(session, vm, note) {
            Ok(true) => attempt()?,
            Ok(false) | Err(_) => return Err(error),
        },
        other => other?,
    };
    let made = mark(session, &snapshot, wish.by)
        .and_then(|()| match wish.taking {
            Taking::Checkpoint => leave_out(session, &snapshot, wish.left_out),
            Taking::Itself | Taking::Snapshot => Ok(()),
        })
        .and_then(|()| dress(session, vm, &snapshot));
    match made.and_then(|()| disks_of(session, &snapshot)) {
        Ok((record, disks)) => Ok(OurSnapshot { vm: record, disks }),
        Err(error) => {
            // Marked or not, it is the one that was just made. If it stays, people see it by its
            // name, or a clean-up by its mark.
            let _ = disks_of(session, &snapshot)
                .and_then(|(vm, disks)| remove_taken(session, &OurSnapshot { vm, disks }));
            Err(error)
        }
    }
}

/// Whether nobody can tell if there is a snapshot now.
fn is_untold(error: &XapiError) -> bool {
    matches!(error, XapiError::TaskLost { .. } | XapiError::Unreachable { stage: Stage::Sent, .. })
}

/// Destroys what there is of a snapshot of which nobody can tell, as soon as nothing is done with
/// its VM. It is known by its name and the `note`, and not used: it may lack disks. False: something
/// is still being done.
fn discard_untold(session: &Session, vm: &VmRecord, note: &str) -> Result<bool, XapiError> {
    let mut looks = Looks::within(TASK_LOST_TIME);
    while !record::<VmRecord>(session, &vm.reference)?.current_operations.is_empty() {
        match looks.next() {
            Some(pause) => session.pause(pause),
            None => return Ok(false),
        }
    }
    let all: Vec<VmRecord> = records(&session.call("VM.get_all_records", &[])?)?;
    let is_it = |other: &&VmRecord| {
        other.is_a_snapshot
            && other.name == UNFINISHED
            && other.snapshot_of.as_ref() == Some(&vm.reference)
            && other.other_config.get(TAKING).is_some_and(|taking| taking == note)
    };
    for untold in all.iter().filter(is_it) {
        let (vm, disks) = disks_of(session, &untold.reference)?;
        remove_taken(session, &OurSnapshot { vm, disks })?;
    }
    Ok(true)
}

/// Destroys a snapshot and its disks, if its mark is good; what is gone already is gone.
///
/// # Errors
///
/// What the pool said; disks after the first that stays are tried nevertheless.
pub fn remove(session: &Session, snapshot: &str) -> Result<(), XapiError> {
    let (vm, disks) = match disks_of(session, snapshot) {
        Ok(found) => found,
        Err(error) if error.is_gone() => return Ok(()),
        Err(error) => return Err(error),
    };
    let of = vm.snapshot_of.as_deref().and_then(|of| record::<VmRecord>(session, of).ok());
    if !is_our_snapshot(&vm, of.as_ref()) {
        return Ok(());
    }
    remove_taken(session, &OurSnapshot { vm, disks })
}

/// Whether `vm` is a snapshot that carries a mark of its own, or one of the VM `of` that was being
/// taken when its backup was killed.
pub fn is_our_snapshot(vm: &VmRecord, of: Option<&VmRecord>) -> bool {
    let was_being_taken = vm.is_a_snapshot
        && vm.name == UNFINISHED
        && of.is_some_and(|of| taking_since(&of.uuid, &vm.other_config).is_some());
    was_being_taken || is_ours(vm.is_a_snapshot, &vm.uuid, &vm.other_config)
}

/// Since when a snapshot of the VM `uuid` is being taken, by the note in `other_config`.
pub fn taking_since<'a>(uuid: &str, other_config: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let note = other_config.get(TAKING)?;
    let (of, since) = note.split_once(' ').unwrap_or((note, ""));
    (of == uuid).then_some(since)
}

/// Destroys a snapshot that was taken, and its disks.
///
/// # Errors
///
/// As [`remove`].
pub fn remove_taken(session: &Session, taken: &OurSnapshot) -> Result<(), XapiError> {
    remove_vm(session, &taken.vm)?;
    let disks = taken.disks.iter();
    let removed: Vec<_> = disks.map(|disk| destroy(session, disk)).collect();
    removed.into_iter().collect()
}

/// Destroys a snapshot, and leaves its disks.
///
/// # Errors
///
/// What the pool said.
pub fn remove_vm(session: &Session, snapshot: &VmRecord) -> Result<(), XapiError> {
    let vm = [Value::from(&*snapshot.reference)];
    if has_own_memory(session, snapshot) {
        // It takes its memory image with it. If it is refused, so is the removal that follows.
        let _ = task::run(session, "removal of a memory image", "VM.hard_shutdown", &vm);
    }
    done(task::run(session, "removal of a snapshot", "VM.destroy", &vm))
}

/// Whether a record is a snapshot that carries a mark of its own.
pub fn is_ours(is_a_snapshot: bool, uuid: &str, other_config: &BTreeMap<String, String>) -> bool {
    is_a_snapshot && other_config.get(MARK).is_some_and(|mark| mark == uuid)
}

/// Older hosts know no third parameter (contract 6).
fn snapshot(session: &Session, vm: &VmRecord, left_out: &[String]) -> Result<String, XapiError> {
    let label = format!("snapshot of {}", vm.name);
    let mut params = vec![
        Value::from(&*vm.reference),
        Value::from(UNFINISHED),
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

/// What a snapshot is called until it is marked.
const UNFINISHED: &str = "Xenith: unfinished snapshot";

fn is_about_count(error: &XapiError) -> bool {
    error.has_code("MESSAGE_PARAMETER_COUNT_MISMATCH")
}

/// A snapshot with memory. The host suspends the VM for it, which not every VM can bear.
fn checkpoint(session: &Session, vm: &VmRecord) -> Result<String, XapiError> {
    let label = format!("snapshot of {} with its memory", vm.name);
    let params = [Value::from(&*vm.reference), Value::from(UNFINISHED)];
    let taken =
        task::run(session, &label, "VM.checkpoint", &params).map_err(|error| {
            match error.api().filter(|api| NOT_SUSPENDABLE.contains(&&*api.code)) {
                Some(api) => XapiError::NotSuspendable { vm: vm.name.clone(), error: api.clone() },
                None => error,
            }
        })?;
    reference(&taken).ok_or(XapiError::Record { field: "snapshot reference" })
}

/// How hosts say that a VM cannot be suspended.
const NOT_SUSPENDABLE: [&str; 3] = ["VM_LACKS_FEATURE", "VM_NON_SUSPENDABLE", "VM_BAD_POWER_STATE"];

/// Marks the snapshot first, then its disks, so that whatever is left is found.
fn mark(session: &Session, snapshot: &str, by: &str) -> Result<(), XapiError> {
    let vm: VmRecord = record(session, snapshot)?;
    set_note(session, "VM", snapshot, MARK, &vm.uuid)?;
    let by = format!("{by} {}", time::now(session));
    let (_, disks) = disks_of(session, snapshot)?;
    for disk in &disks {
        set_note(session, "VDI", &disk.reference, MARK, &disk.uuid)?;
        set_note(session, "VDI", &disk.reference, BY, by.trim())?;
    }
    set_note(session, "VM", snapshot, BY, by.trim())
}

/// Sets a note in `other_config`. One that was copied goes first, or one that came although nobody
/// said so.
pub fn set_note(
    session: &Session,
    class: &str,
    object: &str,
    key: &str,
    note: &str,
) -> Result<(), XapiError> {
    let params = [Value::from(object), Value::from(key), Value::from(note)];
    session.retrying(Nature::Sets, || {
        session.call_once(&format!("{class}.remove_from_other_config"), &params[..2])?;
        session.call_once(&format!("{class}.add_to_other_config"), &params).map(drop)
    })
}

/// Takes a note away; one that is not there is no error (contract 8).
pub fn take_note(session: &Session, class: &str, object: &str, key: &str) -> Result<(), XapiError> {
    let params = [Value::from(object), Value::from(key)];
    session.call(&format!("{class}.remove_from_other_config"), &params).map(drop)
}

/// Snapshots with memory are taken with all disks, so those that are not wanted go afterwards.
fn leave_out(session: &Session, snapshot: &str, left_out: &[String]) -> Result<(), XapiError> {
    let vm: VmRecord = record(session, snapshot)?;
    for (vbd, disk) in drives(session, &vm)? {
        let is_wanted = disk.snapshot_of.as_ref().is_none_or(|of| !left_out.contains(of));
        if is_wanted || !disk.is_a_snapshot {
            continue;
        }
        done(session.call("VBD.destroy", &[Value::from(vbd)]))?;
        destroy(session, &disk)?;
    }
    Ok(())
}

/// A snapshot would be restored as a template, and under the name of a snapshot (contract 0.10);
/// and with the notes of its VM.
fn dress(session: &Session, vm: &VmRecord, snapshot: &str) -> Result<(), XapiError> {
    take_note(session, "VM", snapshot, POWER_MARK)?;
    take_note(session, "VM", snapshot, TAKING)?;
    let params = [Value::from(snapshot), Value::from(&*vm.name)];
    session.call("VM.set_name_label", &params)?;
    match session.call("VM.set_is_a_template", &[Value::from(snapshot), Value::from(false)]) {
        Err(error) if !error.has_code("LICENCE_RESTRICTION") => Err(error),
        _ => Ok(()),
    }
}

/// The disks in the drives of a VM or snapshot, with references of the drives; no CDs.
pub fn drives(session: &Session, vm: &VmRecord) -> Result<Vec<(String, VdiRecord)>, XapiError> {
    let mut drives = Vec::new();
    for vbd in &vm.vbds {
        let Some(vbd) = unless_gone(record::<VbdRecord>(session, vbd))? else {
            continue;
        };
        let Some(vdi) = vbd.vdi.filter(|_| vbd.is_disk) else {
            continue;
        };
        drives.extend(unless_gone(record(session, &vdi))?.map(|disk| (vbd.reference, disk)));
    }
    Ok(drives)
}

/// The snapshot and its disks: those that are snapshots themselves, and nothing else.
fn disks_of(session: &Session, snapshot: &str) -> Result<(VmRecord, Vec<VdiRecord>), XapiError> {
    let vm: VmRecord = record(session, snapshot)?;
    let mut found: Vec<VdiRecord> =
        drives(session, &vm)?.into_iter().map(|(_, disk)| disk).collect();
    if let Some(memory) = &vm.suspend_vdi {
        found.extend(unless_gone(record(session, memory))?);
    }
    let mut disks = Vec::new();
    for disk in found {
        if disk.is_a_snapshot && !disks.contains(&disk) {
            disks.push(disk);
        }
    }
    Ok((vm, disks))
}

/// Whether a snapshot has a memory image that is not its VM's.
fn has_own_memory(session: &Session, snapshot: &VmRecord) -> bool {
    let of = snapshot.snapshot_of.as_deref();
    let original = of.and_then(|vm| record::<VmRecord>(session, vm).ok());
    snapshot.power_state == PowerState::Suspended
        && original.is_none_or(|vm| vm.suspend_vdi != snapshot.suspend_vdi)
}

/// Destroys a disk, if its mark is good; what is gone already is gone.
///
/// # Errors
///
/// What the pool said.
pub fn remove_disk(session: &Session, disk: &str) -> Result<(), XapiError> {
    match unless_gone(record::<VdiRecord>(session, disk))? {
        Some(disk) if is_ours(disk.is_a_snapshot, &disk.uuid, &disk.other_config) => {
            destroy(session, &disk)
        }
        _ => Ok(()),
    }
}

/// Destroys a disk, unless a VM has it by now. One that a host is still about to let go is waited
/// for (contract 0.12).
///
/// # Errors
///
/// What the pool said.
pub fn destroy(session: &Session, disk: &VdiRecord) -> Result<(), XapiError> {
    let Some(disk) = unless_gone(record::<VdiRecord>(session, &disk.reference))? else {
        return Ok(());
    };
    if users_of(session, &disk)?.iter().any(|(_, is_host)| !is_host) {
        return Ok(());
    }
    done(once_free(session, &disk, "VDI.destroy"))
}

/// Calls `method` on a disk of ours that no VM has; hosts are made to let go of it.
///
/// # Errors
///
/// What the pool said.
pub fn once_free(session: &Session, disk: &VdiRecord, method: &str) -> Result<Value, XapiError> {
    let params = [Value::from(&*disk.reference)];
    session.retrying(Nature::Removes, || {
        let task = Task::start(session, "removal of a disk", method, &params)?;
        task.wait().inspect_err(|error| {
            if Failure::of(error) == Failure::DiskInUse {
                unplug(session, disk);
            }
        })
    })
}

/// The drives that a disk is in, and whether they are a host's own.
fn users_of(session: &Session, disk: &VdiRecord) -> Result<Vec<(VbdRecord, bool)>, XapiError> {
    let mut users = Vec::new();
    for vbd in &disk.vbds {
        let Some(vbd) = unless_gone(record::<VbdRecord>(session, vbd))? else {
            continue;
        };
        let Some(vm) = &vbd.vm else {
            continue;
        };
        let vm = unless_gone(record::<VmRecord>(session, vm))?;
        users.extend(vm.map(|vm| (vbd, vm.is_control_domain)));
    }
    Ok(users)
}

/// Makes hosts let go of a disk of ours. Whether they did shows when it is destroyed.
fn unplug(session: &Session, disk: &VdiRecord) {
    let current = record::<VdiRecord>(session, &disk.reference);
    let users = current.and_then(|disk| users_of(session, &disk)).unwrap_or_default();
    for (vbd, _) in users.into_iter().filter(|(_, is_host)| *is_host) {
        let params = [Value::from(&*vbd.reference)];
        let _ = task::run(session, "detachment of a disk", "VBD.unplug", &params);
        let _ = session.call_briefly("VBD.destroy", &params);
    }
}

/// What is gone is removed.
fn done(answer: Result<Value, XapiError>) -> Result<(), XapiError> {
    match answer {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}

/// Nothing if it is gone.
pub fn unless_gone<R>(answer: Result<R, XapiError>) -> Result<Option<R>, XapiError> {
    match answer {
        Err(error) if error.is_gone() => Ok(None),
        other => other.map(Some),
    }
}

/// One record.
pub fn record<R: Record>(session: &Session, reference: &str) -> Result<R, XapiError> {
    let method = format!("{}.get_record", R::CLASS);
    R::of(reference, &session.call(&method, &[Value::from(reference)])?)
}

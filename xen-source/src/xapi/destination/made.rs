//! What a restore has made, by its marks, and how it goes again.

use super::{Event, Observer};
use crate::xapi::error::XapiError;
use crate::xapi::objects::{PowerState, Record, VdiRecord, VmRecord, records};
use crate::xapi::session::Session;
use crate::xapi::snapshot::{self, MARK, set_note};
use crate::xapi::unfinished::{self, RESTORE, is_made};

/// Marks a VM or a disk as itself.
pub fn mark<R: Record>(session: &Session, reference: &str, uuid: &str) -> Result<(), XapiError> {
    set_note(session, R::CLASS, reference, MARK, uuid)
}

fn mark_all(
    session: &Session,
    mark: &str,
    vm: &VmRecord,
    disks: &[VdiRecord],
) -> Result<(), XapiError> {
    set_note(session, "VM", &vm.reference, RESTORE, mark)?;
    self::mark::<VmRecord>(session, &vm.reference, &vm.uuid)?;
    disks.iter().try_for_each(|disk| {
        set_note(session, "VDI", &disk.reference, RESTORE, mark)?;
        self::mark::<VdiRecord>(session, &disk.reference, &disk.uuid)
    })
}

/// The VMs and disks that the restore `mark` has made.
pub fn find(session: &Session, mark: &str) -> Result<(Vec<VmRecord>, Vec<VdiRecord>), XapiError> {
    let all = |class: &str| session.call(&format!("{class}.get_all_records"), &[]);
    let mut vms: Vec<VmRecord> = records(&all("VM")?)?;
    let mut disks: Vec<VdiRecord> = records(&all("VDI")?)?;
    vms.retain(|vm| !vm.is_a_snapshot && is_made(&vm.uuid, &vm.other_config, mark));
    disks.retain(|disk| !disk.is_a_snapshot && is_made(&disk.uuid, &disk.other_config, mark));
    Ok((vms, disks))
}

/// Removes all that the restore `mark` has made, and tells of it.
pub fn remove(session: &Session, mark: &str, observer: &dyn Observer) {
    let (vms, disks) = match find(session, mark) {
        Ok(found) => found,
        Err(error) => {
            let (class, uuid) = ("VM", mark.to_owned());
            return observer.event(Event::Stays { class, uuid, error });
        }
    };
    for vm in vms.into_iter().filter(|vm| vm.power_state != PowerState::Running) {
        tell(observer, "VM", &vm.uuid, snapshot::remove_vm(session, &vm));
    }
    for disk in disks {
        tell(observer, "VDI", &disk.uuid, snapshot::destroy(session, &disk));
    }
}

fn tell(observer: &dyn Observer, class: &'static str, uuid: &str, removed: Result<(), XapiError>) {
    let uuid = uuid.to_owned();
    observer.event(match removed {
        Ok(()) => Event::Removed { class, uuid },
        Err(error) => Event::Stays { class, uuid, error },
    });
}

/// Destroys the VM of this reference and its disks. They carry the marks of the restore `mark` before the first of them
/// goes, so that disks are found whose VM went before a kill. Of a VM that does not go they are taken again.
pub fn destroy_replaced(session: &Session, mark: &str, vm: &str) -> Result<(), XapiError> {
    let vm: VmRecord = snapshot::record(session, vm)?;
    let drives = snapshot::drives(session, &vm)?;
    let disks = drives.into_iter().map(|(_, disk)| disk).filter(|disk| !disk.is_sharable);
    let disks: Vec<VdiRecord> = disks.collect();
    let marked = mark_all(session, mark, &vm, &disks);
    if let Err(error) = marked.and_then(|()| snapshot::remove_vm(session, &vm)) {
        // Why it stays is worth more than that a mark does, which a clean-up takes away.
        let _ = unfinished::finish(session, &vm.reference);
        return Err(error);
    }
    let removed: Vec<_> = disks.iter().map(|disk| snapshot::destroy(session, disk)).collect();
    removed.into_iter().collect()
}

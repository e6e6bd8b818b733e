//! Which snapshot a VM of a pool was restored from, by a note on it.
//!
//! The note names the VM, too: hosts copy it to clones and snapshots, and a copy says nothing.

use super::error::XapiError;
use super::objects::VmRecord;
use super::session::Session;
use super::snapshot::set_note;

/// The key of the note: the VM's uuid, and the snapshot's id.
pub const ORIGIN: &str = "xenith-origin";

/// Notes that the VM `reference`, whose uuid is `uuid`, is whole and of the snapshot `id`.
///
/// # Errors
///
/// What the pool said.
pub fn note(session: &Session, reference: &str, uuid: &str, id: &str) -> Result<(), XapiError> {
    set_note(session, "VM", reference, ORIGIN, &format!("{uuid} {id}"))
}

/// The id of the snapshot that `vm` was restored from, if that is known.
#[must_use]
pub fn of(vm: &VmRecord) -> Option<&str> {
    let (uuid, id) = vm.other_config.get(ORIGIN)?.split_once(' ')?;
    (uuid == vm.uuid).then_some(id)
}

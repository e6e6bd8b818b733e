//! Makes disks, drives and network cards (contract 4.4, 8).

use std::collections::BTreeMap;

use super::{Card, TargetDisk};
use crate::xapi::error::XapiError;
use crate::xapi::session::{Session, reference};
use crate::xapi::unfinished::RESTORE;
use crate::xapi::value::{NULL_REF, Value};

/// A new disk, which carries the mark of its restore.
pub fn create_disk(
    session: &Session,
    target: &TargetDisk,
    mark: &str,
) -> Result<String, XapiError> {
    let disk = &target.disk;
    let size = disk.size_bytes.next_multiple_of(SECTOR_LEN).to_string();
    create(
        session,
        "VDI.create",
        [
            ("name_label", Value::from(&*disk.name)),
            ("name_description", Value::from(&*disk.description)),
            ("SR", Value::from(&*target.sr.reference)),
            ("virtual_size", Value::from(size)),
            ("type", Value::from("user")),
            ("sharable", Value::from(false)),
            ("read_only", Value::from(false)),
            ("other_config", map([(RESTORE, mark)])),
            ("xenstore_data", Value::empty_struct()),
            ("sm_config", Value::empty_struct()),
            ("tags", Value::Array(Vec::new())),
        ],
    )
}

/// Bytes of a sector; disks are whole ones.
const SECTOR_LEN: u64 = 512;

/// A drive of `vm` with the disk `vdi`, as it was.
pub fn create_drive(
    session: &Session,
    vm: &str,
    vdi: &str,
    target: &TargetDisk,
) -> Result<String, XapiError> {
    let disk = &target.disk;
    let mode = if disk.is_read_only { "RO" } else { "RW" };
    create(
        session,
        "VBD.create",
        [
            ("VM", Value::from(vm)),
            ("VDI", Value::from(vdi)),
            ("userdevice", Value::from(&*disk.userdevice)),
            ("bootable", Value::from(disk.is_bootable)),
            ("mode", Value::from(mode)),
            ("type", Value::from("Disk")),
            ("unpluggable", Value::from(true)),
            ("empty", Value::from(false)),
            ("other_config", map(pairs(&disk.drive_notes))),
            ("qos_algorithm_type", Value::from("")),
            ("qos_algorithm_params", Value::empty_struct()),
        ],
    )
}

/// A network card of `vm`.
pub fn create_card(session: &Session, vm: &str, card: &Card) -> Result<String, XapiError> {
    let stored = &card.stored;
    let mode = Some(&*stored.locking_mode).filter(|mode| !mode.is_empty());
    create(
        session,
        "VIF.create",
        [
            ("VM", Value::from(vm)),
            ("network", Value::from(&*card.network)),
            ("device", Value::from(&*stored.device)),
            ("MAC", Value::from(&*card.mac)),
            ("MTU", Value::from(stored.mtu.to_string())),
            ("locking_mode", Value::from(mode.unwrap_or("network_default"))),
            ("ipv4_allowed", texts(&stored.ipv4_allowed)),
            ("ipv6_allowed", texts(&stored.ipv6_allowed)),
            ("other_config", map(pairs(&stored.notes))),
            ("qos_algorithm_type", Value::from("")),
            ("qos_algorithm_params", Value::empty_struct()),
        ],
    )
}

fn create<const LEN: usize>(
    session: &Session,
    method: &str,
    fields: [(&str, Value); LEN],
) -> Result<String, XapiError> {
    let record = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let made = session.call(method, &[Value::Struct(record)])?;
    let made = reference(&made).filter(|made| made != NULL_REF);
    made.ok_or(XapiError::Record { field: "reference of what was made" })
}

fn texts(items: &[String]) -> Value {
    items.iter().map(|item| Value::from(&**item)).collect()
}

fn pairs(notes: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    notes.iter().map(|(key, value)| (&**key, &**value))
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let pair = |(key, value): (&str, &str)| (key.to_owned(), Value::from(value));
    Value::Struct(pairs.into_iter().map(pair).collect::<BTreeMap<_, _>>())
}

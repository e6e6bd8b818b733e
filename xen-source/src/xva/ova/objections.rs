//! What an importer would object to in a record that can be read.
//!
//! xapi: references are followed object by object; one that leads nowhere fails the whole import.

use super::tree::Value;
use super::{Lookup, OvaXml};
use crate::xva::{CHUNK_LEN, CHUNK_NUMBER_MAX};

/// Whether an import fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// On every host.
    Error,
    /// On some hosts, or not as one would expect.
    Warning,
}

/// Something that an importer would object to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and where.
    pub what: String,
}

impl Objection {
    pub(crate) fn error(what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into() }
    }

    pub(crate) fn warning(what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, what: what.into() }
    }
}

/// The version that a new XVA claims, and which every supported host takes.
const XAPI_VERSION: (u64, u64) = (1, 20);

/// Looks at the record alone.
pub fn of_record(record: &OvaXml) -> Vec<Objection> {
    let mut found = version(record);
    found.extend(references(record));
    found.extend(disks(record));
    if record.vm().is_some_and(|vm| vm.is_a_template) {
        found.push(Objection::warning("the VM is marked as a template and is imported as one"));
    }
    found
}

fn version(record: &OvaXml) -> Vec<Objection> {
    let root = Value::parse(record.text()).ok();
    let version = root.as_ref().and_then(|root| root.member("version"));
    let number = |key| {
        let text = version.and_then(|version| version.member(key)).and_then(Value::scalar);
        text.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let mut found = Vec::new();
    match (number("xapi_major"), number("xapi_minor")) {
        (Some(major), Some(minor)) if (major, minor) > XAPI_VERSION => {
            found.push(Objection::warning(format!(
                "it was made by xapi {major}.{minor}: older hosts refuse it \
                 (IMPORT_INCOMPATIBLE_VERSION)"
            )));
        }
        (Some(_), Some(_)) => {}
        _ => found.push(Objection::error("the version has no xapi_major and xapi_minor")),
    }
    let export = record.version().export_version;
    if export > 2 {
        found.push(Objection::warning(format!("export version {export} is newer than 2")));
    }
    found
}

fn references(record: &OvaXml) -> Vec<Objection> {
    let lookup = Lookup::of(&record.objects);
    let mut found = Vec::new();
    for object in &record.objects {
        let id = &object.id;
        if object.class == "VDI" && lookup.get("SR", object.text("SR")).is_none() {
            let sr = object.text("SR");
            found.push(Objection::error(format!("disk {id} lies in SR {sr}, which is missing")));
        }
        let is_disk = object.class == "VBD" && object.is("type", "Disk");
        if is_disk && lookup.get("VDI", object.text("VDI")).is_none() {
            let vdi = object.text("VDI");
            let what = format!("device {id} is a disk without a VDI ({vdi} is missing)");
            found.push(Objection::error(what));
        }
    }
    found
}

fn disks(record: &OvaXml) -> Vec<Objection> {
    let mut disks: Vec<_> = record.disks().iter().collect();
    disks.sort_by(|a, b| a.id.cmp(&b.id)); // as they are streamed
    let mut found = Vec::new();
    for disk in &disks {
        let (id, size) = (&disk.id, disk.size_bytes);
        if size > (CHUNK_NUMBER_MAX + 1) * CHUNK_LEN as u64 {
            let what = format!("disk {id} has more than 95 TiB, and chunk numbers have 8 digits");
            found.push(Objection::error(what));
        }
        if !size.is_multiple_of(512) {
            found.push(Objection::error(format!(
                "disk {id} has {size} bytes, no multiple of 512: the importer loses its way after \
                 the last chunk"
            )));
        }
    }
    let is_small = |size: u64| size < CHUNK_LEN as u64;
    if let [first, others @ ..] = disks.as_slice()
        && is_small(first.size_bytes)
        && others.iter().any(|disk| !is_small(disk.size_bytes))
    {
        found.push(Objection::warning(format!(
            "the first disk, {}, is smaller than 1 MiB: the importer takes its chunk's length for \
             that of all, and zeros left out of other disks shift what follows",
            first.id
        )));
    }
    found
}

//! A record as a pool is to get it: the VM alone, without network cards, and with a mark.
//!
//! xapi: the importer makes networks that it does not find by name, so cards are not left to it.

use super::Object;
use super::edit::Edits;
use super::tree::Value;
use crate::xva::checksum::ChecksumKind;
use quick_xml::escape::escape;

/// What a pool is to get instead of what the record says.
#[derive(Debug, Clone)]
pub struct ForPool<'a> {
    /// The VM's name.
    pub name: &'a str,
    /// The VM's uuid, if it is not that of the record.
    pub uuid: Option<&'a str>,
    /// Whether the VM is suspended; else it is off.
    pub is_suspended: bool,
    /// A note that VM and disks carry.
    pub mark: (&'a str, &'a str),
    /// The version of xapi that is claimed, if not the record's.
    pub version: Option<(u64, u64)>,
    /// Checksums that the pool knows.
    pub checksum: ChecksumKind,
    /// Keys of notes that go.
    pub dropped_notes: &'a [&'a str],
}

impl Edits<'_> {
    /// Makes the record one for a pool.
    pub fn for_pool(&mut self, wanted: &ForPool<'_>) {
        self.drop_other_vms();
        self.drop_cards();
        self.rename_vm(wanted.name);
        let record = self.record;
        let Some(vm) = record.vm() else { return };
        for object in record.objects.iter().filter(|object| object.class == "VM") {
            if object.id != vm.id {
                continue;
            }
            let state = if wanted.is_suspended { "Suspended" } else { "Halted" };
            self.set(object, "power_state", state);
            // The VM must not start by itself, nor be taken for a snapshot.
            self.set_flag(object, "ha_always_run", false);
            self.set_flag(object, "is_a_snapshot", false);
            if let Some(uuid) = wanted.uuid {
                self.set(object, "uuid", uuid);
            }
        }
        for object in &record.objects {
            if object.class == "VDI" || (object.class == "VM" && object.id == vm.id) {
                self.note(object, wanted.mark, wanted.dropped_notes);
            }
        }
        if let Some((major, minor)) = wanted.version {
            self.claim_version(major, minor);
        }
    }

    /// Removes all VMs but the one that the archive is about, and their devices.
    fn drop_other_vms(&mut self) {
        let id = self.record.vm().map_or("", |vm| &*vm.id);
        self.remove(|object| match &*object.class {
            "VM" => object.id != id,
            "VBD" | "VTPM" | "VGPU" => ["VM", "vTPM'_VM"].iter().all(|key| object.text(key) != id),
            _ => false,
        });
    }

    /// Removes network cards and networks.
    fn drop_cards(&mut self) {
        let classes = ["VIF", "network", "PVS_proxy", "PVS_site"];
        self.remove(|object| classes.contains(&&*object.class));
    }

    fn set_flag(&mut self, object: &Object, key: &str, flag: bool) {
        if let Some(value) = object.field(key) {
            let text = format!("<value><boolean>{}</boolean></value>", u8::from(flag));
            self.replace_span(value, text);
        }
    }

    /// Adds a note to `other_config`, and takes away those that are `dropped`.
    fn note(&mut self, object: &Object, (key, text): (&str, &str), dropped: &[&str]) {
        let Some(notes) = object.field("other_config") else { return };
        let mut members = String::new();
        for (name, value) in notes.members().iter().filter(|(name, _)| !dropped.contains(&&**name))
        {
            members += &member(name, &self.record.text()[value.span.clone()]);
        }
        members += &member(key, &format!("<value>{}</value>", escape(text)));
        self.replace_span(notes, format!("<value><struct>{members}</struct></value>"));
    }

    fn claim_version(&mut self, major: u64, minor: u64) {
        let root = Value::parse(self.record.text()).ok();
        for (key, number) in [("xapi_major", major), ("xapi_minor", minor)] {
            let version = root.as_ref().and_then(|root| root.member("version"));
            if let Some(value) = version.and_then(|version| version.member(key)) {
                self.replace_span(value, format!("<value>{number}</value>"));
            }
        }
    }
}

fn member(name: &str, value: &str) -> String {
    format!("<member><name>{}</name>{value}</member>", escape(name))
}

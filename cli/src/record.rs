//! The VM record of a snapshot, as it is told and compared.

use engine::source::{Content, ContentError, Role};
use serde::Serialize;
use xen_source::OvaXml;
use xen_source::xapi::metadata::form::{RECORDS_LEN_MAX, read_records};
use xen_source::xva::RECORD_LEN_MAX;
use xen_source::xva::ova::{DiskKind, VmFacts};

use crate::size;

/// A VM. Sizes are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VmRecord {
    pub name: String,
    pub uuid: String,
    pub description: String,
    pub power_state: String,
    pub memory: Option<u64>,
    pub vcpus: Option<u64>,
    pub is_a_template: bool,
    pub tags: Vec<String>,
    pub nics: Vec<Nic>,
    pub disks: Vec<VmDisk>,
    pub exported_by: Exporter,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    pub device: String,
    pub mac: String,
    pub network: String,
}

/// A disk as the VM has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmDisk {
    pub device: String,
    pub uuid: String,
    pub name: String,
    pub size: u64,
    pub bootable: bool,
    pub kind: &'static str,
}

/// The host that exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exporter {
    pub host: String,
    pub product: String,
    pub version: String,
}

/// What differs between two records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A field, or what has come or gone.
    pub field: String,
    /// Its old value; `null` if it has come.
    pub old: Option<String>,
    /// Its new value; `null` if it has gone.
    pub new: Option<String>,
}

impl VmRecord {
    /// The record of a snapshot that came in `container`; `None` if it has none.
    pub fn of(content: &dyn Content, container: &str) -> Result<Option<Self>, ContentError> {
        let invalid =
            |what: String| ContentError::Invalid { what: format!("the VM record: {what}") };
        if container == "metadata" && !content.disks().is_empty() {
            let bytes = content.read_stream(0, RECORDS_LEN_MAX)?;
            let record = read_records(&bytes).map_err(|error| invalid(error.to_string()))?;
            return Ok(record.as_ref().map(Self::from_ova));
        }
        let place = content.disks().iter().position(|disk| disk.role == Role::Record);
        let Some(place) = place else { return Ok(None) };
        let bytes = content.read_stream(place, RECORD_LEN_MAX)?;
        let text = String::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
        let record = OvaXml::parse(text).map_err(|error| invalid(error.to_string()))?;
        Ok(Some(Self::from_ova(&record)))
    }

    fn from_ova(ova: &OvaXml) -> Self {
        let vm = ova.vm().cloned().unwrap_or_default();
        let VmFacts { uuid, power_state, vcpus, tags, is_a_template, .. } = vm;
        let nics = ova.vifs().iter().map(|vif| Nic {
            device: vif.device.clone(),
            mac: vif.mac.clone(),
            network: vif.network_name.clone(),
        });
        let disks = ova.disks().iter().map(|disk| VmDisk {
            device: disk.vbd.as_ref().map(|vbd| vbd.userdevice.clone()).unwrap_or_default(),
            uuid: disk.uuid.clone(),
            name: disk.name_label.clone(),
            size: disk.size_bytes,
            bootable: disk.vbd.as_ref().is_some_and(|vbd| vbd.bootable),
            kind: match disk.kind {
                DiskKind::User => "disk",
                DiskKind::Suspend => "memory",
            },
        });
        let version = ova.version();
        Self {
            name: vm.name_label,
            uuid,
            description: vm.name_description,
            power_state,
            memory: vm.memory_bytes,
            vcpus,
            is_a_template,
            tags,
            nics: nics.collect(),
            disks: disks.collect(),
            exported_by: Exporter {
                host: version.hostname.clone(),
                product: version.product_brand.clone(),
                version: version.product_version.clone(),
            },
        }
    }

    /// What has changed since `old`, field by field.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut compare = |field: &str, old: Option<String>, new: Option<String>| {
            if old != new {
                changes.push(Change { field: field.to_owned(), old, new });
            }
        };
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        compare("name", Some(old.name.clone()), Some(self.name.clone()));
        compare("description", Some(old.description.clone()), Some(self.description.clone()));
        compare("power_state", Some(old.power_state.clone()), Some(self.power_state.clone()));
        compare("memory", old.memory.map(size::bytes), self.memory.map(size::bytes));
        compare("vcpus", number(old.vcpus), number(self.vcpus));
        compare_lists("tag", &old.tags, &self.tags, |tag| (tag.clone(), tag.clone()), &mut changes);
        compare_lists("nic", &old.nics, &self.nics, Nic::told, &mut changes);
        compare_lists("disk", &old.disks, &self.disks, VmDisk::told, &mut changes);
        changes
    }
}

/// What has come, gone or changed in a list whose items are told as (what they are, how they are).
fn compare_lists<T>(
    noun: &str,
    old: &[T],
    new: &[T],
    told: impl Fn(&T) -> (String, String),
    changes: &mut Vec<Change>,
) {
    let (old, new): (Vec<_>, Vec<_>) =
        (old.iter().map(&told).collect(), new.iter().map(&told).collect());
    for (key, was) in &old {
        let is = new.iter().find(|(found, _)| found == key).map(|(_, is)| is);
        if is != Some(was) {
            let field = if key == was { noun.to_owned() } else { format!("{noun} {key}") };
            changes.push(Change { field, old: Some(was.clone()), new: is.cloned() });
        }
    }
    for (key, is) in &new {
        if !old.iter().any(|(found, _)| found == key) {
            let field = if key == is { noun.to_owned() } else { format!("{noun} {key}") };
            changes.push(Change { field, old: None, new: Some(is.clone()) });
        }
    }
}

impl Nic {
    fn told(&self) -> (String, String) {
        (self.device.clone(), format!("{} on {}", self.mac, self.network))
    }
}

impl VmDisk {
    fn told(&self) -> (String, String) {
        let bootable = if self.bootable { ", bootable" } else { "" };
        let how = format!("{} ({}, {}{bootable})", self.name, size::bytes(self.size), self.uuid);
        (self.device.clone(), how)
    }
}

impl Change {
    /// `memory  8.0 GiB -> 12.0 GiB`, `+ tag web`, `- nic 1  ...`.
    pub fn text(&self) -> String {
        let Self { field, old, new } = self;
        match (old, new) {
            (Some(old), Some(new)) => format!("{field}  {old} -> {new}"),
            (None, Some(new)) => format!("+ {field}  {new}"),
            (Some(old), None) => format!("- {field}  {old}"),
            (None, None) => field.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_field_by_field() {
        let nic = |mac: &str| Nic { device: "0".into(), mac: mac.into(), network: "lan".into() };
        let old = VmRecord {
            memory: Some(8 << 30),
            tags: vec!["db".into()],
            nics: vec![nic("02:00")],
            ..VmRecord::default()
        };
        let new = VmRecord {
            memory: Some(12 << 30),
            tags: vec!["db".into(), "web".into()],
            nics: vec![nic("02:01")],
            ..VmRecord::default()
        };
        let told: Vec<_> = new.changes_since(&old).iter().map(Change::text).collect();
        let expected =
            ["memory  8.0 GiB -> 12.0 GiB", "+ tag  web", "nic 0  02:00 on lan -> 02:01 on lan"];
        assert_eq!(told, expected);
        assert_eq!(new.changes_since(&new), []);
    }
}

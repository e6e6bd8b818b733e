//! The VM record, `ova.xml`: what an XVA says about its VM, and which disks it must hold.
//!
//! ```text
//! { version: { hostname, .., export_vsn },
//!   objects: [ { class: "VM", id: "Ref:0", snapshot: { uuid, name_label, .. } }, .. ] }
//! ```
//!
//! Objects refer to each other by id. xapi: the exporter also numbers null references, so an id
//! that no object has is null.

pub mod edit;
pub mod for_pool;
pub mod fresh;
pub mod objections;
pub mod seed;
pub mod tree;

use std::collections::HashMap;

use super::{DISK_LEN_MAX, DISKS_MAX, ID_LEN_MAX};
use tree::{TreeError, Value};

/// The name of the record's member, always the first.
pub const MEMBER_NAME: &str = "ova.xml";
/// A reference to nothing.
const NULL_REF: &str = "OpaqueRef:NULL";
/// The lowest `export_vsn` that is read: every chunk has its checksum behind it.
const EXPORT_VERSION_MIN: u64 = 2;

/// A parsed record. The text is kept as it came.
#[derive(Debug, Clone)]
pub struct OvaXml {
    text: String,
    version: VersionFacts,
    objects: Vec<Object>,
    vms: Vec<VmFacts>,
    disks: Vec<DiskFacts>,
    vifs: Vec<VifFacts>,
}

/// Who wrote the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionFacts {
    /// Name of the host.
    pub hostname: String,
    /// Product, such as `XCP-ng`.
    pub product_brand: String,
    /// Its version, such as `8.3.0`.
    pub product_version: String,
    /// Form of the archive; 2 since 2007.
    pub export_version: u64,
    /// xapi's version, major and minor.
    pub xapi: Option<(u64, u64)>,
}

/// A VM of the archive. Archives with snapshots hold several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmFacts {
    /// Reference within the archive.
    pub id: String,
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name_label: String,
    /// Its description.
    pub name_description: String,
    /// `Halted`, `Paused`, `Running` or `Suspended`.
    pub power_state: String,
    /// Most memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Most virtual processors.
    pub vcpus: Option<u64>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it would be imported as a template.
    pub is_a_template: bool,
    /// Whether it is a snapshot of another VM.
    pub is_a_snapshot: bool,
    /// When it starts among the VMs of its vApp.
    pub start: StartFacts,
    /// Reference of its memory image.
    pub memory_disk: String,
    /// The seed of its network addresses.
    pub mac_seed: Option<String>,
}

/// When a VM starts among those of its vApp, as its record tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartFacts {
    /// The vApp, by the reference that it had on its pool. Records of snapshots lack it.
    pub vapp: Option<String>,
    /// VMs of a lower order start before.
    pub order: u64,
    /// Seconds until those of the next order start.
    pub start_delay_secs: u64,
    /// Memory that it needs to start, in bytes: what it may have, and what the host has to keep
    /// for it.
    pub memory_bytes: u64,
}

/// What a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// A disk that the VM sees.
    User,
    /// The memory of a suspended VM.
    Suspend,
}

/// A disk whose data must be in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// Reference within the archive; names of members begin with it.
    pub id: String,
    /// The VDI's uuid.
    pub uuid: String,
    /// The VDI's name.
    pub name_label: String,
    /// The VDI's description.
    pub name_description: String,
    /// Virtual size in bytes; at most [`DISK_LEN_MAX`].
    pub size_bytes: u64,
    /// What it is for.
    pub kind: DiskKind,
    /// How the VM sees it: the VBD of the first VM that has one.
    pub vbd: Option<VbdFacts>,
}

/// A block device of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VbdFacts {
    /// Reference within the archive.
    pub id: String,
    /// Its place: a number for `xvda` and on.
    pub userdevice: String,
    /// Whether the VM boots from it.
    pub bootable: bool,
    /// Reference of the VM.
    pub vm: String,
    /// Whether the VM may only read it.
    pub is_read_only: bool,
    /// Notes of programs.
    pub notes: Vec<(String, String)>,
}

/// A network card of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VifFacts {
    /// Its place: a number.
    pub device: String,
    /// Its address.
    pub mac: String,
    /// The name of its network; empty when unknown.
    pub network_name: String,
    /// The uuid of its network; empty when unknown.
    pub network_uuid: String,
    /// Reference of its VM.
    pub vm: String,
    /// Longest packet, in bytes.
    pub mtu: Option<u64>,
    /// Such as `network_default`.
    pub locking_mode: String,
    /// Addresses that it may use when locked.
    pub ipv4_allowed: Vec<String>,
    /// The same of IPv6.
    pub ipv6_allowed: Vec<String>,
    /// Notes of programs.
    pub notes: Vec<(String, String)>,
}

/// An object and its record, with their places in the text.
#[derive(Debug, Clone)]
struct Object {
    class: String,
    id: String,
    value: Value,
}

/// Why a text is not the record of an XVA.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OvaError {
    /// It is not an XML-RPC value.
    #[error("the record does not parse: {0}")]
    Tree(#[from] TreeError),
    /// It is one, but something is missing in it or cannot be.
    #[error("{what}")]
    Content {
        /// What is wrong.
        what: String,
    },
}

impl OvaXml {
    /// Parses a text that may be anything, of bounded size.
    pub fn parse(text: String) -> Result<Self, OvaError> {
        let root = Value::parse(&text)?;
        let version = version_facts(&root)?;
        let list = root.member("objects").ok_or_else(|| wrong("the record has no objects"))?;
        let objects: Vec<Object> = list.items().iter().filter_map(Object::of).collect();
        let lookup = Lookup::of(&objects);
        let vms = primary_first(objects.iter().filter(|object| object.class == "VM").map(vm_facts));
        let disks = disk_facts(&objects, &lookup, &vms)?;
        let vifs = lookup.vifs(&objects);
        Ok(Self { text, version, objects, vms, disks, vifs })
    }

    /// The text, byte by byte as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Who wrote the archive.
    pub fn version(&self) -> &VersionFacts {
        &self.version
    }

    /// The VM that the archive is about: the first that is not a snapshot, or the first.
    pub fn vm(&self) -> Option<&VmFacts> {
        self.vms.first()
    }

    /// The disks whose data must be in the archive, in the order of the record.
    pub fn disks(&self) -> &[DiskFacts] {
        &self.disks
    }

    /// The network cards, in the order of the record.
    pub fn vifs(&self) -> &[VifFacts] {
        &self.vifs
    }
}

impl Object {
    fn of(value: &Value) -> Option<Self> {
        let class = value.member("class")?.scalar()?.to_owned();
        let id = value.member("id")?.scalar()?.to_owned();
        Some(Self { class, id, value: value.clone() })
    }

    /// A field of the object's record.
    fn field(&self, key: &str) -> Option<&Value> {
        self.value.member("snapshot")?.member(key)
    }

    /// A field as text; empty if it is missing.
    fn text(&self, key: &str) -> &str {
        self.field(key).and_then(Value::scalar).unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key).trim().parse().ok()
    }

    fn flag(&self, key: &str) -> bool {
        self.text(key) == "1"
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let items = self.field(key).map(Value::items).unwrap_or_default();
        items.iter().filter_map(Value::scalar).map(str::to_owned).collect()
    }

    /// `other_config`.
    fn notes(&self) -> Vec<(String, String)> {
        let notes = self.field("other_config").map(Value::members).unwrap_or_default();
        let note = |(key, value): &(String, Value)| Some((key.clone(), value.scalar()?.to_owned()));
        notes.iter().filter_map(note).collect()
    }

    /// xapi: enums are compared without regard to case.
    fn is(&self, key: &str, value: &str) -> bool {
        self.text(key).eq_ignore_ascii_case(value)
    }
}

/// Objects by class and id.
struct Lookup<'a>(HashMap<(&'a str, &'a str), &'a Object>);

impl<'a> Lookup<'a> {
    fn of(objects: &'a [Object]) -> Self {
        Self(objects.iter().map(|object| ((&*object.class, &*object.id), object)).collect())
    }

    fn get(&self, class: &'a str, id: &'a str) -> Option<&'a Object> {
        self.0.get(&(class, id)).copied()
    }

    fn vifs(&self, objects: &'a [Object]) -> Vec<VifFacts> {
        let facts = |vif: &'a Object| {
            let network = self.get("network", vif.text("network"));
            let of_network = |key| network.map_or("", |network| network.text(key)).to_owned();
            VifFacts {
                device: vif.text("device").to_owned(),
                mac: vif.text("MAC").to_owned(),
                network_name: of_network("name_label"),
                network_uuid: of_network("uuid"),
                vm: vif.text("VM").to_owned(),
                mtu: vif.number("MTU"),
                locking_mode: vif.text("locking_mode").to_owned(),
                ipv4_allowed: vif.texts("ipv4_allowed"),
                ipv6_allowed: vif.texts("ipv6_allowed"),
                notes: vif.notes(),
            }
        };
        objects.iter().filter(|object| object.class == "VIF").map(facts).collect()
    }
}

fn wrong(what: impl Into<String>) -> OvaError {
    OvaError::Content { what: what.into() }
}

fn version_facts(root: &Value) -> Result<VersionFacts, OvaError> {
    let version = root.member("version").ok_or_else(|| wrong("the record has no version"))?;
    let text = |key| version.member(key).and_then(Value::scalar).unwrap_or_default();
    let export_version = text("export_vsn").trim().parse().unwrap_or(0);
    if export_version < EXPORT_VERSION_MIN {
        return Err(wrong(format!(
            "export version {export_version} is older than XenServer 4.1, and is not read"
        )));
    }
    Ok(VersionFacts {
        hostname: text("hostname").to_owned(),
        product_brand: text("product_brand").to_owned(),
        product_version: text("product_version").to_owned(),
        export_version,
        xapi: text("xapi_major").trim().parse().ok().zip(text("xapi_minor").trim().parse().ok()),
    })
}

fn vm_facts(vm: &Object) -> VmFacts {
    VmFacts {
        id: vm.id.clone(),
        uuid: vm.text("uuid").to_owned(),
        name_label: vm.text("name_label").to_owned(),
        name_description: vm.text("name_description").to_owned(),
        power_state: vm.text("power_state").to_owned(),
        memory_bytes: vm.number("memory_static_max"),
        vcpus: vm.number("VCPUs_max"),
        tags: vm.texts("tags"),
        is_a_template: vm.flag("is_a_template"),
        is_a_snapshot: vm.flag("is_a_snapshot"),
        start: start_facts(vm),
        memory_disk: vm.text("suspend_VDI").to_owned(),
        mac_seed: vm.notes().into_iter().find(|(key, _)| key == "mac_seed").map(|(_, seed)| seed),
    }
}

fn start_facts(vm: &Object) -> StartFacts {
    let memory = vm.number("memory_dynamic_max").filter(|bytes| *bytes > 0);
    let memory = memory.or_else(|| vm.number("memory_static_max")).unwrap_or(0);
    let vapp = Some(vm.text("appliance")).filter(|text| !text.is_empty() && *text != NULL_REF);
    StartFacts {
        vapp: vapp.map(str::to_owned),
        order: vm.number("order").unwrap_or(0),
        start_delay_secs: vm.number("start_delay").unwrap_or(0),
        memory_bytes: memory.saturating_add(vm.number("memory_overhead").unwrap_or(0)),
    }
}

fn primary_first(vms: impl Iterator<Item = VmFacts>) -> Vec<VmFacts> {
    let mut vms: Vec<VmFacts> = vms.collect();
    vms.sort_by_key(|vm| vm.is_a_snapshot); // stable
    vms
}

/// xapi: data is due for every VDI that a VBD other than a CD refers to, unless it lies in an ISO
/// library, and for every suspend image.
fn disk_facts(
    objects: &[Object],
    lookup: &Lookup<'_>,
    vms: &[VmFacts],
) -> Result<Vec<DiskFacts>, OvaError> {
    let vbds = vbds_by_vdi(objects, vms);
    let mut disks = Vec::new();
    for vdi in objects.iter().filter(|object| object.class == "VDI") {
        let is_suspend = vdi.is("type", "suspend");
        let in_library =
            lookup.get("SR", vdi.text("SR")).is_some_and(|sr| sr.is("content_type", "iso"));
        let vbd = vbds.get(&*vdi.id);
        if !is_suspend && (vbd.is_none() || in_library) {
            continue;
        }
        disks.push(DiskFacts {
            id: disk_id(vdi)?,
            uuid: vdi.text("uuid").to_owned(),
            name_label: vdi.text("name_label").to_owned(),
            name_description: vdi.text("name_description").to_owned(),
            size_bytes: disk_size(vdi)?,
            kind: if is_suspend { DiskKind::Suspend } else { DiskKind::User },
            vbd: vbd.map(|vbd| VbdFacts {
                id: vbd.id.clone(),
                userdevice: vbd.text("userdevice").to_owned(),
                bootable: vbd.flag("bootable"),
                vm: vbd.text("VM").to_owned(),
                is_read_only: vbd.is("mode", "RO"),
                notes: vbd.notes(),
            }),
        });
    }
    check_ids(&disks)?;
    Ok(disks)
}

/// For each VDI the VBD, not a CD, that names it; that of the primary VM if it has one.
fn vbds_by_vdi<'a>(objects: &'a [Object], vms: &[VmFacts]) -> HashMap<&'a str, &'a Object> {
    let primary = vms.first().map_or("", |vm| &vm.id);
    let mut found: HashMap<&str, &Object> = HashMap::new();
    for vbd in objects.iter().filter(|object| object.class == "VBD" && !object.is("type", "CD")) {
        let entry = found.entry(vbd.text("VDI")).or_insert(vbd);
        if entry.text("VM") != primary && vbd.text("VM") == primary {
            *entry = vbd;
        }
    }
    found
}

fn disk_id(vdi: &Object) -> Result<String, OvaError> {
    let id = &vdi.id;
    if id.is_empty() || id.len() > ID_LEN_MAX || id.contains(char::is_control) {
        return Err(wrong(format!("{id:?} cannot be the id of a disk")));
    }
    Ok(id.clone())
}

fn disk_size(vdi: &Object) -> Result<u64, OvaError> {
    vdi.number("virtual_size")
        .filter(|size| *size <= DISK_LEN_MAX)
        .ok_or_else(|| wrong(format!("disk {} has no possible virtual_size", vdi.id)))
}

/// Ids must tell disks apart.
fn check_ids(disks: &[DiskFacts]) -> Result<(), OvaError> {
    let mut ids: Vec<&str> = disks.iter().map(|disk| &*disk.id).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong(format!("two disks have the id {}", pair[0])));
    }
    if disks.len() > DISKS_MAX {
        return Err(wrong(format!("{} disks are too many", disks.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Records of a pool, reduced to what the tool needs (contract 3.9, 8).
//!
//! Fields that we do not know are passed over. Of those that we know only the uuid must be there;
//! others have the value that hosts give them by default, since older hosts lack some.

use std::collections::BTreeMap;

use super::error::XapiError;
use super::value::{NULL_REF, Value};

/// A class of records.
pub trait Record: Sized {
    /// What the pool calls the class.
    const CLASS: &'static str;

    /// Takes what is needed out of `record`, whose reference is `reference`.
    fn of(reference: &str, record: &Value) -> Result<Self, XapiError>;
}

/// All records of a class, as `get_all_records` answers.
pub fn records<R: Record>(all: &Value) -> Result<Vec<R>, XapiError> {
    let members = all.members().ok_or(XapiError::Record { field: "records" })?;
    members.iter().map(|(reference, record)| R::of(reference, record)).collect()
}

/// Whether a VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Off.
    Halted,
    /// Its processors are stopped.
    Paused,
    /// On.
    Running,
    /// Its memory lies on a disk.
    Suspended,
    /// Something newer.
    Other,
}

impl PowerState {
    fn of(text: &str) -> Self {
        match text {
            "Halted" => Self::Halted,
            "Paused" => Self::Paused,
            "Running" => Self::Running,
            "Suspended" => Self::Suspended,
            _ => Self::Other,
        }
    }
}

/// A VM, a VM snapshot or a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmRecord {
    /// Names it until xapi restarts.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// What people say about it.
    pub description: String,
    /// Labels that people gave it.
    pub tags: Vec<String>,
    /// Whether it runs.
    pub power_state: PowerState,
    /// Of a snapshot: whether its VM ran.
    pub state_when_taken: Option<PowerState>,
    /// Templates and snapshots.
    pub is_a_template: bool,
    /// A template that came with the product.
    pub is_default_template: bool,
    /// A VM snapshot.
    pub is_a_snapshot: bool,
    /// A host's own domain.
    pub is_control_domain: bool,
    /// Of which VM it is a snapshot.
    pub snapshot_of: Option<String>,
    /// When it was taken; meaningful for snapshots.
    pub snapshot_time: String,
    /// Notes of programs.
    pub other_config: BTreeMap<String, String>,
    /// Its drives.
    pub vbds: Vec<String>,
    /// Its memory image.
    pub suspend_vdi: Option<String>,
    /// What is being done with it.
    pub current_operations: Vec<String>,
}

impl Record for VmRecord {
    const CLASS: &'static str = "VM";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        let taken_of = fields.map("snapshot_info").remove("power-state-at-snapshot");
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("VM.uuid")?,
            name: fields.text("name_label"),
            description: fields.text("name_description"),
            tags: fields.texts("tags"),
            power_state: PowerState::of(&fields.text("power_state")),
            state_when_taken: taken_of.as_deref().map(PowerState::of),
            is_a_template: fields.flag("is_a_template"),
            is_default_template: fields.flag("is_default_template"),
            is_a_snapshot: fields.flag("is_a_snapshot"),
            is_control_domain: fields.flag("is_control_domain"),
            snapshot_of: fields.reference("snapshot_of"),
            snapshot_time: fields.text("snapshot_time"),
            other_config: fields.map("other_config"),
            vbds: fields.texts("VBDs"),
            suspend_vdi: fields.reference("suspend_VDI"),
            current_operations: fields.map("current_operations").into_values().collect(),
        })
    }
}

/// A drive: what joins a VM and a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VbdRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// Whose it is.
    pub vm: Option<String>,
    /// The disk in it.
    pub vdi: Option<String>,
    /// Whether it is for disks, and not for CDs.
    pub is_disk: bool,
    /// Its place among the drives.
    pub userdevice: String,
    /// Whether the VM sees it now.
    pub is_attached: bool,
}

impl Record for VbdRecord {
    const CLASS: &'static str = "VBD";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("VBD.uuid")?,
            vm: fields.reference("VM"),
            vdi: fields.reference("VDI").filter(|_| !fields.flag("empty")),
            is_disk: fields.text("type").eq_ignore_ascii_case("disk"),
            userdevice: fields.text("userdevice"),
            is_attached: fields.flag("currently_attached"),
        })
    }
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VifRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// Whose it is.
    pub vm: Option<String>,
    /// What it is joined to.
    pub network: Option<String>,
    /// Its address.
    pub mac: String,
}

impl Record for VifRecord {
    const CLASS: &'static str = "VIF";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("VIF.uuid")?,
            vm: fields.reference("VM"),
            network: fields.reference("network"),
            mac: fields.text("MAC"),
        })
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VdiRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// Where it lies.
    pub sr: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What it takes on its SR, in bytes.
    pub used_bytes: u64,
    /// Such as `user`.
    pub kind: String,
    /// A snapshot of a disk.
    pub is_a_snapshot: bool,
    /// Of which disk.
    pub snapshot_of: Option<String>,
    /// When it was taken; meaningful for snapshots.
    pub snapshot_time: String,
    /// Whether several VMs may have it at once.
    pub is_sharable: bool,
    /// Whether it forgets at every start of its VM.
    pub is_reset_on_boot: bool,
    /// Whether changed blocks are tracked.
    pub has_cbt: bool,
    /// Notes of programs.
    pub other_config: BTreeMap<String, String>,
    /// The drives it is in.
    pub vbds: Vec<String>,
}

impl Record for VdiRecord {
    const CLASS: &'static str = "VDI";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("VDI.uuid")?,
            name: fields.text("name_label"),
            sr: fields.reference("SR"),
            size_bytes: fields.count("virtual_size"),
            used_bytes: fields.count("physical_utilisation"),
            kind: fields.text("type"),
            is_a_snapshot: fields.flag("is_a_snapshot"),
            snapshot_of: fields.reference("snapshot_of"),
            snapshot_time: fields.text("snapshot_time"),
            is_sharable: fields.flag("sharable"),
            is_reset_on_boot: fields.text("on_boot") == "reset",
            has_cbt: fields.flag("cbt_enabled"),
            other_config: fields.map("other_config"),
            vbds: fields.texts("VBDs"),
        })
    }
}

/// A storage repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// Such as `ext`.
    pub kind: String,
    /// `iso` for CDs.
    pub content_type: String,
    /// Whether all hosts see it.
    pub is_shared: bool,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What is taken, in bytes.
    pub used_bytes: u64,
    /// What joins it to hosts.
    pub pbds: Vec<String>,
    /// Whether its disks are VHDs, if it tells.
    pub uses_vhd: Option<bool>,
}

impl Record for SrRecord {
    const CLASS: &'static str = "SR";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("SR.uuid")?,
            name: fields.text("name_label"),
            kind: fields.text("type"),
            content_type: fields.text("content_type"),
            is_shared: fields.flag("shared"),
            size_bytes: fields.count("physical_size"),
            used_bytes: fields.count("physical_utilisation"),
            pbds: fields.texts("PBDs"),
            uses_vhd: fields.map("sm_config").get("use_vhd").map(|text| text == "true"),
        })
    }
}

/// What joins a storage repository and a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbdRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// The host.
    pub host: Option<String>,
    /// The storage.
    pub sr: Option<String>,
    /// Whether the host has the storage now.
    pub is_attached: bool,
}

impl Record for PbdRecord {
    const CLASS: &'static str = "PBD";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("PBD.uuid")?,
            host: fields.reference("host"),
            sr: fields.reference("SR"),
            is_attached: fields.flag("currently_attached"),
        })
    }
}

/// A task of anybody.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What it is to do.
    pub label: String,
    /// Whether it has not ended.
    pub is_pending: bool,
    /// From 0 to 1.
    pub progress: f64,
    /// When it was made.
    pub created: String,
}

impl Record for TaskRecord {
    const CLASS: &'static str = "task";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        let status = fields.text("status").to_ascii_lowercase();
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("task.uuid")?,
            label: fields.text("name_label"),
            is_pending: !["success", "failure", "cancelled"].contains(&&*status),
            progress: record.get("progress").and_then(Value::double).unwrap_or(0.0),
            created: fields.text("created"),
        })
    }
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// Where it is managed.
    pub address: String,
    /// Versions of its software by name, such as `xapi`.
    pub versions: BTreeMap<String, String>,
}

impl Record for HostRecord {
    const CLASS: &'static str = "host";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("host.uuid")?,
            name: fields.text("name_label"),
            address: fields.text("address"),
            versions: fields.map("software_version"),
        })
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it; often empty.
    pub name: String,
    /// Its coordinator.
    pub coordinator: Option<String>,
    /// Where new disks go.
    pub default_sr: Option<String>,
    /// Notes of programs.
    pub other_config: BTreeMap<String, String>,
}

impl Record for PoolRecord {
    const CLASS: &'static str = "pool";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("pool.uuid")?,
            name: fields.text("name_label"),
            coordinator: fields.reference("master"),
            default_sr: fields.reference("default_SR"),
            other_config: fields.map("other_config"),
        })
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRecord {
    /// Names it.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// What hosts call it.
    pub bridge: String,
    /// What it is for, such as `nbd`.
    pub purposes: Vec<String>,
}

impl Record for NetworkRecord {
    const CLASS: &'static str = "network";

    fn of(reference: &str, record: &Value) -> Result<Self, XapiError> {
        let fields = Fields(record);
        Ok(Self {
            reference: reference.to_owned(),
            uuid: fields.uuid("network.uuid")?,
            name: fields.text("name_label"),
            bridge: fields.text("bridge"),
            purposes: fields.texts("purpose"),
        })
    }
}

/// The fields of a record that may be anything.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn uuid(&self, field: &'static str) -> Result<String, XapiError> {
        let uuid = self.text("uuid");
        if uuid.is_empty() { Err(XapiError::Record { field }) } else { Ok(uuid) }
    }

    fn text(&self, key: &str) -> String {
        self.0.get(key).and_then(Value::text).unwrap_or_default().to_owned()
    }

    /// Null references come in two forms (contract 1.2).
    fn reference(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty() && text != NULL_REF)
    }

    fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::bool).unwrap_or(false)
    }

    fn count(&self, key: &str) -> u64 {
        let number = self.0.get(key).and_then(Value::int);
        number.and_then(|number| number.try_into().ok()).unwrap_or(0)
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let items = self.0.get(key).map(Value::items).unwrap_or_default();
        items.iter().filter_map(Value::text).map(str::to_owned).collect()
    }

    fn map(&self, key: &str) -> BTreeMap<String, String> {
        let members = self.0.get(key).and_then(Value::members).into_iter().flatten();
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.text()?.to_owned()));
        members.filter_map(text).collect()
    }
}

#[cfg(test)]
mod tests;

//! What a dump of a pool's database says about what a restore of it depends on (contract 7).
//!
//! ```text
//! <?xml..?><database>
//!   <manifest><pair key="schema_major_vsn" value="5"/>..</manifest>
//!   <table name="host"><row ref="OpaqueRef:1" uuid=".." name__label="xs1"/>..</table>..
//! </database>
//! ```
//!
//! A dump may be large and is read once, as it passes: tag by tag, of which one at a time is in
//! memory. Most of its rows, and all that it holds of passwords, are passed over.

use std::collections::BTreeMap;

use quick_xml::events::BytesStart;

use crate::xapi::fail_over::VApp;

/// Longest tag that is read, in bytes: a row with the contents of a TPM.
const TAG_LEN_MAX: usize = 16 << 20;
/// Most bytes of fields that are kept of a dump.
const KEPT_LEN_MAX: usize = 64 << 20;
/// Most fields that a row has.
const FIELDS_MAX: usize = 4096;

/// What is needed of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolDump {
    /// Version of its schema: major and minor.
    pub schema: Option<(u64, u64)>,
    /// The pool's uuid.
    pub uuid: String,
    /// What people call it; often empty.
    pub name: String,
    /// The hosts, the coordinator first.
    pub hosts: Vec<DumpedHost>,
    /// Network cards and what is made of them.
    pub pifs: Vec<Pif>,
    /// Storage repositories.
    pub srs: Vec<DumpedSr>,
    /// VMs: no templates, no snapshots, no control domains.
    pub vms: Vec<DumpedVm>,
    /// vApps, with the uuids of their VMs.
    pub vapps: Vec<VApp>,
    /// Reference of the host that led the pool.
    pub coordinator_reference: String,
}

/// A host of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpedHost {
    /// Names it in the database.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// Where it was managed.
    pub address: String,
}

/// A network interface of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pif {
    /// The host's reference.
    pub host: String,
    /// Such as `eth0`.
    pub device: String,
    /// Its address, such as `00:16:3e:00:00:01`.
    pub mac: String,
    /// A card, and not a VLAN or bond on top of cards.
    pub is_physical: bool,
    /// Whether the host is managed by it.
    pub is_management: bool,
}

/// A storage repository of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpedSr {
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// Such as `nfs`.
    pub kind: String,
    /// Whether all hosts see it.
    pub is_shared: bool,
}

/// A VM of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpedVm {
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
    /// Whether its memory lay on a disk.
    pub is_suspended: bool,
}

/// A dump that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be read at byte {offset}: {what}")]
pub struct DumpError {
    /// Where, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// Reads a dump as it passes.
#[derive(Debug, Default)]
pub struct DumpReader {
    found: PoolDump,
    table: String,
    /// The tag that has begun, without its `<`.
    tag: Vec<u8>,
    state: State,
    offset: u64,
    kept_len: usize,
    has_ended: bool,
    /// References of vApps and uuids of VMs that are in them.
    members: Vec<(String, String)>,
}

/// Where in the text the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Outside,
    Tag,
    /// Inside a value, which ends with this quote.
    Quoted(u8),
}

impl DumpReader {
    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// [`DumpError`] if they are no dump.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        for byte in bytes {
            self.offset += 1;
            self.state = match (self.state, byte) {
                (State::Outside, b'<') => State::Tag,
                (State::Outside, _) => State::Outside,
                (State::Tag, b'>') => {
                    let tag = std::mem::take(&mut self.tag);
                    self.tag(&tag)?;
                    self.tag = tag; // its memory serves the next one
                    self.tag.clear();
                    State::Outside
                }
                (State::Tag, b'"' | b'\'') => self.push(*byte, State::Quoted(*byte))?,
                (State::Quoted(quote), _) if *byte == quote => self.push(*byte, State::Tag)?,
                (state, _) => self.push(*byte, state)?,
            };
        }
        Ok(())
    }

    /// What the dump says, which has ended.
    ///
    /// # Errors
    ///
    /// [`DumpError`] if it has not, or says nothing of a pool and its hosts.
    pub fn end(mut self) -> Result<PoolDump, DumpError> {
        if !self.has_ended {
            return Err(self.wrong("it ends before its end"));
        }
        if self.found.uuid.is_empty() || self.found.hosts.is_empty() {
            return Err(self.wrong("it names no pool or no hosts"));
        }
        let coordinator = std::mem::take(&mut self.found.coordinator_reference);
        self.found.hosts.sort_by(|a, b| {
            let order = |host: &DumpedHost| (host.reference != coordinator, host.name.clone());
            order(a).cmp(&order(b))
        });
        self.found.coordinator_reference = coordinator;
        for vapp in &mut self.found.vapps {
            let members = self.members.iter().filter(|(own, _)| *own == vapp.reference);
            vapp.members = members.map(|(_, vm)| vm.clone()).collect();
        }
        Ok(self.found)
    }

    fn push(&mut self, byte: u8, next: State) -> Result<State, DumpError> {
        if self.tag.len() >= TAG_LEN_MAX {
            return Err(self.wrong("a row is too long"));
        }
        self.tag.push(byte);
        Ok(next)
    }

    fn wrong(&self, what: &'static str) -> DumpError {
        DumpError { offset: self.offset, what }
    }

    /// A whole tag, without its brackets.
    fn tag(&mut self, tag: &[u8]) -> Result<(), DumpError> {
        if tag.starts_with(b"/") {
            self.has_ended |= tag == b"/database";
            return Ok(());
        }
        if tag.starts_with(b"?") || tag.starts_with(b"!") {
            return Ok(());
        }
        let text = std::str::from_utf8(tag).map_err(|_| self.wrong("it is no text in UTF-8"))?;
        let text = text.strip_suffix('/').unwrap_or(text);
        let name_len = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
        let is_needed = match &text[..name_len] {
            "table" | "pair" => true,
            "row" => ["pool", "host", "PIF", "SR", "VM", "VM_appliance"].contains(&&*self.table),
            _ => false,
        };
        if !is_needed {
            return Ok(());
        }
        let row = Row::of(text, name_len).map_err(|what| self.wrong(what))?;
        match &text[..name_len] {
            "table" => self.table = row.text("name"),
            "pair" => self.pair(&row),
            _ => self.row(&row),
        }
        match self.kept_len > KEPT_LEN_MAX {
            true => Err(self.wrong("it has too many rows")),
            false => Ok(()),
        }
    }

    fn pair(&mut self, pair: &Row) {
        let number = pair.text("value").parse().unwrap_or(0);
        let (major, minor) = self.found.schema.unwrap_or_default();
        match pair.text("key").as_str() {
            "schema_major_vsn" => self.found.schema = Some((number, minor)),
            "schema_minor_vsn" => self.found.schema = Some((major, number)),
            _ => {}
        }
    }

    fn row(&mut self, row: &Row) {
        let (uuid, name) = (row.text("uuid"), row.text("name_label"));
        self.kept_len += uuid.len() + name.len() + 128; // 128: what a row takes besides
        match self.table.as_str() {
            "pool" => {
                (self.found.uuid, self.found.name) = (uuid, name);
                self.found.coordinator_reference = row.text("master");
            }
            "host" => {
                let (reference, address) = (row.text("ref"), row.text("address"));
                self.kept_len += reference.len() + address.len();
                self.found.hosts.push(DumpedHost { reference, uuid, name, address });
            }
            "PIF" => {
                let (host, device, mac) = (row.text("host"), row.text("device"), row.text("MAC"));
                let is_physical = row.flag("physical");
                self.kept_len += host.len() + device.len() + mac.len();
                let is_management = row.flag("management");
                self.found.pifs.push(Pif { host, device, mac, is_physical, is_management });
            }
            "SR" => {
                let (kind, is_shared) = (row.text("type"), row.flag("shared"));
                self.kept_len += kind.len();
                self.found.srs.push(DumpedSr { uuid, name, kind, is_shared });
            }
            "VM_appliance" => {
                let (reference, description) = (row.text("ref"), row.text("name_description"));
                self.kept_len += reference.len() + description.len();
                let vapp = VApp { reference, name, description, ..VApp::default() };
                self.found.vapps.push(vapp);
            }
            _ => {
                let others = ["is_a_template", "is_a_snapshot", "is_control_domain"];
                if !others.into_iter().any(|other| row.flag(other)) {
                    let is_suspended = row.text("power_state").eq_ignore_ascii_case("suspended");
                    let vapp = row.text("appliance");
                    self.kept_len += vapp.len() + uuid.len();
                    self.members.push((vapp, uuid.clone()));
                    self.found.vms.push(DumpedVm { uuid, name, is_suspended });
                }
            }
        }
    }
}

impl PoolDump {
    /// The host that led the pool. A restored database keeps this one only (contract 7).
    pub fn coordinator(&self) -> Option<&DumpedHost> {
        self.hosts.iter().find(|host| host.reference == self.coordinator_reference)
    }

    /// The cards of a host.
    pub fn cards<'d>(&'d self, host: &'d DumpedHost) -> impl Iterator<Item = &'d Pif> {
        self.pifs.iter().filter(|pif| pif.is_physical && pif.host == host.reference)
    }
}

/// The attributes of a tag. Of a row, its fields.
struct Row(BTreeMap<String, String>);

impl Row {
    fn of(tag: &str, name_len: usize) -> Result<Self, &'static str> {
        const FIELDS: [&str; 21] = [
            "appliance",
            "name_description",
            "ref",
            "uuid",
            "name_label",
            "address",
            "master",
            "host",
            "device",
            "MAC",
            "physical",
            "management",
            "type",
            "shared",
            "is_a_template",
            "is_a_snapshot",
            "is_control_domain",
            "power_state",
            "name",
            "key",
            "value",
        ];
        let mut fields = BTreeMap::new();
        let tag = BytesStart::from_content(tag, name_len);
        for (place, field) in tag.attributes().with_checks(false).enumerate() {
            let field = field.map_err(|_| "a row is malformed")?;
            if place >= FIELDS_MAX {
                return Err("a row has too many fields");
            }
            let name = field.key.as_ref().replace("__", "_");
            if FIELDS.contains(&&*name) {
                let value = quick_xml::escape::unescape(&field.value);
                let value = value.map_err(|_| "a row is malformed")?;
                fields.insert(name, unspaced(&value));
            }
        }
        Ok(Self(fields))
    }

    fn text(&self, field: &str) -> String {
        self.0.get(field).cloned().unwrap_or_default()
    }

    fn flag(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| value == "true")
    }
}

/// A value whose blanks are written so that XML leaves them alone (contract 7).
fn unspaced(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(char) = rest.next() {
        if char != '%' {
            plain.push(char);
            continue;
        }
        match rest.next() {
            Some('.') => plain.push(' '),
            Some('_') => plain.push_str("  "), // of old hosts
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('%') | None => plain.push('%'),
            Some(other) => plain.extend(['%', other]),
        }
    }
    plain
}

#[cfg(test)]
mod tests;

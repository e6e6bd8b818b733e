//! Changes to a record that leave all other bytes as they are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use quick_xml::escape::escape;

use super::seed::Seed;
use super::tree::Value;
use super::{Object, OvaXml};

/// xapi's null reference.
const NULL: &str = "OpaqueRef:NULL";
/// Fields that hold text of people's choice, and never a reference.
const TEXT_FIELDS: [&str; 3] = ["name_label", "name_description", "tags"];

/// Edits to one record, collected and then applied at once.
#[derive(Debug)]
pub struct Edits<'a> {
    pub(super) record: &'a OvaXml,
    replacements: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    /// Begins without changes.
    pub fn new(record: &'a OvaXml) -> Self {
        Self { record, replacements: Vec::new() }
    }

    /// Gives the VM another name. The snapshots in the archive keep theirs.
    pub fn rename_vm(&mut self, name: &str) {
        let Some(vm) = self.record.vm() else { return };
        for object in self.objects("VM").filter(|object| object.id == vm.id) {
            self.set(object, "name_label", name);
        }
    }

    /// Gives every network card another address, the same one to cards that share theirs.
    pub fn replace_macs(&mut self, seed: &mut Seed) {
        let mut replaced: HashMap<&str, String> = HashMap::new();
        for vif in self.objects("VIF") {
            let mac = replaced.entry(vif.text("MAC")).or_insert_with(|| seed.mac()).clone();
            self.set(vif, "MAC", &mac);
        }
    }

    /// Gives disk `old` the id `new`, wherever it is referred to.
    pub fn replace_disk_ids(&mut self, ids: &HashMap<&str, String>) {
        for object in &self.record.objects {
            if let (Some(new), Some(id)) = (ids.get(&*object.id), object.value.member("id"))
                && object.class == "VDI"
            {
                self.replace(id, new);
            }
            for value in references(object) {
                if let Some(new) = value.scalar().and_then(|id| ids.get(id)) {
                    self.replace(value, new);
                }
            }
        }
    }

    /// States another virtual size of a disk, in bytes.
    pub fn set_disk_size(&mut self, id: &str, size_bytes: u64) {
        for vdi in self.objects("VDI").filter(|vdi| vdi.id == id) {
            self.set(vdi, "virtual_size", &size_bytes.to_string());
        }
    }

    /// Removes disks, the devices that show them, and what refers to either. A VM whose memory
    /// image goes is halted.
    pub fn drop_disks(&mut self, ids: &[&str]) {
        let shows = |vbd: &&Object| ids.contains(&vbd.text("VDI")) && !vbd.is("type", "CD");
        let vbds: Vec<&str> = self.objects("VBD").filter(shows).map(|vbd| &*vbd.id).collect();
        self.remove(|object| match &*object.class {
            "VDI" => ids.contains(&&*object.id),
            "VBD" => vbds.contains(&&*object.id),
            _ => false,
        });
        for vm in self.objects("VM").filter(|vm| ids.contains(&vm.text("suspend_VDI"))) {
            self.set(vm, "suspend_VDI", NULL);
            self.set(vm, "power_state", "Halted");
        }
    }

    /// Removes devices, other than CDs, that show nothing. xapi: the importer fails on them.
    pub fn drop_empty_devices(&mut self) {
        let is_disk = |id: &str| self.objects("VDI").any(|vdi| vdi.id == id);
        let empty: Vec<&str> = self
            .objects("VBD")
            .filter(|vbd| !vbd.is("type", "CD") && !is_disk(vbd.text("VDI")))
            .map(|vbd| &*vbd.id)
            .collect();
        self.remove(|object| object.class == "VBD" && empty.contains(&&*object.id));
    }

    /// The text with all changes.
    pub fn apply(mut self) -> String {
        // Of changes within each other the outermost is made, and of equals the first.
        self.replacements.sort_by_key(|(span, _)| (span.start, Reverse(span.end)));
        let text = self.record.text();
        let (mut edited, mut copied) = (String::with_capacity(text.len()), 0);
        for (span, replacement) in &self.replacements {
            if span.start >= copied {
                edited.push_str(&text[copied..span.start]);
                edited.push_str(replacement);
                copied = span.end;
            }
        }
        edited.push_str(&text[copied..]);
        edited
    }

    fn objects(&self, class: &'a str) -> impl Iterator<Item = &'a Object> + use<'a> {
        self.record.objects.iter().filter(move |object| object.class == class)
    }

    /// Sets a field that is there. xapi's records hold every field.
    pub(super) fn set(&mut self, object: &Object, key: &str, text: &str) {
        if let Some(value) = object.field(key) {
            self.replace(value, text);
        }
    }

    fn replace(&mut self, value: &Value, text: &str) {
        self.replace_span(value, format!("<value>{}</value>", escape(text)));
    }

    /// Puts `text`, a whole value, in the place of a value.
    pub(super) fn replace_span(&mut self, value: &Value, text: String) {
        self.replacements.push((value.span.clone(), text));
    }

    /// Removes objects, and their ids from the lists of others.
    pub(super) fn remove(&mut self, is_removed: impl Fn(&Object) -> bool) {
        let (removed, kept): (Vec<_>, Vec<_>) =
            self.record.objects.iter().partition(|object| is_removed(object));
        let is_gone =
            |value: &&Value| removed.iter().any(|object| value.scalar() == Some(&object.id));
        for object in &removed {
            self.replacements.push((object.value.span.clone(), String::new()));
        }
        for item in kept.iter().flat_map(|object| lists(object)).filter(is_gone) {
            self.replacements.push((item.span.clone(), String::new()));
        }
    }
}

/// The fields of an object that may hold references.
fn fields(object: &Object) -> impl Iterator<Item = &Value> {
    let record = object.value.member("snapshot").map(Value::members).unwrap_or_default();
    let is_text = |key: &str| TEXT_FIELDS.contains(&key);
    record.iter().filter(move |(key, _)| !is_text(key)).map(|(_, value)| value)
}

/// The items of all fields that are lists.
fn lists(object: &Object) -> impl Iterator<Item = &Value> {
    fields(object).flat_map(Value::items)
}

/// Everything in an object that may be a reference.
fn references(object: &Object) -> impl Iterator<Item = &Value> {
    fields(object).chain(lists(object))
}

/// New ids for `count` disks of `record`, rising: numbers above all others in the record and of
/// one width, so that byte-wise order is their order and no id begins another.
pub fn rising_ids(record: &OvaXml, count: usize) -> Vec<String> {
    let number = |object: &Object| object.id.strip_prefix("Ref:").and_then(|n| n.parse().ok());
    let highest: u64 = record.objects.iter().filter_map(number).max().unwrap_or(0);
    let mut first = 1u64;
    while (first <= highest || first < count as u64) && first < u64::MAX / 20 {
        first *= 10;
    }
    (first..).take(count).map(|number| format!("Ref:{number}")).collect()
}

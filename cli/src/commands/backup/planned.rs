//! What a backup of a pool would do, as a dry run tells it.

use std::collections::BTreeMap;

use serde::Serialize;
use xen_source::xapi::{Disk, Mode, SrRecord};

use super::choice::{Chosen, ChosenVm, Part};
use super::saved::Lost;
use crate::left_out::{Reason, device};
use crate::report::{VmEntry, power_name};
use crate::size;
use crate::text::{Align, Table};

/// What would be backed up, as JSON. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    message_type: &'static str,
    vms: Vec<PlannedVm>,
    pool_db: bool,
    hosts: Vec<PlannedHost>,
    srs: Vec<PlannedSr>,
    failed: &'a [Lost],
}

/// A VM that would be backed up.
#[derive(Debug, Serialize)]
struct PlannedVm {
    #[serde(flatten)]
    vm: VmEntry,
    mode: &'static str,
    expected_read: u64,
}

/// A host whose system would be.
#[derive(Debug, Serialize)]
struct PlannedHost {
    name: String,
    uuid: String,
}

/// A storage repository that has disks of these VMs.
#[derive(Debug, Serialize)]
struct PlannedSr {
    name: String,
    uuid: String,
    kind: String,
    size: u64,
    free: u64,
}

impl<'a> Plan<'a> {
    /// Of what was chosen; `failed` are the selectors that choose nothing.
    pub fn new(chosen: &Chosen, mode: Mode, failed: &'a [Lost]) -> Self {
        let vm = |vm: &ChosenVm| PlannedVm {
            vm: VmEntry::with_left_out(&vm.vm, &vm.left_out),
            mode: mode_text(vm, chosen.part, mode),
            expected_read: expected_read(vm, chosen.part),
        };
        let hosts = chosen.hosts.iter();
        Self {
            message_type: "plan",
            vms: chosen.vms.iter().map(vm).collect(),
            pool_db: chosen.database,
            hosts: hosts
                .map(|host| PlannedHost { name: host.name.clone(), uuid: host.uuid.clone() })
                .collect(),
            srs: srs(chosen).into_iter().map(PlannedSr::of).collect(),
            failed,
        }
    }

    /// Whether nothing would be backed up.
    pub const fn is_empty(&self) -> bool {
        self.vms.is_empty() && self.hosts.is_empty() && !self.pool_db
    }
}

impl PlannedSr {
    fn of(sr: &SrRecord) -> Self {
        Self {
            name: sr.name.clone(),
            uuid: sr.uuid.clone(),
            kind: sr.kind.clone(),
            size: sr.size_bytes,
            free: free_bytes(sr),
        }
    }
}

/// VMs with their disks, storage repositories, what else there is, and that nothing was done.
pub fn text(chosen: &Chosen, mode: Mode) -> String {
    let mut text = String::new();
    if !chosen.vms.is_empty() {
        text += &vms_text(chosen, mode);
    }
    let srs = srs(chosen);
    if !srs.is_empty() {
        text += &srs_text(&srs);
    }
    if chosen.database {
        text += "pool-db: the database of the pool\n";
    }
    let hosts = chosen.hosts.iter();
    text.extend(hosts.map(|host| format!("host:{}: the system of the host\n", host.name)));
    text + "dry run: nothing read, nothing saved, nothing changed on the pool\n"
}

fn vms_text(chosen: &Chosen, mode: Mode) -> String {
    let mut table = Table::new(&[
        ("VM", Align::Left),
        ("State", Align::Left),
        ("Mode", Align::Left),
        ("Size", Align::Right),
        ("Read", Align::Right),
        ("SR", Align::Left),
        ("CBT", Align::Left),
        ("", Align::Left),
    ]);
    for vm in &chosen.vms {
        let sizes = vm.vm.disks.iter().map(|disk| disk.record.size_bytes);
        table.row([
            vm.vm.record.name.clone(),
            power_name(vm.vm.record.power_state).to_owned(),
            mode_text(vm, chosen.part, mode).to_owned(),
            size::bytes(sizes.fold(0, u64::saturating_add)),
            up_to(expected_read(vm, chosen.part)),
            String::new(),
            String::new(),
            String::new(),
        ]);
        for (disk, left_out) in vm.vm.disks.iter().zip(&vm.left_out) {
            table.row(disk_row(disk, left_out.as_ref(), chosen.part));
        }
    }
    let reads = chosen.vms.iter().map(|vm| expected_read(vm, chosen.part));
    let total = up_to(reads.fold(0, u64::saturating_add));
    let count = size::plural(chosen.vms.len() as u64, "VM");
    table.lines("") + &format!("{count}, reading {total}\n")
}

fn disk_row(disk: &Disk, left_out: Option<&Reason>, part: Part) -> [String; 8] {
    let cbt = if disk.record.has_cbt { "on" } else { "off" };
    let read = match (left_out, part) {
        (None, Part::Whole) => up_to(disk_read(disk)),
        _ => "-".to_owned(),
    };
    [
        format!("  {}", device(disk)),
        String::new(),
        String::new(),
        size::bytes(disk.record.size_bytes),
        read,
        disk.sr.as_ref().map(|sr| sr.name.clone()).unwrap_or_default(),
        cbt.to_owned(),
        left_out.map(|reason| format!("left out: {}", reason.text())).unwrap_or_default(),
    ]
}

fn srs_text(srs: &[&SrRecord]) -> String {
    let mut table = Table::new(&[
        ("SR", Align::Left),
        ("Kind", Align::Left),
        ("Size", Align::Right),
        ("Free", Align::Right),
    ]);
    for sr in srs {
        let free = size::bytes(free_bytes(sr));
        table.row([sr.name.clone(), sr.kind.clone(), size::bytes(sr.size_bytes), free]);
    }
    table.lines("")
}

/// Those that hold disks that are read: there snapshots need room.
fn srs(chosen: &Chosen) -> Vec<&SrRecord> {
    let mut srs = BTreeMap::new();
    for vm in chosen.vms.iter().filter(|_| chosen.part == Part::Whole) {
        for disk in read_disks(vm) {
            srs.extend(disk.sr.as_ref().map(|sr| ((&sr.name, &sr.uuid), sr)));
        }
    }
    srs.into_values().collect()
}

fn read_disks(vm: &ChosenVm) -> impl Iterator<Item = &Disk> {
    let disks = vm.vm.disks.iter().zip(&vm.left_out);
    disks.filter(|(_, left_out)| left_out.is_none()).map(|(disk, _)| disk)
}

/// Bytes of its disks that are read at most; less if the pool can tell what has changed.
fn expected_read(vm: &ChosenVm, part: Part) -> u64 {
    match part {
        Part::Metadata => 0,
        Part::Whole => read_disks(vm).map(disk_read).fold(0, u64::saturating_add),
    }
}

/// What was never written is not sent; an SR that does not tell may hold all of it.
fn disk_read(disk: &Disk) -> u64 {
    match disk.record.used_bytes {
        0 => disk.record.size_bytes,
        used => used.min(disk.record.size_bytes),
    }
}

fn free_bytes(sr: &SrRecord) -> u64 {
    sr.size_bytes.saturating_sub(sr.used_bytes)
}

fn up_to(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        bytes => format!("<= {}", size::bytes(bytes)),
    }
}

/// How a VM would be taken.
fn mode_text(vm: &ChosenVm, part: Part, mode: Mode) -> &'static str {
    match (part, mode) {
        (Part::Metadata, _) => "metadata",
        (Part::Whole, _) if vm.vm.record.is_a_template => "template",
        (Part::Whole, Mode::Hot) => "hot",
        (Part::Whole, Mode::Warm) => "warm",
        (Part::Whole, Mode::Cold) => "cold",
    }
}

#[cfg(test)]
mod tests {
    use xen_source::xapi::Vm;
    use xen_source::xapi::objects::{Record, VdiRecord, VmRecord};
    use xen_source::xapi::value::Value;

    use super::*;

    fn record<R: Record>(fields: &[(&str, &str)]) -> R {
        let fields = fields.iter().map(|(key, text)| ((*key).to_owned(), Value::from(*text)));
        R::of("OpaqueRef:x", &Value::Struct(fields.collect())).expect("a record")
    }

    fn disk(place: &str, size: &str, used: &str) -> Disk {
        let fields = [("uuid", place), ("virtual_size", size), ("physical_utilisation", used)];
        let sr = [("uuid", "s"), ("name_label", "nfs"), ("type", "nfs"), ("physical_size", "4096")];
        Disk {
            record: record::<VdiRecord>(&fields),
            userdevice: place.to_owned(),
            sr: Some(record(&sr)),
        }
    }

    fn chosen(left_out: &[Option<Reason>], part: Part) -> Chosen {
        let disks = vec![
            disk("0", "2048", "1024"),
            disk("1", "1048576", "4194304"),
            disk("3", "3072", "0"),
        ];
        let record: VmRecord =
            record(&[("uuid", "u"), ("name_label", "web"), ("power_state", "Running")]);
        let vm = ChosenVm { vm: Vm { record, disks }, left_out: left_out.to_vec() };
        Chosen { vms: vec![vm], part, database: true, hosts: Vec::new(), missing: Vec::new() }
    }

    #[test]
    fn a_disk_is_read_as_far_as_it_is_used_and_never_beyond_its_size() {
        let read =
            |left_out: &[Option<Reason>], part| expected_read(&chosen(left_out, part).vms[0], part);
        assert_eq!(read(&[None, None, None], Part::Whole), 1024 + 1_048_576 + 3072);
        assert_eq!(read(&[None, Some(Reason::Nobak), None], Part::Whole), 1024 + 3072);
        assert_eq!(read(&[None, None, None], Part::Metadata), 0);
    }

    #[test]
    fn the_table_says_what_is_left_out_and_why() {
        let excluded = Some(Reason::Excluded("xvdd".to_owned()));
        let chosen = chosen(&[None, Some(Reason::Nobak), excluded], Part::Whole);
        let text = text(&chosen, Mode::Warm);
        let expected = "\
VM      State    Mode     Size        Read  SR   CBT
web     running  warm  1.0 MiB  <= 1.0 KiB
  xvda                 2.0 KiB  <= 1.0 KiB  nfs  off
  xvdb                 1.0 MiB           -  nfs  off  left out: [NOBAK] in its name
  xvdd                 3.0 KiB           -  nfs  off  left out: --exclude-disk xvdd
1 VM, reading <= 1.0 KiB
SR   Kind     Size     Free
nfs  nfs   4.0 KiB  4.0 KiB
pool-db: the database of the pool
dry run: nothing read, nothing saved, nothing changed on the pool
";
        assert_eq!(text, expected);
    }

    #[test]
    fn metadata_need_no_room_on_storage() {
        let chosen = chosen(&[None, None, None], Part::Metadata);
        assert!(srs(&chosen).is_empty());
        assert!(text(&chosen, Mode::Hot).contains("metadata"));
    }
}

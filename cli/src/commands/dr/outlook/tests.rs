//! Sums over all VMs, and what is in the way.

use std::collections::BTreeMap;

use xen_source::xapi::HostRecord;
use xen_source::xapi::destination::{StoredCard, StoredVm, VmDisk};
use xen_source::xapi::objects::{NetworkRecord, PbdRecord, PoolRecord, SrRecord};
use xen_source::xva::ova::StartFacts;

use super::*;
use crate::commands::dr::choice::tests::snapshot;

const GIB: u64 = 1 << 30;

/// A pool with one host, the network `lan`, and one SR, the default.
fn inventory(sr_kind: &str, free_gib: u64) -> Inventory {
    let text = str::to_owned;
    let host = HostRecord {
        reference: text("h"),
        uuid: text("h"),
        name: text("xs1"),
        address: String::new(),
        versions: BTreeMap::from([(text("xapi"), text("26.1"))]),
    };
    let sr = SrRecord {
        reference: text("s"),
        uuid: text("s"),
        name: text("nfs"),
        kind: sr_kind.to_owned(),
        content_type: text("user"),
        is_shared: true,
        size_bytes: 100 * GIB,
        used_bytes: (100 - free_gib) * GIB,
        pbds: vec![text("b")],
        uses_vhd: Some(true),
    };
    let (host_of, sr_of) = (Some(text("h")), Some(text("s")));
    let pbd = PbdRecord {
        reference: text("b"),
        uuid: text("b"),
        host: host_of,
        sr: sr_of,
        is_attached: true,
    };
    let network = NetworkRecord {
        reference: text("n"),
        uuid: text("n"),
        name: text("lan"),
        bridge: String::new(),
        purposes: Vec::new(),
    };
    let pool = PoolRecord {
        reference: text("p"),
        uuid: text("p"),
        name: text("dr"),
        coordinator: Some(text("h")),
        default_sr: Some(text("s")),
        other_config: BTreeMap::new(),
    };
    Inventory {
        pool,
        hosts: vec![host],
        srs: vec![sr],
        pbds: vec![pbd],
        networks: vec![network],
        vms: Vec::new(),
        vifs: Vec::new(),
        vbds: Vec::new(),
        vdis: Vec::new(),
        now: String::new(),
    }
}

/// A VM of 4 GiB of memory, with a disk of 20 GiB of which 10 are data, and a card.
pub fn candidate(name: &str, network: &str) -> Candidate {
    let disk = VmDisk {
        name: "root".to_owned(),
        size_bytes: 20 * GIB,
        data_bytes: 10 * GIB,
        userdevice: "0".to_owned(),
        ..VmDisk::default()
    };
    let card = StoredCard {
        device: "0".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        network_name: network.to_owned(),
        ..StoredCard::default()
    };
    Candidate {
        repository: 0,
        copies: Vec::new(),
        snapshot: snapshot("1 10 xva u web"),
        vm: StoredVm {
            record: Some(record(name)),
            uuid: Some(format!("uuid-{name}")),
            name: name.to_owned(),
            memory_bytes: 4 * GIB,
            mac_seed: None,
            version: None,
            disks: vec![disk],
            cards: vec![card],
        },
        start: StartFacts { memory_bytes: 4 * GIB, ..StartFacts::default() },
        app: None,
    }
}

/// These VMs, all of one repository.
pub fn found(candidates: Vec<Candidate>) -> Found {
    let repositories = vec!["/mnt/nas".to_owned()];
    Found { repositories, candidates, vapps: Vec::new(), lost: Vec::new(), notes: Vec::new() }
}

fn record(name: &str) -> xen_source::OvaXml {
    let text = |key: &str, value: &str| {
        format!("<member><name>{key}</name><value>{value}</value></member>")
    };
    let object = format!(
        "<value><struct>{}{}<member><name>snapshot</name><value><struct>{}{}</struct></value>\
         </member></struct></value>",
        text("class", "VM"),
        text("id", "Ref:0"),
        text("uuid", &format!("uuid-{name}")),
        text("name_label", name),
    );
    let record = format!(
        "<value><struct><member><name>version</name><value><struct>{}</struct></value></member>\
         <member><name>objects</name><value><array><data>{object}</data></array></value></member>\
         </struct></value>",
        text("export_vsn", "2"),
    );
    xen_source::OvaXml::parse(record).expect("a record")
}

fn outlook(inventory: &Inventory, host_gib: u64, found: &Found) -> Outlook {
    let hosts = [("xs1".to_owned(), host_gib * GIB)];
    Outlook::of(inventory, &hosts, &found.candidates, |_| Wish::new([7; 32]))
}

/// `running` and `off`: whether it can be done if VMs run, and if they stay off.
#[track_caller]
fn check(kind: &str, free_gib: u64, host_gib: u64, running: bool, off: bool, part: &str) {
    let found = found(["web", "db", "mail"].map(|name| candidate(name, "lan")).into());
    let outlook = outlook(&inventory(kind, free_gib), host_gib, &found);
    let text = outlook.text(&found, Running::Wanted);
    assert_eq!(outlook.is_feasible(Running::Wanted), running, "{text}");
    assert_eq!(outlook.is_feasible(Running::No), off, "{text}");
    assert!(text.contains(part), "{text}");
}

#[test]
fn room_and_memory_are_those_of_all_vms_together() {
    check("nfs", 30, 12, true, true, "needs 30.0 GiB on SR nfs (has 30.0 GiB)\n");
    // Each alone would fit.
    check("nfs", 29, 12, false, false, "needs 30.0 GiB on SR nfs (has 29.0 GiB): NOT ENOUGH\n");
    check("lvm", 59, 12, false, false, "needs 60.0 GiB on SR nfs (has 59.0 GiB): NOT ENOUGH\n");
    check("lvm", 60, 12, true, true, "needs 12.0 GiB of memory (hosts have 12.0 GiB)\n");
    check("nfs", 30, 11, false, true, "(hosts have 11.0 GiB): NO HOST FOR mail\n");
}

#[test]
fn what_is_in_the_way_is_told_once_with_its_vms() {
    let vms = [("web", "dmz"), ("db", "lan"), ("mail", "dmz")];
    let found = found(vms.map(|(name, network)| candidate(name, network)).into());
    let outlook = outlook(&inventory("nfs", 90), 64, &found);
    let text = outlook.text(&found, Running::Wanted);
    assert!(!outlook.is_feasible(Running::No));
    assert!(
        text.contains("networks: dmz -> MISSING (use --network dmz=...), lan -> lan\n"),
        "{text}"
    );
    assert!(text.contains("the pool has no network dmz: web, mail\n"), "{text}");
    assert_eq!(text.matches("no network").count(), 1, "{text}");
}

#[test]
fn each_vm_tells_its_repository_if_there_are_several() {
    let candidates =
        vec![candidate("web", "lan"), Candidate { repository: 1, ..candidate("db", "lan") }];
    let one = found(vec![candidate("web", "lan")]);
    let repositories = vec!["/mnt/nas".to_owned(), "/mnt/usb".to_owned()];
    let found = Found { repositories, ..found(candidates) };
    let text = outlook(&inventory("nfs", 90), 64, &found).text(&found, Running::No);
    assert!(
        text.starts_with("newest snapshot of each VM: 2 VMs, 1 in /mnt/nas, 1 in /mnt/usb\n"),
        "{text}"
    );
    let ends = |line: &str| line.split_whitespace().last().map(str::to_owned);
    let column: Vec<_> = text.lines().skip(1).take(3).filter_map(ends).collect();
    assert_eq!(column, ["Repository", "/mnt/nas", "/mnt/usb"], "{text}");
    let text = outlook(&inventory("nfs", 90), 64, &one).text(&one, Running::No);
    assert!(!text.contains("Repository") && !text.contains("/mnt/nas"), "{text}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let lost = vec!["cannot read the VM old: a pack is gone".to_owned()];
    let notes = vec!["cannot read the VM web; that of before is taken instead".to_owned()];
    let found = Found { lost, notes, ..found(vec![candidate("web", "lan")]) };
    let text = outlook(&inventory("nfs", 90), 64, &found).text(&found, Running::No);
    assert!(text.contains("\nIN THE WAY: cannot read the VM old: a pack is gone\n"), "{text}");
    assert!(
        text.contains("\nnote: cannot read the VM web; that of before is taken instead\n"),
        "{text}"
    );
}

//! Plans: what is decided of facts, a line for each case.

use serde_json::{Value as Json, json};

use super::*;
use crate::sink::Macs;
use crate::xapi::destination::Overwrite;
use crate::xapi::json::parse_value;
use crate::xapi::objects::Record;
use crate::xva::ova::OvaXml;
use crate::xva::ova::fresh::{self, FreshDisk};

const GIB: u64 = 1 << 30;

fn record<R: Record>(reference: &str, fields: &Json) -> R {
    let value = parse_value(fields.to_string().as_bytes()).expect("a record");
    R::of(reference, &value).expect("a record")
}

/// An SR that the hosts named have attached.
fn storage(pool: &mut Inventory, name: &str, kind: &str, free_gib: u64, hosts: &[&str]) {
    let size = (100 + free_gib) * GIB;
    pool.srs.push(record(
        name,
        &json!({"uuid": format!("uuid of {name}"), "name_label": name,
        "type": kind, "content_type": if kind == "iso" { "iso" } else { "user" },
        "physical_size": size.to_string(), "physical_utilisation": (100 * GIB).to_string()}),
    ));
    for host in hosts {
        let pbd = json!({"uuid": "u", "host": host, "SR": name, "currently_attached": true});
        pool.pbds.push(record(&format!("{name} {host}"), &pbd));
    }
}

fn add_vm(pool: &mut Inventory, name: &str, uuid: &str, state: &str) {
    let fields =
        json!({"uuid": uuid, "name_label": name, "power_state": state, "other_config": {}});
    pool.vms.push(record(&format!("vm {name}"), &fields));
}

fn network(pool: &mut Inventory, name: &str, uuid: &str) {
    let fields = json!({"uuid": uuid, "name_label": name});
    pool.networks.push(record(&format!("net {uuid}"), &fields));
}

/// Two hosts; storage for all of them, of the second one, thick, and for CDs; two networks.
fn pool() -> Inventory {
    let host =
        |name: &str| record(name, &json!({"uuid": name, "software_version": {"xapi": "24.3"}}));
    let mut pool = Inventory {
        pool: record("p", &json!({"uuid": "p", "master": "h1", "default_SR": "nfs"})),
        hosts: vec![host("h1"), host("h2")],
        srs: Vec::new(),
        pbds: Vec::new(),
        networks: Vec::new(),
        vms: Vec::new(),
        vifs: Vec::new(),
        vbds: Vec::new(),
        vdis: Vec::new(),
        now: "20261122T06:30:00Z".to_owned(),
    };
    storage(&mut pool, "nfs", "nfs", 50, &["h1", "h2"]);
    storage(&mut pool, "one", "ext", 50, &["h1"]);
    storage(&mut pool, "two", "ext", 50, &["h2"]);
    storage(&mut pool, "thick", "lvmoiscsi", 50, &["h1", "h2"]);
    storage(&mut pool, "discs", "iso", 50, &["h1", "h2"]);
    network(&mut pool, "lan", "lan here");
    network(&mut pool, "dmz", "dmz here");
    pool
}

/// A VM of two disks, of 40 and 20 GiB with 4 and 2 GiB of data, and two cards.
fn web() -> StoredVm {
    let disk = |place: usize, size_gib: u64| VmDisk {
        place: place + 1,
        name: format!("disk {place}"),
        stored_name: format!("xvd{}", ["a", "b"][place]),
        uuid: format!("vdi {place}"),
        size_bytes: size_gib * GIB,
        data_bytes: size_gib * GIB / 10,
        userdevice: place.to_string(),
        ..VmDisk::default()
    };
    let card = |device: &str, network: &str| StoredCard {
        device: device.to_owned(),
        mac: format!("02:00:00:00:00:0{device}"),
        network_uuid: format!("{network} there"),
        network_name: network.to_owned(),
        ..StoredCard::default()
    };
    let disks = [FreshDisk { name: "x".to_owned(), size_bytes: 512 }];
    let text = fresh::record("web", &disks, &mut Seed::new([1; 32]));
    StoredVm {
        record: Some(OvaXml::parse(text).expect("a record")),
        uuid: Some("uuid of web".to_owned()),
        name: "web".to_owned(),
        memory_bytes: GIB,
        mac_seed: Some("seed".to_owned()),
        version: Some((24, 3)),
        disks: vec![disk(0, 40), disk(1, 20)],
        cards: vec![card("0", "lan"), card("1", "dmz")],
    }
}

type Change = fn(&mut Inventory, &mut StoredVm, &mut Wish);

fn planned(change: Change) -> Result<Plan, Vec<Objection>> {
    let (mut pool, mut vm, mut wish) = (pool(), web(), Wish::new([7; 32]));
    change(&mut pool, &mut vm, &mut wish);
    plan(&pool, &vm, &wish)
}

#[track_caller]
fn check_refused(what: &str, change: Change, expected: &[&str]) {
    let against = planned(change).expect_err(what);
    let against: Vec<String> = against.iter().map(ToString::to_string).collect();
    assert_eq!(against, expected, "{what}");
}

#[track_caller]
fn check_steps(what: &str, change: Change, expected: &[&str]) {
    let plan = planned(change).unwrap_or_else(|against| panic!("{what}: {against:?}"));
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, expected, "{what}");
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pair(first: &str, second: &str) -> Vec<(String, String)> {
    vec![(first.to_owned(), second.to_owned())]
}

#[test]
fn storage_is_known_to_be_wrong_before() {
    let missing = "the pool has no default SR";
    check_refused("no default", |pool, _, _| pool.pool.default_sr = None, &[missing]);
    check_refused("no SR", |_, _, wish| wish.sr = some("x"), &["the pool has no SR x"]);
    let iso = "SR discs is for CDs, not for disks";
    check_refused("CDs", |_, _, wish| wish.sr = some("discs"), &[iso]);
    check_refused("CDs for one", |_, _, wish| wish.disk_srs = pair("xvda", "discs"), &[iso]);
    let twice: Change = |pool, _, wish| {
        storage(pool, "nfs", "nfs", 1, &["h1"]);
        wish.sr = some("nfs");
    };
    check_refused("two of a name", twice, &["2 SRs are called nfs"]);
    let detached = "SR nfs is not attached to any host";
    check_refused("detached", |pool, _, _| pool.pbds.clear(), &[detached]);
    let apart: Change = |_, _, wish| {
        wish.sr = some("one");
        wish.disk_srs = pair("1", "two");
    };
    check_refused("no host", apart, &["no host sees all of one, two"]);
    let absent = "the snapshot has no disk xvdz";
    check_refused("no such disk", |_, _, wish| wish.disk_srs = pair("xvdz", "nfs"), &[absent]);
    check_refused("no such disk", |_, _, wish| wish.disks = Some(vec!["xvdz".into()]), &[absent]);
}

#[test]
fn room_is_that_of_data_or_of_whole_disks() {
    let full: Change = |pool, _, _| pool.srs[0].used_bytes = 145 * GIB;
    let error = "the disks need 6442450944 bytes, SR nfs has 5368709120";
    check_refused("thin", full, &[error]);
    let error = "the disks need 64424509440 bytes, SR thick has 53687091200";
    check_refused("thick", |_, _, wish| wish.sr = some("thick"), &[error]);
    let forced: Change = |_, _, wish| (wish.sr, wish.force) = (some("thick"), true);
    assert!(planned(forced).is_ok(), "what may be wrong is passed over");
    let unknown: Change = |pool, _, wish| {
        (pool.srs[3].size_bytes, wish.sr) = (0, some("thick"));
    };
    assert!(planned(unknown).is_ok(), "storage that does not tell its size is believed");
    let large: Change = |_, vm, _| vm.disks[0].size_bytes = 2041 * GIB;
    let error = "disk disk 0 has 2191507062784 bytes, more than a VHD on SR nfs holds";
    check_refused("2 TiB", large, &[error]);
    let newer: Change = |pool, vm, _| {
        pool.hosts[0].versions.insert("xapi".into(), "25.27.0".into());
        vm.disks[0].size_bytes = 2041 * GIB;
    };
    assert!(planned(newer).is_ok(), "newer pools have larger disks");
}

#[test]
fn networks_are_never_guessed() {
    let error = "the pool has no network dmz";
    check_refused("no network", |pool, _, _| drop(pool.networks.pop()), &[error]);
    let mapped: Change = |_, _, wish| wish.networks = pair("lan", "x");
    check_refused("mapped to none", mapped, &["the pool has no network x"]);
    let typo: Change = |_, _, wish| wish.networks = pair("lam", "dmz");
    check_refused("mapping of none", typo, &["the VM has no network lam"]);
    let twice: Change = |pool, _, _| network(pool, "lan", "another");
    check_refused("two of a name", twice, &["2 networks are called lan"]);
    let nameless: Change = |pool, vm, _| {
        vm.cards[0].network_name.clear();
        network(pool, "", "nameless");
    };
    check_refused("no name", nameless, &["the pool has no network "]);
}

#[test]
fn cards_go_to_what_is_named_then_to_the_uuid_then_to_the_name() {
    let rows: [(Change, [&str; 2]); 4] = [
        (|_, _, _| {}, ["lan", "dmz"]),
        (|_, _, wish| wish.networks = pair("lan", "dmz"), ["dmz", "dmz"]),
        (|_, _, wish| wish.networks = pair("dmz there", "lan here"), ["lan", "lan"]),
        (|pool, _, _| network(pool, "renamed", "lan there"), ["renamed", "dmz"]),
    ];
    for (change, expected) in rows {
        let plan = planned(change).expect("a plan");
        let found: Vec<_> = plan.cards.iter().map(|card| &*card.network_name).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn addresses_are_new_unless_the_vm_is_the_same() {
    let rows: [(Change, bool); 5] = [
        (|_, _, _| {}, false),
        (|_, _, wish| wish.macs = Some(Macs::Keep), true),
        (|_, _, wish| wish.keep_uuid = true, true),
        (
            |pool, _, wish| {
                add_vm(pool, "web", "uuid of web", "Halted");
                wish.overwrite = Overwrite::Keep;
            },
            true,
        ),
        (
            |pool, _, wish| {
                add_vm(pool, "web", "uuid of web", "Halted");
                (wish.overwrite, wish.macs) = (Overwrite::Keep, Some(Macs::Replace));
            },
            false,
        ),
    ];
    for (change, is_kept) in rows {
        let plan = planned(change).expect("a plan");
        let kept = plan.cards.iter().all(|card| card.mac == card.stored.mac);
        assert_eq!(kept, is_kept);
        assert_ne!(plan.cards[0].mac, plan.cards[1].mac);
    }
}

#[test]
fn nobody_is_doubled() {
    let name = "the pool has a VM called web";
    check_refused("name", |pool, _, _| add_vm(pool, "web", "x", "Running"), &[name]);
    let uuid: Change = |pool, _, wish| {
        add_vm(pool, "other", "uuid of web", "Halted");
        wish.keep_uuid = true;
    };
    check_refused("uuid", uuid, &["the pool has a VM of the uuid uuid of web: other"]);
    let seed: Change = |pool, _, wish| {
        add_vm(pool, "other", "x", "Halted");
        pool.vms[0].other_config.insert("mac_seed".into(), "seed".into());
        wish.macs = Some(Macs::Keep);
    };
    check_refused("seed", seed, &["VM other has the same seed for addresses"]);
    let mac: Change = |pool, _, wish| {
        add_vm(pool, "other", "x", "Halted");
        let vif = json!({"uuid": "v", "VM": "vm other", "MAC": "02:00:00:00:00:00"});
        pool.vifs.push(record("v", &vif));
        wish.macs = Some(Macs::Keep);
    };
    check_refused("address", mac, &["VM other has the address 02:00:00:00:00:00"]);
    let new: Change = |pool, _, _| {
        add_vm(pool, "other", "uuid of web", "Halted");
        pool.vms[0].other_config.insert("mac_seed".into(), "seed".into());
    };
    assert!(planned(new).is_ok(), "a new VM has none of these");
}

#[test]
fn what_is_replaced_is_off_and_there() {
    let none = "the pool has no VM web to be replaced";
    check_refused("nobody", |_, _, wish| wish.overwrite = Overwrite::Keep, &[none]);
    let on: Change = |pool, _, wish| {
        add_vm(pool, "web", "uuid of web", "Running");
        wish.overwrite = Overwrite::Keep;
    };
    check_refused("on", on, &["VM web is running"]);
    let suspended: Change = |pool, _, wish| {
        add_vm(pool, "web", "uuid of web", "Suspended");
        wish.overwrite = Overwrite::Keep;
    };
    check_refused("suspended", suspended, &["VM web is suspended"]);
    let busy: Change = |pool, _, wish| {
        add_vm(pool, "web", "uuid of web", "Halted");
        pool.vms[0].current_operations.push("clone".into());
        wish.overwrite = Overwrite::Keep;
    };
    check_refused("busy", busy, &["VM web is busy: clone"]);
    let several: Change = |pool, _, wish| {
        add_vm(pool, "web", "a", "Halted");
        add_vm(pool, "web", "b", "Halted");
        wish.overwrite = Overwrite::Keep;
    };
    check_refused("several", several, &["2 VMs are called web"]);
    let named: Change = |pool, _, wish| {
        add_vm(pool, "web", "uuid of web", "Halted");
        (wish.overwrite, wish.name) = (Overwrite::Keep, some("x"));
    };
    check_refused("named", named, &["a VM that replaces another cannot have another name"]);
}

#[test]
fn who_is_replaced_is_the_same_vm_and_not_one_that_was_replaced_before() {
    let again: Change = |pool, _, wish| {
        add_vm(pool, "web.replaced-20261122", "uuid of web", "Halted");
        add_vm(pool, "web", "of the last restore", "Halted");
        wish.overwrite = Overwrite::Keep;
    };
    let old = planned(again).expect("a plan").replaced.expect("somebody");
    assert_eq!((&*old.uuid, &*old.new_name), ("of the last restore", "web.replaced-20261122-2"));
    let renamed: Change = |pool, _, wish| {
        add_vm(pool, "renamed", "uuid of web", "Halted");
        wish.overwrite = Overwrite::Destroy;
    };
    let old = planned(renamed).expect("a plan").replaced.expect("somebody");
    assert_eq!((&*old.name, old.is_destroyed), ("renamed", true));
}

#[test]
fn older_pools_refuse_records_of_newer_ones_unless_they_claim_less() {
    let newer: Change = |_, vm, _| vm.version = Some((26, 9));
    check_refused("newer", newer, &["the VM comes from xapi 26.9, the pool has 24.3"]);
    let forced: Change = |_, vm, wish| (vm.version, wish.force) = (Some((26, 9)), true);
    assert_eq!(planned(forced).expect("a plan").claimed_version, Some((24, 3)));
    let old: Change = |pool, vm, _| {
        vm.version = Some((1, 20));
        pool.hosts[0].versions.insert("xapi".into(), "1.160".into());
    };
    let plan = planned(old).expect("a plan");
    assert_eq!((plan.checksum, plan.claimed_version), (ChecksumKind::Sha1, None));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let change: Change = |pool, _, wish| {
        pool.networks.pop();
        (wish.sr, wish.disks) = (some("x"), Some(vec!["xvdz".into(), "xvda".into()]));
    };
    let expected =
        ["the snapshot has no disk xvdz", "the pool has no SR x", "the pool has no network dmz"];
    check_refused("three", change, &expected);
}

#[test]
fn a_vm_comes_in_one_stream_if_its_disks_stay_together() {
    check_steps(
        "new",
        |_, _, _| {},
        &[
            "import Xenith: restoring web with its disks into SR nfs",
            "add network card 0 on lan",
            "add network card 1 on dmz",
            "call the new VM web",
            "take away the marks",
        ],
    );
    check_steps(
        "apart",
        |_, _, wish| wish.disk_srs = pair("xvdb", "one"),
        &[
            "import Xenith: restoring web without its disks",
            "send disk disk 0 to SR nfs",
            "send disk disk 1 to SR one",
            "add network card 0 on lan",
            "add network card 1 on dmz",
            "call the new VM web",
            "take away the marks",
        ],
    );
}

#[test]
fn what_was_there_goes_last_and_what_comes_starts_last() {
    let change: Change = |pool, vm, wish| {
        add_vm(pool, "web", "uuid of web", "Running");
        vm.cards.clear();
        (wish.overwrite, wish.shutdown_first) = (Overwrite::Destroy, true);
        (wish.verify, wish.after) = (true, After::StartPaused);
    };
    check_steps(
        "replaced",
        change,
        &[
            "import Xenith: restoring web with its disks into SR nfs",
            "read disk disk 0 back and compare it",
            "read disk disk 1 back and compare it",
            "shut down web",
            "rename the old VM to web.replaced-20261122, and the new one to web",
            "take away the marks",
            "destroy web.replaced-20261122 and its disks",
            "start the VM, paused",
        ],
    );
    let only: Change = |_, _, wish| {
        (wish.scope, wish.disks) = (Scope::DisksOnly, Some(vec!["vdi 1".into()]));
    };
    check_steps("only disks", only, &["send disk disk 1 to SR nfs", "take away the marks"]);
}

#[test]
fn memory_comes_only_if_it_is_of_use_and_only_in_one_stream() {
    let off: Change = |_, vm, _| {
        vm.disks.push(VmDisk { place: 3, is_memory: true, ..VmDisk::default() });
    };
    assert!(!planned(off).expect("a plan").has_memory);
    let same: Change = |_, vm, wish| {
        vm.disks.push(VmDisk { place: 3, is_memory: true, ..VmDisk::default() });
        wish.after = After::AsBefore;
    };
    assert!(planned(same).expect("a plan").has_memory);
    let apart: Change = |_, vm, wish| {
        vm.disks.push(VmDisk { place: 3, is_memory: true, ..VmDisk::default() });
        (wish.after, wish.disk_srs) = (After::AsBefore, pair("xvdb", "one"));
    };
    let error = "the VM's memory can be restored only with all disks on one SR";
    check_refused("apart", apart, &[error]);
}

#[test]
fn disks_are_sent_without_holes_only_where_new_ones_are_zero() {
    let rows: [(Change, DiskForm, Way); 5] = [
        (|_, _, _| {}, DiskForm::Sparse, Way::Xva),
        (|pool, _, _| pool.srs[0].uses_vhd = Some(false), DiskForm::Raw, Way::Xva),
        (|_, _, wish| wish.form = WishedForm::Raw, DiskForm::Sparse, Way::Disks),
        (|pool, _, wish| raw_disks(pool, wish, WishedForm::Raw), DiskForm::Raw, Way::Disks),
        (|_, _, wish| wish.form = WishedForm::Vhd, DiskForm::Vhd, Way::Disks),
    ];
    for (change, form, way) in rows {
        let (mut pool, mut vm, mut wish) = (pool(), web(), Wish::new([7; 32]));
        pool.srs[0].size_bytes = 0;
        change(&mut pool, &mut vm, &mut wish);
        let plan = plan(&pool, &vm, &wish).expect("a plan");
        assert_eq!((plan.disks[0].form, plan.way), (form, way));
    }
}

/// The default SR does without VHDs.
fn raw_disks(pool: &mut Inventory, wish: &mut Wish, form: WishedForm) {
    (pool.srs[0].uses_vhd, wish.form) = (Some(false), form);
}

#[test]
fn what_no_vhd_holds_is_not_sent_as_one() {
    const ONE_MORE: u64 = (2040 << 30) + 512;
    let large: Change = |_, vm, wish| {
        (vm.disks[0].size_bytes, wish.form) = (ONE_MORE, WishedForm::Vhd);
        wish.force = true; // it cannot be
    };
    let error = "disk disk 0 has 2190433321472 bytes, more than a VHD holds";
    check_refused("large", large, &[error]);
    let bound: Change = |_, vm, wish| {
        (vm.disks[0].size_bytes, wish.form) = (ONE_MORE, WishedForm::Raw);
    };
    let error = "disk disk 0 has 2190433321472 bytes, more than a VHD on SR nfs holds";
    check_refused("on an SR of VHDs", bound, &[error]);
    let raw: Change = |pool, vm, wish| {
        vm.disks[0].size_bytes = ONE_MORE;
        pool.srs[0].size_bytes = 0;
        raw_disks(pool, wish, WishedForm::Raw);
    };
    planned(raw).expect("a plan");
    let no_vhd: Change = |pool, _, wish| raw_disks(pool, wish, WishedForm::Vhd);
    let errors =
        ["SR nfs does not take disk disk 0 as a VHD", "SR nfs does not take disk disk 1 as a VHD"];
    check_refused("on an SR without VHDs", no_vhd, &errors);
}

#[test]
fn without_a_vm_there_are_only_disks() {
    let change: Change = |_, vm, _| vm.record = None;
    check_refused("no VM", change, &["the snapshot holds no VM"]);
    let nothing: Change = |_, vm, wish| {
        vm.disks.clear();
        wish.scope = Scope::DisksOnly;
    };
    check_refused("nothing", nothing, &["no disk is chosen"]);
    let bare: Change = |_, vm, _| vm.disks.clear();
    assert_eq!(planned(bare).expect("a plan").record_sr.name, "nfs");
}

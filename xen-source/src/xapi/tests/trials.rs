//! Trials and vApps: whatever fails, nothing stays, and nothing that is not ours goes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::sources::world;
use super::trial_calls::made;
use super::world::{Shared, VM};
use crate::xapi::destination::{Restored, RestoredDisk};
use crate::xapi::fail_over::VApp;
use crate::xapi::isolated::IsolatedNetwork;
use crate::xapi::snapshot::MARK;
use crate::xapi::trial::{self, Booted};
use crate::xapi::unfinished::RESTORE;
use crate::xapi::{Fate, Kind, Mercy, Pool, vapp};

const TRIED: &str = "OpaqueRef:tried";
const DISK: &str = "OpaqueRef:tried-disk";
const DISK_LEN: u64 = 1 << 20;
const SINCE: &str = "20261121T06:30:00Z"; // a day ago

fn marks(uuid: &str) -> Json {
    json!({RESTORE: format!("r:trial {SINCE}"), MARK: uuid})
}

fn insert(world: &Shared, class: &str, reference: &str, record: Json) {
    let record = record.as_object().expect("a record").clone();
    world.get().objects.insert((class.into(), reference.into()), record);
}

/// A VM as a restore for a trial makes it, which somebody has given a disk of theirs meanwhile.
fn restored(world: &Shared) -> Restored {
    let vm = json!({"uuid": "t", "name_label": "web (dr test)", "power_state": "Halted",
        "VBDs": ["OpaqueRef:tried-drive", "OpaqueRef:their-drive"], "is_a_snapshot": false,
        "other_config": marks("t"), "get_guest_metrics": "OpaqueRef:metrics"});
    insert(world, "VM", TRIED, vm);
    for (drive, disk) in
        [("OpaqueRef:tried-drive", DISK), ("OpaqueRef:their-drive", "OpaqueRef:theirs")]
    {
        let record = json!({"uuid": drive, "VM": TRIED, "VDI": disk, "type": "Disk"});
        insert(world, "VBD", drive, record);
    }
    let disk = |uuid: &str, drive: &str, notes: Json| {
        json!({"uuid": uuid, "virtual_size": DISK_LEN.to_string(), "VBDs": [drive],
            "is_a_snapshot": false, "other_config": notes})
    };
    insert(world, "VDI", DISK, disk("td", "OpaqueRef:tried-drive", marks("td")));
    insert(world, "VDI", "OpaqueRef:theirs", disk("theirs", "OpaqueRef:their-drive", marks("td")));
    let metrics = json!({"uuid": "m", "VM": TRIED, "get_PV_drivers_version": {"major": "7"}});
    insert(world, "VM_guest_metrics", "OpaqueRef:metrics", metrics);
    Restored {
        reference: Some(TRIED.into()),
        uuid: Some("t".into()),
        name: "web (dr test)".into(),
        disks: vec![RestoredDisk {
            place: 0,
            name: "root".into(),
            reference: DISK.into(),
            uuid: "td".into(),
            sr: "local".into(),
            size_bytes: DISK_LEN,
            is_verified: false,
        }],
        macs: Vec::new(),
        replaced: None,
        is_started: false,
    }
}

/// What there is, by reference.
fn there(world: &Shared) -> BTreeSet<String> {
    world.get().objects.keys().map(|(_, reference)| reference.clone()).collect()
}

/// As `dr test` does it, for one VM. What the VM did, if it came to that.
fn tried(world: &Shared, pool: &Pool) -> Option<Booted> {
    let session = pool.session();
    let mut network = IsolatedNetwork::make(session, "Xenith: dr test").ok()?;
    let restored = restored(world);
    let is_whole = trial::has_sizes(session, &restored).is_ok_and(|is_so| is_so);
    let tools = Some(Duration::from_secs(3));
    let booted = is_whole.then(|| trial::boot(session, TRIED, tools, &|| true).ok()).flatten();
    // Those that resist are removed once more.
    let removed = trial::remove(session, &restored).or_else(|_| trial::remove(session, &restored));
    removed.expect("the VM goes");
    network.remove().expect("the network goes");
    booted
}

#[test]
fn whatever_fails_nothing_of_a_trial_stays() {
    for after in 0.. {
        let (world, _host, pool) = world();
        let mut before = there(&world);
        world.get().fails_after = Some(after);
        let booted = tried(&world, &pool);
        let was_last = world.get().fails_after.is_some();
        let was_made = world.get().has_called("VM.start") > 0 || there(&world).len() > before.len();
        if was_made {
            before.insert("OpaqueRef:theirs".to_owned());
        }
        assert_eq!(there(&world), before, "call {after}");
        assert_eq!(world.get().tasks.len(), 0, "call {after}");
        if was_last {
            assert_eq!(booted, Some(Booted { is_running: true, has_tools: Some(true) }));
            assert_eq!(world.get().has_called("VM.hard_shutdown OpaqueRef:tried"), 1);
            assert!(after > 20, "{after} calls");
            return;
        }
    }
}

#[test]
fn a_disk_that_is_smaller_is_noticed() {
    let (world, _host, pool) = world();
    let mut restored = restored(&world);
    assert_eq!(trial::has_sizes(pool.session(), &restored).ok(), Some(true));
    restored.disks[0].size_bytes += 1;
    assert_eq!(trial::has_sizes(pool.session(), &restored).ok(), Some(false));
}

#[test]
fn a_vm_whose_marks_are_not_its_own_stays() {
    for notes in
        [json!({}), marks("another"), json!({MARK: "t"}), json!({RESTORE: "r now", MARK: "t"})]
    {
        let (world, _host, pool) = world();
        restored(&world);
        world.get().change("VM", TRIED, "other_config", notes.clone());
        world.get().change("VM", TRIED, "power_state", json!("Running"));
        trial::remove_vm(pool.session(), TRIED).expect("nothing is done");
        assert_eq!(world.get().record("VM", TRIED)["power_state"], "Running", "{notes}");
    }
}

/// What was left of a trial, with `notes` on its network, after so many hours are spared.
fn fates(world: &Shared, pool: &Pool, notes: Json, hours: u64) -> Vec<(Kind, Fate)> {
    restored(world);
    world.get().change("VM", TRIED, "power_state", json!("Running"));
    let network = json!({"uuid": "n", "name_label": "Xenith: dr test", "other_config": notes,
        "VIFs": []});
    insert(world, "network", &made("network"), network);
    let mercy = Mercy { younger_than: Duration::from_secs(hours * 3600), keep_tracking: true };
    let found = pool.leftovers().expect("a list");
    found.iter().map(|one| (one.kind, one.fate(mercy))).collect()
}

#[test]
fn a_clean_up_finds_a_trial_that_was_killed_and_spares_one_that_may_be_at_work() {
    use Kind::{Network, TriedVm};
    let rows = [
        (marks("n"), 0, vec![(TriedVm, Fate::Remove), (Network, Fate::Remove)]),
        (marks("n"), 1, vec![(TriedVm, Fate::Remove), (Network, Fate::Remove)]),
        (marks("n"), 2, vec![(TriedVm, Fate::Young), (Network, Fate::Young)]),
        (marks("another"), 0, vec![(TriedVm, Fate::Remove)]),
        (json!({}), 0, vec![(TriedVm, Fate::Remove)]),
    ];
    for (notes, hours, expected) in rows {
        let (world, _host, pool) = world();
        assert_eq!(fates(&world, &pool, notes.clone(), hours), expected, "{notes} {hours}");
    }
}

#[test]
fn a_clean_up_ends_vms_that_run_and_leaves_networks_with_cards() {
    let (world, _host, pool) = world();
    let mut before = there(&world);
    before.insert("OpaqueRef:theirs".to_owned());
    fates(&world, &pool, marks("n"), 0);
    world.get().change("network", &made("network"), "VIFs", json!(["OpaqueRef:their-card"]));
    let found = pool.leftovers().expect("a list");
    let removed: Vec<bool> = found.iter().map(|leftover| pool.remove(leftover).is_ok()).collect();
    assert_eq!(removed, [true, false]);
    assert_eq!(world.get().has_called("network.destroy"), 0);
    world.get().change("network", &made("network"), "VIFs", json!([]));
    pool.remove(&found[1]).expect("it goes");
    assert_eq!(there(&world), before);
}

#[test]
fn a_vapp_is_whole_or_not_there() {
    let vapp = VApp { name: "shop".into(), description: "sells".into(), ..VApp::default() };
    for after in 0.. {
        let (world, _host, pool) = world();
        restored(&world);
        let before = there(&world);
        world.get().fails_after = Some(after);
        let is_made = vapp::make(pool.session(), &vapp, &[VM.into(), TRIED.into()]).is_ok();
        let was_last = world.get().fails_after.is_some();
        assert_eq!(is_made, was_last, "call {after}");
        if !was_last {
            assert_eq!(there(&world), before, "call {after}");
            continue;
        }
        let world = world.get();
        let record = world.record("VM_appliance", &made("VM_appliance"));
        assert_eq!(
            (&record["name_label"], &record["name_description"]),
            (&json!("shop"), &json!("sells"))
        );
        for vm in [VM, TRIED] {
            assert_eq!(world.record("VM", vm)["appliance"], made("VM_appliance"));
        }
        assert_eq!(after, 3);
        return;
    }
}

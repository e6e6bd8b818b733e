//! What backups leave behind, what becomes of it, and what is not ours.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::sources::{Diary, check_nothing_stays, open, read, world};
use super::world::{NOW, Outcome, Shared, VM};
use crate::xapi::snapshot::POWER_MARK;
use crate::xapi::snapshot::{MARK, TAKING};
use crate::xapi::tracking::REPOSITORY;
use crate::xapi::unfinished::RESTORE;
use crate::xapi::{Fate, Kind, Leftover, Mercy, Pool};

const EARLIER: &str = "20261122T02:00:00Z";
/// What is an hour old goes, and what tells changes stays.
const USUAL: Mercy = Mercy { younger_than: Duration::from_secs(3600), keep_tracking: true };

fn insert(world: &Shared, class: &str, name: &str, record: Json) {
    let record = record.as_object().expect("a record").clone();
    world.get().objects.insert((class.into(), format!("OpaqueRef:{name}")), record);
}

/// Kinds, uuids and fates, in the order of uuids.
fn fates(pool: &Pool, mercy: Mercy) -> Vec<(Kind, String, Fate)> {
    let found = pool.leftovers().expect("a list");
    let mut fates: Vec<_> =
        found.iter().map(|one| (one.kind, one.uuid.clone(), one.fate(mercy))).collect();
    fates.sort_by(|a, b| a.1.cmp(&b.1));
    fates
}

fn remove_all(pool: &Pool) {
    let found: Vec<Leftover> = pool.leftovers().expect("a list");
    found.iter().for_each(|leftover| pool.remove(leftover).expect("removed"));
}

#[test]
fn a_snapshot_that_stays_is_reported_and_found_again() {
    let (world, _host, pool) = world();
    world.get().refusals = [("VM.destroy", vec!["OPERATION_BLOCKED", "x"])].into();
    let diary = Arc::new(Diary::default());
    read(open(&pool, &diary).expect("a source")).expect("a whole VM");
    let stays = "stays snapshot-uuid: removal of a snapshot failed: OPERATION_BLOCKED(x)";
    assert_eq!(diary.0.lock().expect("a lock")[1], stays);
    let fate = |fate| vec![(Kind::Snapshot, "snapshot-uuid".to_owned(), fate)];
    assert_eq!(fates(&pool, USUAL), fate(Fate::Young));
    world.get().change("VM", "OpaqueRef:snapshot", "snapshot_time", json!(EARLIER));
    assert_eq!(fates(&pool, USUAL), fate(Fate::Remove));
    world.get().change("VM", "OpaqueRef:snapshot", "current_operations", json!({"t": "export"}));
    assert_eq!(fates(&pool, USUAL), fate(Fate::InUse));
    remove_all(&pool);
    check_nothing_stays(&world);
}

#[test]
fn a_snapshot_that_a_host_reads_is_in_use() {
    let (world, _host, pool) = world();
    world.get().outcome = Outcome::Silence;
    let _source = open(&pool, &Arc::default()).expect("a source");
    insert(&world, "VM", "dom0", json!({"uuid": "h", "is_control_domain": true}));
    let drive = json!({"uuid": "d", "VM": "OpaqueRef:dom0", "VDI": "OpaqueRef:disk",
        "type": "Disk", "currently_attached": true});
    insert(&world, "VBD", "hosts", drive);
    let drives = json!(["OpaqueRef:drive", "OpaqueRef:hosts"]);
    world.get().change("VDI", "OpaqueRef:disk", "VBDs", drives);
    let all = Mercy { younger_than: Duration::ZERO, keep_tracking: false };
    let expected = (Kind::Snapshot, "snapshot-uuid".to_owned(), Fate::InUse);
    assert!(fates(&pool, all).contains(&expected));
    // The host does not let go by itself.
    remove_all(&pool);
    assert_eq!(world.get().has_called("VBD.unplug OpaqueRef:hosts"), 1);
    assert!(!world.get().objects.keys().any(|(_, name)| name == "OpaqueRef:disk"));
}

#[test]
fn drives_of_others_are_never_unplugged() {
    let (world, _host, pool) = world();
    let source = open(&pool, &Arc::default()).expect("a source");
    insert(&world, "VM", "rescue", json!({"uuid": "r", "name_label": "rescue"}));
    let drive = json!({"uuid": "d", "VM": "OpaqueRef:rescue", "VDI": "OpaqueRef:disk",
        "type": "Disk", "currently_attached": true});
    insert(&world, "VBD", "theirs", drive);
    let drives = json!(["OpaqueRef:drive", "OpaqueRef:theirs"]);
    world.get().change("VDI", "OpaqueRef:disk", "VBDs", drives);
    read(source).expect("a whole VM");
    assert_eq!(world.get().has_called("VBD.unplug"), 0);
    assert!(world.get().objects.keys().any(|(_, name)| name == "OpaqueRef:disk"));
    assert_eq!(pool.leftovers().expect("a list").len(), 0);
}

#[test]
fn only_what_carries_a_mark_of_its_own_is_ours() {
    let (world, _host, pool) = world();
    let others = [
        ("a VM with a copied mark", false, "snapshot-uuid"),
        ("a VM with a mark of its own, which is no snapshot", false, "u"),
        ("a snapshot with a copied mark", true, "snapshot-uuid"),
        ("a snapshot of somebody else", true, ""),
        ("Xenith: unfinished snapshot", true, ""),
    ];
    for (name, is_a_snapshot, mark) in others {
        let power = "vm-uuid running 20261122T02:00:00Z";
        let record = json!({"uuid": "u", "name_label": name, "is_a_snapshot": is_a_snapshot,
            "power_state": "Halted", "other_config": {MARK: mark, POWER_MARK: power}});
        insert(&world, "VM", name, record.clone());
        insert(&world, "VDI", name, record);
    }
    assert_eq!(pool.leftovers().expect("a list"), []);
}

/// A VM that a restore has made, called `name`, with a disk of that restore and one of somebody else.
fn restored(world: &Shared, name: &str) {
    let marks = |uuid: &str| json!({RESTORE: format!("r {EARLIER}"), MARK: uuid, "kept": "1"});
    let vm = json!({"uuid": "v", "name_label": name, "power_state": "Halted", "is_a_snapshot": false,
        "VBDs": ["OpaqueRef:own-drive", "OpaqueRef:their-drive"], "other_config": marks("v")});
    insert(world, "VM", "restored", vm);
    for (disk, notes) in [("own", marks("own")), ("their", json!({"kept": "1"}))] {
        let drive = json!({"uuid": "d", "VM": "OpaqueRef:restored", "type": "Disk",
            "VDI": format!("OpaqueRef:{disk}-disk")});
        insert(world, "VBD", &format!("{disk}-drive"), drive);
        let record = json!({"uuid": disk, "virtual_size": "1", "is_a_snapshot": false,
            "VBDs": [format!("OpaqueRef:{disk}-drive")], "other_config": notes});
        insert(world, "VDI", &format!("{disk}-disk"), record);
    }
}

fn notes(world: &Shared, class: &str, name: &str) -> Option<Json> {
    let key = (class.to_owned(), format!("OpaqueRef:{name}"));
    Some(world.get().objects.get(&key)?.get("other_config")?.clone())
}

#[test]
fn a_vm_that_was_being_restored_goes_with_its_own_disks() {
    let (world, _host, pool) = world();
    restored(&world, "Xenith: restoring web");
    assert_eq!(fates(&pool, USUAL), [(Kind::RestoredVm, "v".to_owned(), Fate::Remove)]);
    remove_all(&pool);
    assert_eq!((notes(&world, "VM", "restored"), notes(&world, "VDI", "own-disk")), (None, None));
    assert_eq!(notes(&world, "VDI", "their-disk"), Some(json!({"kept": "1"})));
}

#[test]
fn a_vm_that_is_whole_loses_only_the_marks_that_its_restore_has_left() {
    let (world, _host, pool) = world();
    restored(&world, "web");
    assert_eq!(fates(&pool, USUAL), [(Kind::Mark, "v".to_owned(), Fate::Remove)]);
    remove_all(&pool);
    let kept = Some(json!({"kept": "1"}));
    for (class, name) in [("VM", "restored"), ("VDI", "own-disk"), ("VDI", "their-disk")] {
        assert_eq!(notes(&world, class, name), kept, "{name}");
    }
    assert_eq!(pool.leftovers().expect("a list"), []);
}

#[test]
fn a_snapshot_that_was_being_taken_is_known_by_the_note_of_its_vm() {
    let (world, _host, pool) = world();
    let note = json!({TAKING: format!("vm-uuid {EARLIER}")});
    let rows = [
        ("a", "Xenith: unfinished snapshot", VM, note.clone(), true),
        ("b", "before the update", VM, note.clone(), false),
        ("c", "Xenith: unfinished snapshot", VM, json!({}), false),
        ("d", "Xenith: unfinished snapshot", "OpaqueRef:another", note.clone(), false),
    ];
    world.get().change("VM", VM, "other_config", note);
    for (uuid, name, of, other_config, _) in rows.clone() {
        let record = json!({"uuid": uuid, "name_label": name, "is_a_snapshot": true,
            "snapshot_of": of, "snapshot_time": EARLIER, "other_config": other_config});
        insert(&world, "VM", uuid, record);
    }
    let ours = (Kind::Snapshot, "a".to_owned(), Fate::Remove);
    assert_eq!(fates(&pool, USUAL), [ours, (Kind::Mark, "vm-uuid".to_owned(), Fate::Remove)]);
    remove_all(&pool);
    for (uuid, .., is_ours) in rows {
        let key = ("VM".to_owned(), format!("OpaqueRef:{uuid}"));
        assert_eq!(world.get().objects.contains_key(&key), !is_ours, "{uuid}");
    }
    assert_eq!(world.get().record("VM", VM)["other_config"], json!({}));
}

#[test]
fn memory_images_of_snapshots_go_with_these() {
    let (world, _host, pool) = world();
    let snapshot = json!({"uuid": "s", "is_a_snapshot": true, "snapshot_time": EARLIER,
        "power_state": "Suspended", "suspend_VDI": "OpaqueRef:memory", "other_config": {MARK: "s"}});
    insert(&world, "VM", "old", snapshot);
    let memory = json!({"uuid": "m", "is_a_snapshot": true, "other_config": {MARK: "m"}});
    insert(&world, "VDI", "memory", memory);
    assert_eq!(fates(&pool, USUAL), [(Kind::Snapshot, "s".to_owned(), Fate::Remove)]);
    remove_all(&pool);
    check_nothing_stays(&world);
}

#[test]
fn the_latest_disk_that_tells_changes_stays_for_each_disk_and_repository() {
    let (world, _host, pool) = world();
    let rows = [
        ("a", "OpaqueRef:vdi", "here", "20261120T02:00:00Z", Fate::Remove),
        ("b", "OpaqueRef:vdi", "here", "20261121T02:00:00Z", Fate::Needed),
        ("c", "OpaqueRef:vdi", "there", "20261119T02:00:00Z", Fate::Needed),
        ("d", "OpaqueRef:gone", "here", "20261121T02:00:00Z", Fate::Remove),
        ("e", "OpaqueRef:vdi", "new", NOW, Fate::Young),
    ];
    for (uuid, of, repository, time, _) in rows {
        let record = json!({"uuid": uuid, "type": "cbt_metadata", "is_a_snapshot": true,
            "snapshot_of": of, "snapshot_time": time, "VBDs": [],
            "other_config": {MARK: uuid, REPOSITORY: repository}});
        insert(&world, "VDI", uuid, record);
    }
    let expected = rows.map(|(uuid, .., fate)| (Kind::Tracking, uuid.to_owned(), fate));
    assert_eq!(fates(&pool, USUAL), expected);
    let all = Mercy { keep_tracking: false, ..USUAL };
    assert_eq!(fates(&pool, all)[1].2, Fate::Remove);
    remove_all(&pool);
    check_nothing_stays(&world);
}

#[test]
fn vms_that_a_backup_left_shut_down_or_suspended_are_brought_back() {
    for (state, kind, fate, word, becomes) in [
        ("Halted", Kind::Stopped, Fate::Start, "running", ""),
        ("Halted", Kind::Stopped, Fate::Start, "paused", ""),
        ("Running", Kind::Mark, Fate::Remove, "running", ""),
        ("Suspended", Kind::Stopped, Fate::Start, "running", " suspended"),
        ("Suspended", Kind::Stopped, Fate::Start, "paused", " suspended"),
        ("Running", Kind::Mark, Fate::Remove, "running", " suspended"),
    ] {
        let (world, _host, pool) = world();
        world.get().set_state(state);
        let mark = |time: &str| json!({POWER_MARK: format!("vm-uuid {word} {time}{becomes}")});
        world.get().change("VM", VM, "other_config", mark(NOW));
        assert_eq!(fates(&pool, USUAL), [(kind, "vm-uuid".to_owned(), Fate::Young)]);
        world.get().change("VM", VM, "other_config", mark(EARLIER));
        assert_eq!(fates(&pool, USUAL), [(kind, "vm-uuid".to_owned(), fate)]);
        remove_all(&pool);
        let expected = if word == "paused" { "Paused" } else { "Running" };
        assert_eq!(world.get().state(), expected);
        assert_eq!(world.get().record("VM", VM)["other_config"], json!({}));
    }
}

#[test]
fn tasks_of_ours_that_nobody_waits_for_go_and_others_stay() {
    let (world, _host, pool) = world();
    for label in ["Xenith: export of web", "Export of VM web"] {
        let params = [label.into(), "".into()];
        pool.session().call("task.create", &params).expect("a task");
    }
    let found = pool.leftovers().expect("a list");
    assert_eq!((found.len(), found[0].kind, &*found[0].name), (1, Kind::Task, "export of web"));
    assert_eq!(found[0].fate(USUAL), Fate::Remove);
    remove_all(&pool);
    assert_eq!(world.get().tasks.len(), 1);
}

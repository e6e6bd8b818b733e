//! Power states: every VM is taken as was asked, and comes back, whatever fails.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::source::{Consistency, Source, SourceError, SourceFacts};
use serde_json::json;

use super::host::Host;
use super::sources::{Diary, check_nothing_stays, read, world};
use super::world::{DISK_UUID, Shared, VM};
use crate::xapi::snapshot::POWER_MARK;
use crate::xapi::{Event, Mode, Observer, Pool, SourceOptions, XapiError};

/// What an error says, and what is behind it.
pub fn told(error: &SourceError) -> String {
    let behind = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", behind.unwrap_or_default())
}

pub fn take(
    pool: &Pool,
    mode: Mode,
    observer: Arc<dyn Observer>,
) -> Result<SourceFacts, SourceError> {
    let vm = pool.vms().expect("VMs").remove(0);
    let options = SourceOptions { mode, ..SourceOptions::new(observer) };
    let source: Box<dyn Source> = Box::new(pool.source(&vm.record, options)?);
    read(source).map(|(_, facts)| facts)
}

/// A pool whose VM is in `state`.
pub fn world_with(state: &str) -> (Shared, Host, Pool) {
    let (world, host, pool) = world();
    world.get().set_state(state);
    (world, host, pool)
}

#[track_caller]
pub fn check_as_before(world: &Shared, state: &str) {
    check_nothing_stays(world);
    let world = world.get();
    assert_eq!(world.state(), state);
    assert_eq!(world.record("VM", VM)["other_config"], json!({}), "marks");
}

#[test]
fn every_state_is_taken_in_every_mode_and_comes_back() {
    use Consistency::{Cold, Crash, Memory};
    let rows = [
        ("Running", Mode::Hot, Crash, &["VM.snapshot"][..]),
        ("Running", Mode::Warm, Memory, &["VM.checkpoint"]),
        ("Running", Mode::Cold, Cold, &["VM.clean_shutdown", "VM.snapshot", "VM.start"]),
        ("Paused", Mode::Hot, Crash, &["VM.snapshot"]),
        ("Paused", Mode::Warm, Memory, &["VM.checkpoint"]),
        (
            "Paused",
            Mode::Cold,
            Cold,
            &["VM.unpause", "VM.clean_shutdown", "VM.snapshot", "VM.start"],
        ),
        ("Halted", Mode::Hot, Cold, &["VM.snapshot"]),
        ("Halted", Mode::Warm, Cold, &["VM.snapshot"]),
        ("Halted", Mode::Cold, Cold, &["VM.snapshot"]),
        ("Suspended", Mode::Hot, Crash, &["VM.snapshot"]),
        ("Suspended", Mode::Warm, Memory, &["VM.checkpoint"]),
        ("Suspended", Mode::Cold, Crash, &["VM.snapshot"]),
    ];
    for (state, mode, consistency, calls) in rows {
        let (world, _host, pool) = world_with(state);
        let facts = take(&pool, mode, Arc::new(Diary::default())).expect("a whole VM");
        assert_eq!(facts.consistency, consistency, "{state} {mode:?}");
        assert_eq!(on_the_vm(&world), calls, "{state} {mode:?}");
        let preserved =
            world.get().calls.iter().filter(|call| call.contains("preserve_power_state")).count();
        assert_eq!(preserved == 1, consistency == Memory, "{state} {mode:?}");
        check_as_before(&world, state);
    }
}

/// Calls that change the VM, in their order.
fn on_the_vm(world: &Shared) -> Vec<String> {
    let world = world.get();
    let of_vm = world.calls.iter().filter_map(|call| call.strip_suffix(VM)?.strip_suffix(' '));
    let reads = ["get_record", "other_config"];
    of_vm
        .filter(|call| !reads.iter().any(|read| call.contains(read)) && !call.contains("Async"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn memory_of_a_suspended_vm_comes_along_if_it_is_asked_for() {
    let (world, _host, pool) = world_with("Suspended");
    let vm = pool.vms().expect("VMs").remove(0);
    let options = SourceOptions::new(Arc::new(Diary::default()));
    let source = pool.source(&vm.record, SourceOptions { memory: true, ..options });
    let (_, facts) = read(Box::new(source.expect("a source"))).expect("a whole VM");
    assert_eq!(facts.consistency, Consistency::Memory);
    check_as_before(&world, "Suspended");
}

#[test]
fn disks_that_are_not_wanted_go_from_a_snapshot_with_memory() {
    let (world, _host, pool) = world_with("Running");
    let vm = pool.vms().expect("VMs").remove(0);
    let options = SourceOptions::new(Arc::new(Diary::default()));
    let left_out = vec![DISK_UUID.to_owned()];
    let options = SourceOptions { mode: Mode::Warm, left_out, ..options };
    let source = pool.source(&vm.record, options).expect("a source");
    let is_there = |name: &str| world.get().objects.keys().any(|(_, other)| other == name);
    assert_eq!((is_there("OpaqueRef:snapshot"), is_there("OpaqueRef:disk")), (true, false));
    drop(source);
    check_as_before(&world, "Running");
}

/// Each call fails in turn: the VM is as before, and what stays is told.
#[test]
fn whatever_fails_the_vm_comes_back_and_no_snapshot_stays() {
    for (state, mode) in [
        ("Running", Mode::Hot),
        ("Running", Mode::Warm),
        ("Running", Mode::Cold),
        ("Paused", Mode::Warm),
        ("Paused", Mode::Cold),
    ] {
        let failed = (0..200).take_while(|after| !is_beyond_the_end(state, mode, *after)).count();
        assert!((25..200).contains(&failed), "{failed} calls of {state} {mode:?}");
    }
}

/// Whether the backup has fewer calls. If it has more, one of them fails.
fn is_beyond_the_end(state: &str, mode: Mode, after: usize) -> bool {
    let (world, _host, pool) = world_with(state);
    let vm = pool.vms().expect("VMs").remove(0);
    let diary = Arc::new(Diary::default());
    world.get().fails_after = Some(after);
    let options = SourceOptions { mode, ..SourceOptions::new(diary.clone()) };
    let source = pool.source(&vm.record, options);
    drop(source.and_then(|source| read(Box::new(source))));
    if world.get().fails_after.is_some() {
        check_as_before(&world, state);
        return true;
    }
    let told = diary.0.lock().expect("a lock").join(", ");
    if told.contains("stays") {
        let ours = ["snapshot", "disk", "drive", "memory"].map(|name| format!("OpaqueRef:{name}"));
        world.get().objects.retain(|(_, name), _| !ours.contains(name));
    }
    eprintln!("call {after} of {state} {mode:?} failed: {told}");
    check_as_before(&world, state);
    false
}

#[test]
fn a_vm_that_the_host_leaves_suspended_or_paused_goes_on() {
    for (before, left) in [
        ("Running", "Suspended"),
        ("Running", "Paused"),
        ("Paused", "Suspended"),
        ("Paused", "Running"),
    ] {
        let (world, _host, pool) = world_with(before);
        world.get().left_by_checkpoint = Some(left);
        let diary = Arc::new(Diary::default());
        take(&pool, Mode::Warm, diary.clone()).expect("a whole VM");
        assert!(diary.0.lock().expect("a lock").contains(&"back".to_owned()), "{before} {left}");
        check_as_before(&world, before);
    }
}

#[test]
fn a_vm_is_marked_while_its_host_suspends_it() {
    for (state, mark) in [
        ("Running", "\"vm-uuid running 20261122T06:30:00Z suspended\""),
        ("Paused", "\"vm-uuid paused 20261122T06:30:00Z suspended\""),
        ("Suspended", "null"),
    ] {
        let (world, _host, pool) = world_with(state);
        take(&pool, Mode::Warm, Arc::new(Diary::default())).expect("a whole VM");
        assert_eq!(world.get().has_called(&format!("marked: {mark}")), 1, "{state}");
        check_as_before(&world, state);
    }
}

#[test]
fn a_vm_that_a_killed_backup_left_suspended_is_resumed_by_the_next() {
    let (world, _host, pool) = world_with("Suspended");
    let mark = json!({POWER_MARK: "vm-uuid running 20261122T06:30:00Z suspended"});
    world.get().change("VM", VM, "other_config", mark);
    let diary = Arc::new(Diary::default());
    take(&pool, Mode::Hot, diary.clone()).expect("a whole VM");
    assert_eq!(diary.0.lock().expect("a lock")[0], "back");
    check_as_before(&world, "Running");
}

#[test]
fn a_vm_that_cannot_be_suspended_is_named() {
    for code in ["VM_LACKS_FEATURE", "VM_NON_SUSPENDABLE", "VM_BAD_POWER_STATE"] {
        let (world, _host, pool) = world_with("Running");
        world.get().refusals = [("VM.checkpoint", vec![code, "x"])].into();
        let error = take(&pool, Mode::Warm, Arc::new(Diary::default())).expect_err("it failed");
        assert!(told(&error).contains(&format!("VM web cannot be suspended: {code}")), "{error:?}");
        check_as_before(&world, "Running");
    }
}

#[test]
fn a_guest_that_does_not_shut_down_is_not_forced() {
    let (world, _host, pool) = world_with("Running");
    world.get().hangs = "VM.clean_shutdown";
    let vm = pool.vms().expect("VMs").remove(0);
    let shutdown_timeout = Duration::from_secs(3);
    let options = SourceOptions::new(Arc::new(Diary::default()));
    let options = SourceOptions { mode: Mode::Cold, shutdown_timeout, ..options };
    let error = pool.source(&vm.record, options).err().expect("it failed");
    assert!(told(&error).contains("VM web did not shut down within 3 s"), "{error:?}");
    assert_eq!(world.get().has_called("VM.hard_shutdown"), 0);
    assert_eq!(world.get().has_called("task.cancel"), 1);
    check_as_before(&world, "Running");
}

/// Wants nothing.
struct Gone;

impl Observer for Gone {
    fn event(&self, _event: Event) {}

    fn goes_on(&self) -> bool {
        false
    }
}

#[test]
fn a_vm_that_is_not_wanted_any_more_is_left_alone() {
    for mode in [Mode::Hot, Mode::Warm, Mode::Cold] {
        let (world, _host, pool) = world_with("Running");
        let error = take(&pool, mode, Arc::new(Gone)).expect_err("nobody wants it");
        assert!(told(&error).contains("any further"), "{error:?}");
        assert!(on_the_vm(&world).is_empty(), "{mode:?}");
        check_as_before(&world, "Running");
    }
}

/// Wants no more once the guest was told to shut down.
struct Leaver {
    world: Shared,
    goes_down: bool,
    diary: Diary,
}

impl Observer for Leaver {
    fn event(&self, event: Event) {
        if matches!(event, Event::LeavesShutdown { .. }) && self.goes_down {
            self.world.get().set_state("Halted");
        }
        self.diary.event(event);
    }

    fn goes_on(&self) -> bool {
        self.world.get().has_called("Async.VM.clean_shutdown") == 0
    }
}

#[test]
fn a_shutdown_that_is_not_wanted_any_more_is_cancelled() {
    for goes_down in [true, false] {
        let (world, _host, pool) = world_with("Running");
        world.get().hangs = "VM.clean_shutdown";
        let leaver = Leaver { world: world.clone(), goes_down, diary: Diary::default() };
        let leaver = Arc::new(leaver);
        let error = take(&pool, Mode::Cold, leaver.clone()).expect_err("it was left");
        assert_eq!(world.get().has_called("task.cancel"), 1);
        assert_eq!(world.get().has_called("VM.snapshot"), 0);
        let story = leaver.diary.0.lock().expect("a lock").join(", ");
        if goes_down {
            assert!(matches!(&error, SourceError::Io { source, .. }
                if source.kind() == io::ErrorKind::Interrupted));
            assert_eq!(story, "web is told to shut down, down, back");
            check_as_before(&world, "Running");
        } else {
            assert!(told(&error).contains("was told to shut down, and has not"), "{error:?}");
            assert_eq!(story, "web is told to shut down");
            check_nothing_stays(&world);
            let marks = world.get().record("VM", VM)["other_config"].clone();
            assert_eq!(marks[POWER_MARK], "vm-uuid running 20261122T06:30:00Z", "for later");
        }
    }
}

#[test]
fn a_vm_that_does_not_start_at_once_is_tried_again() {
    let (world, _host, pool) = world_with("Running");
    let no_memory = ("VM.start", vec!["HOST_NOT_ENOUGH_FREE_MEMORY", "2", "1"]);
    world.get().refusals = std::iter::repeat_n(no_memory, 5).collect();
    let diary = Arc::new(Diary::default());
    take(&pool, Mode::Cold, diary.clone()).expect("a whole VM");
    let told = diary.0.lock().expect("a lock").clone();
    assert_eq!(told, ["down", "taken snapshot-uuid", "back", "removed snapshot-uuid"]);
    check_as_before(&world, "Running");
}

#[test]
fn a_vm_that_does_not_start_is_told_loudly_and_started_by_the_next_backup() {
    let (world, _host, pool) = world_with("Running");
    let nowhere = ("VM.start", vec!["NO_HOSTS_AVAILABLE"]);
    world.get().refusals = std::iter::repeat_n(nowhere, 20).collect();
    let diary = Arc::new(Diary::default());
    let error = take(&pool, Mode::Cold, diary.clone()).expect_err("it failed");
    assert!(told(&error).contains("VM web was running, and cannot be brought back"), "{error:?}");
    let story = diary.0.lock().expect("a lock").clone();
    assert_eq!(story[..3], ["down", "taken snapshot-uuid", "removed snapshot-uuid"]);
    assert!(story[3].starts_with("not back: VM web was running"), "{story:?}");
    check_nothing_stays(&world);
    let mark = world.get().record("VM", VM)["other_config"][POWER_MARK].clone();
    assert_eq!(mark, "vm-uuid running 20261122T06:30:00Z");
    let facts = take(&pool, Mode::Hot, Arc::new(Diary::default())).expect("a whole VM");
    assert_eq!(facts.consistency, Consistency::Crash, "it ran again");
    check_as_before(&world, "Running");
}

#[test]
fn a_mark_that_was_copied_starts_nothing() {
    let (world, _host, pool) = world_with("Halted");
    let copied = json!({POWER_MARK: "another running 20261122T06:30:00Z"});
    world.get().change("VM", VM, "other_config", copied);
    take(&pool, Mode::Hot, Arc::new(Diary::default())).expect("a whole VM");
    assert_eq!(world.get().has_called("VM.start"), 0);
    assert_eq!(world.get().state(), "Halted");
}

/// Answers `before_snapshot`, and notes the order.
struct Hook {
    answer: Result<bool, ()>,
    order: Mutex<Vec<&'static str>>,
}

impl Observer for Hook {
    fn event(&self, event: Event) {
        let text = match event {
            Event::PoweredDown => "down",
            Event::PoweredBack => "back",
            Event::SnapshotTaken { .. } => "taken",
            _ => return,
        };
        self.order.lock().expect("a lock").push(text);
    }

    fn before_snapshot(&self) -> io::Result<bool> {
        self.order.lock().expect("a lock").push("before");
        self.answer.map_err(|()| io::Error::other("exit status: 7"))
    }

    fn after_snapshot(&self) {
        self.order.lock().expect("a lock").push("after");
    }
}

#[test]
fn what_runs_in_the_vm_is_told_before_and_after() {
    let rows = [
        (Mode::Hot, Ok(true), Consistency::Quiesced, "before after taken"),
        (Mode::Hot, Ok(false), Consistency::Crash, "before after taken"),
        (Mode::Cold, Ok(true), Consistency::Cold, "down before after taken back"),
    ];
    for (mode, answer, consistency, order) in rows {
        let (world, _host, pool) = world_with("Running");
        let hook = Arc::new(Hook { answer, order: Mutex::default() });
        let facts = take(&pool, mode, hook.clone()).expect("a whole VM");
        assert_eq!(facts.consistency, consistency);
        assert_eq!(hook.order.lock().expect("a lock").join(" "), order);
        check_as_before(&world, "Running");
    }
}

#[test]
fn without_what_has_to_come_before_there_is_no_snapshot() {
    let (world, _host, pool) = world_with("Running");
    let hook = Arc::new(Hook { answer: Err(()), order: Mutex::default() });
    let error = take(&pool, Mode::Cold, hook.clone()).expect_err("it failed");
    assert!(told(&error).contains("exit status: 7"), "{error:?}");
    assert_eq!(hook.order.lock().expect("a lock").join(" "), "down before after back");
    assert_eq!(world.get().has_called("VM.snapshot"), 0);
    check_as_before(&world, "Running");
}

#[test]
fn templates_are_read_themselves() {
    let (world, _host, pool) = world_with("Halted");
    world.get().change("VM", VM, "is_a_template", json!(true));
    assert_eq!(pool.vms().expect("VMs").len(), 0);
    let template = pool.templates().expect("templates").remove(0);
    let options = SourceOptions::new(Arc::new(Diary::default()));
    let source = pool.source(&template.record, options).expect("a source");
    let (disks, facts) = read(Box::new(source)).expect("a whole template");
    assert!(disks.iter().any(|(name, _)| name == "xvda"), "{disks:?}");
    assert_eq!((facts.consistency, facts.vm_name.as_deref()), (Consistency::Cold, Some("web")));
    assert_eq!(world.get().has_called("VM.snapshot"), 0);
    check_as_before(&world, "Halted");

    let options = SourceOptions::new(Arc::new(Diary::default()));
    let options = SourceOptions { left_out: vec![DISK_UUID.to_owned()], ..options };
    let error = pool.source(&template.record, options).err().expect("it failed");
    assert!(told(&error).contains("web is a template"), "{error:?}");
}

#[test]
fn templates_that_came_with_the_product_are_not_listed() {
    let (world, _host, pool) = world_with("Halted");
    world.get().change("VM", VM, "is_a_template", json!(true));
    for (field, value) in [
        ("is_default_template", json!(true)),
        ("other_config", json!({"default_template": "true"})),
    ] {
        let before = world.get().record("VM", VM).get(field).cloned();
        world.get().change("VM", VM, field, value);
        assert_eq!(pool.templates().expect("templates").len(), 0, "{field}");
        world.get().change("VM", VM, field, before.unwrap_or(json!(false)));
    }
}

#[test]
fn disks_without_snapshots_are_named_before_anything_is_done() {
    for (field, value, why) in [
        ("sharable", json!(true), "several VMs may have it at once"),
        ("on_boot", json!("reset"), "it is reset whenever its VM starts"),
    ] {
        let (world, _host, pool) = world_with("Running");
        world.get().change("VDI", "OpaqueRef:vdi", field, value);
        world.get().change("VDI", "OpaqueRef:vdi", "name_label", json!("scratch"));
        let error = take(&pool, Mode::Cold, Arc::new(Diary::default())).expect_err("it failed");
        let text = format!("disk scratch ({DISK_UUID}) of VM web cannot be part of a snapshot");
        assert!(told(&error).contains(&format!("{text}: {why}")), "{error:?}");
        assert!(on_the_vm(&world).is_empty());
        check_as_before(&world, "Running");
    }
}

#[test]
fn storage_without_room_is_told_before_anything_is_done() {
    let (world, _host, pool) = world_with("Running");
    for (field, value) in [("physical_size", 1u64 << 40), ("physical_utilisation", (1 << 40) - 5)] {
        world.get().change("SR", "OpaqueRef:sr", field, json!(value.to_string()));
    }
    for _night in 0..2 {
        let error = take(&pool, Mode::Cold, Arc::new(Diary::default())).expect_err("it failed");
        assert!(told(&error).contains("a snapshot needs 51.1 GiB, SR local has 5 B"), "{error:?}");
    }
    assert_eq!(world.get().has_called("SR.scan"), 1, "once in a run");
    assert!(on_the_vm(&world).is_empty());
    let vm = pool.vms().expect("VMs").remove(0);
    let options = SourceOptions::new(Arc::new(Diary::default()));
    assert!(pool.source(&vm.record, SourceOptions { force: true, ..options }).is_ok());
    check_as_before(&world, "Running");
}

#[test]
fn storage_that_cannot_be_scanned_is_a_note_and_unplugged_storage_an_error() {
    let (world, _host, pool) = world_with("Running");
    world.get().refusals = [("SR.scan", vec!["RBAC_PERMISSION_DENIED", "sr.scan", "no"])].into();
    let diary = Arc::new(Diary::default());
    take(&pool, Mode::Hot, diary.clone()).expect("a whole VM");
    assert!(diary.0.lock().expect("a lock")[0].starts_with("not scanned local: "));
    world.get().change("PBD", "OpaqueRef:pbd", "currently_attached", json!(false));
    let error = take(&pool, Mode::Hot, Arc::new(Diary::default())).expect_err("it failed");
    let behind = std::error::Error::source(&error).and_then(|io| io.downcast_ref::<io::Error>());
    let behind = behind.and_then(|io| io.get_ref()?.downcast_ref::<XapiError>());
    assert!(matches!(behind, Some(XapiError::NotAttached { sr }) if sr == "local"), "{error:?}");
    check_as_before(&world, "Running");
}

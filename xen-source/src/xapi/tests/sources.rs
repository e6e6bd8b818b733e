//! VMs as sources: what they deliver, and that nothing of ours stays on the pool.

use std::sync::{Arc, Mutex};

use engine::source::{NextSegment, SEGMENT_LEN, Source, SourceError, SourceFacts};

use super::host::Host;
use super::maker::Archive;
use super::world::{DISK_UUID, Outcome, Shared, VM, connect};
use crate::xapi::Pool;
use crate::xapi::options::{Event, Observer, SourceOptions};
use crate::xapi::snapshot::MARK;

/// Keeps what it is told.
#[derive(Default)]
pub struct Diary(pub Mutex<Vec<String>>);

impl Observer for Diary {
    fn event(&self, event: Event) {
        let text = match event {
            Event::DiskBegins { .. } => return,
            Event::PoweredDown => "down".to_owned(),
            Event::PoweredBack => "back".to_owned(),
            Event::LeavesShutdown { vm } => format!("{vm} is told to shut down"),
            Event::NotBack { error } => format!("not back: {error}"),
            Event::NotScanned { sr, error } => format!("not scanned {sr}: {error}"),
            Event::SnapshotTaken { uuid } => format!("taken {uuid}"),
            Event::SnapshotRemoved { uuid } => format!("removed {uuid}"),
            Event::SnapshotStays { uuid, error } => format!("stays {uuid}: {error}"),
            Event::TraceStays { error } => format!("a trace stays: {error}"),
        };
        self.0.lock().expect("a lock").push(text);
    }
}

/// A pool whose VM can be exported.
pub fn world() -> (Shared, Host, Pool) {
    let world = Shared::new();
    let host = world.host();
    world.get().export = Archive::sample().make();
    let (pool, _) = connect(&[&host]).expect("a session");
    (world, host, pool)
}

pub fn open(pool: &Pool, diary: &Arc<Diary>) -> Result<Box<dyn Source>, SourceError> {
    let vm = pool.vms().expect("VMs").remove(0);
    let source = pool.source(&vm.record, SourceOptions::new(diary.clone()))?;
    Ok(Box::new(source))
}

/// Keys of all disks and streams, and the facts.
pub fn read(
    mut source: Box<dyn Source>,
) -> Result<(Vec<(String, String)>, SourceFacts), SourceError> {
    let mut buffer = vec![0; SEGMENT_LEN];
    let mut disks = Vec::new();
    while let Some(disk) = source.next_disk()? {
        disks.push((disk.name, disk.key));
        while let NextSegment::Filled { .. } = source.next_segment(&mut buffer)? {}
    }
    Ok((disks, source.facts()))
}

#[track_caller]
pub fn check_nothing_stays(world: &Shared) {
    let world = world.get();
    assert_eq!(world.tasks.len(), 0, "tasks");
    let names: Vec<_> = world.objects.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["OpaqueRef:pbd", "OpaqueRef:sr", "OpaqueRef:vbd", "OpaqueRef:vdi", VM]);
}

#[test]
fn a_vm_comes_under_its_own_name_and_leaves_nothing() {
    let (world, _host, pool) = world();
    let diary = Arc::new(Diary::default());
    let source = open(&pool, &diary).expect("a source");
    {
        let world = world.get();
        let snapshot = world.record("VM", "OpaqueRef:snapshot");
        assert_eq!(snapshot["name_label"], "web");
        assert_eq!(snapshot["is_a_template"], false);
        assert_eq!(snapshot["other_config"][MARK], "snapshot-uuid");
        let disk = world.record("VDI", "OpaqueRef:disk");
        assert_eq!(disk["other_config"][MARK], Archive::vdi_uuid(0));
    }
    let (disks, facts) = read(source).expect("a whole VM");
    assert_eq!(
        (facts.vm_uuid.as_deref(), facts.vm_name.as_deref()),
        (Some("vm-uuid"), Some("web"))
    );
    assert!(disks.contains(&("xvda".to_owned(), DISK_UUID.to_owned())), "{disks:?}");
    assert_eq!(*diary.0.lock().expect("a lock"), ["taken snapshot-uuid", "removed snapshot-uuid"]);
    check_nothing_stays(&world);
}

#[test]
fn a_source_that_is_dropped_leaves_nothing() {
    let (world, _host, pool) = world();
    world.get().outcome = Outcome::Silence;
    let mut source = open(&pool, &Arc::default()).expect("a source");
    source.next_disk().expect("the record");
    drop(source);
    check_nothing_stays(&world);
}

#[test]
fn an_export_that_fails_says_why_and_leaves_nothing() {
    for kept in [0, 600, 700_000] {
        let (world, _host, pool) = world();
        world.get().export.truncate(kept);
        world.get().outcome = Outcome::Failure("SR_BACKEND_FAILURE_46");
        let error = open(&pool, &Arc::default()).and_then(read).expect_err("it failed");
        let text = format!("{error:?}");
        assert!(text.contains("SR_BACKEND_FAILURE_46"), "{kept}: {text}");
        check_nothing_stays(&world);
    }
}

#[test]
fn a_task_that_fails_after_a_whole_stream_makes_no_backup() {
    let (world, _host, pool) = world();
    world.get().outcome = Outcome::Failure("CLIENT_ERROR");
    assert!(open(&pool, &Arc::default()).and_then(read).is_err());
    check_nothing_stays(&world);
}

#[test]
fn a_pool_that_refuses_half_way_keeps_nothing() {
    for method in ["VM.set_name_label", "VDI.add_to_other_config", "VM.set_is_a_template"] {
        let (world, _host, pool) = world();
        world.get().refusals = [(method, vec!["INTERNAL_ERROR", "x"])].into();
        assert!(open(&pool, &Arc::default()).is_err(), "{method}");
        let world = world.get();
        let mut names = world.objects.keys().map(|(_, name)| name.as_str());
        assert!(!names.any(|name| name == "OpaqueRef:snapshot"), "{method}");
    }
}

#[test]
fn disks_that_are_not_wanted_are_named_to_the_pool() {
    let (world, _host, pool) = world();
    let vm = pool.vms().expect("VMs").remove(0);
    for (uuid, is_known) in [(DISK_UUID, true), ("nobody", false)] {
        let left_out = vec![uuid.to_owned()];
        let options = SourceOptions::new(Arc::new(Diary::default()));
        let source = pool.source(&vm.record, SourceOptions { left_out, ..options });
        assert_eq!(source.is_ok(), is_known);
    }
    assert_eq!(world.get().has_called(r#"left out: ["OpaqueRef:vdi"]"#), 1);
    check_nothing_stays(&world);
}

#[test]
fn old_hosts_take_two_parameters_for_a_snapshot() {
    let (world, _host, pool) = world();
    let mismatch = vec!["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.snapshot", "2", "3"];
    world.get().refusals = [("VM.snapshot", mismatch)].into();
    open(&pool, &Arc::default()).and_then(read).expect("a whole VM");
    assert_eq!(world.get().has_called("VM.snapshot"), 2);
    assert_eq!(world.get().has_called("left out: null"), 1);
}

#[test]
fn a_snapshot_is_not_taken_twice_when_its_task_cannot_be_seen() {
    let (world, _host, pool) = world();
    let away = ("task.get_record", vec!["HOST_OFFLINE", "x"]);
    world.get().refusals = std::iter::repeat_n(away, 6).collect();
    let vm = pool.vms().expect("VMs").remove(0);
    let options = SourceOptions { scan: false, ..SourceOptions::new(Arc::new(Diary::default())) };
    assert!(pool.source(&vm.record, options).is_err());
    assert_eq!(world.get().has_called("VM.snapshot"), 1);
}

#[test]
fn a_coordinator_that_changes_while_a_vm_is_read_does_no_harm() {
    let (world, _host, pool) = world();
    let new = world.host();
    let source = open(&pool, &Arc::default()).expect("a source");
    world.get().coordinator = new.address.to_string();
    world.get().sessions.clear();
    read(source).expect("a whole VM");
    check_nothing_stays(&world);
}

#[test]
fn a_disk_that_is_still_in_use_is_waited_for() {
    let (world, _host, pool) = world();
    let in_use = ("VDI.destroy", vec!["VDI_IN_USE", "x", "destroy"]);
    world.get().refusals = std::iter::repeat_n(in_use, 9).collect();
    open(&pool, &Arc::default()).and_then(read).expect("a whole VM");
    check_nothing_stays(&world);
}

//! Tasks that the pool does not know any more: what may happen twice is done again, and of a
//! snapshot there is never more than one (contract 1.6, 1.8).

use std::sync::Arc;

use serde_json::json;

use super::powers::{check_as_before, take, told, world_with};
use super::sources::Diary;
use super::world::VM;
use crate::xapi::Mode;

#[test]
fn a_snapshot_whose_task_is_lost_is_taken_once_more_and_there_is_only_one() {
    for (state, mode, method) in [
        ("Running", Mode::Hot, "VM.snapshot"),
        ("Running", Mode::Cold, "VM.snapshot"),
        ("Running", Mode::Warm, "VM.checkpoint"),
    ] {
        for is_done in [true, false] {
            let (world, _host, pool) = world_with(state);
            world.get().loses = Some((method, is_done));
            take(&pool, mode, Arc::new(Diary::default())).expect("a whole VM");
            let begun = world.get().has_called(&format!("Async.{method} "));
            let destroyed = world.get().has_called("Async.VM.destroy OpaqueRef:snapshot");
            assert_eq!((begun, destroyed), (2, 1 + usize::from(is_done)), "{mode:?} {is_done}");
            check_as_before(&world, state);
        }
    }
}

#[test]
fn a_snapshot_of_somebody_else_stays_when_a_task_is_lost() {
    let (world, _host, pool) = world_with("Running");
    let other = json!({"xenith-taking": "vm-uuid 20261122T06:29:59Z"});
    world.get().snapshot("Xenith: unfinished snapshot");
    world.get().change("VM", "OpaqueRef:snapshot", "other_config", other);
    world.get().loses = Some(("VM.snapshot", false));
    take(&pool, Mode::Hot, Arc::new(Diary::default())).expect("a whole VM");
    // The second snapshot took its place in this small world, and only that one went.
    assert_eq!(world.get().has_called("Async.VM.destroy"), 1);
}

#[test]
fn as_long_as_a_lost_snapshot_may_still_be_taken_there_is_no_second() {
    let (world, _host, pool) = world_with("Running");
    world.get().change("VM", VM, "current_operations", json!({"OpaqueRef:t": "snapshot"}));
    world.get().loses = Some(("VM.snapshot", false));
    let error = take(&pool, Mode::Hot, Arc::new(Diary::default())).expect_err("it failed");
    assert!(told(&error).contains("snapshot of web"), "{error:?}");
    assert_eq!(world.get().has_called("Async.VM.snapshot"), 1);
}

#[test]
fn a_removal_whose_task_is_lost_is_done_once_more() {
    for method in ["VM.destroy", "VDI.destroy"] {
        for is_done in [true, false] {
            let (world, _host, pool) = world_with("Running");
            world.get().loses = Some((method, is_done));
            let diary = Arc::new(Diary::default());
            take(&pool, Mode::Hot, diary.clone()).expect("a whole VM");
            let story = diary.0.lock().expect("a lock").join(", ");
            assert_eq!(story, "taken snapshot-uuid, removed snapshot-uuid", "{method} {is_done}");
            check_as_before(&world, "Running");
        }
    }
}

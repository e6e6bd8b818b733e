//! Decisions about power, and the marks of VMs.

use super::*;
use PowerState::{Halted, Other, Paused, Running, Suspended};

#[test]
fn the_mode_and_the_power_state_decide_what_is_done() {
    let rows = "
        halted    any   snapshot   cold
        running   hot   snapshot   crash
        paused    hot   snapshot   crash
        other     hot   snapshot   crash
        suspended hot   snapshot   crash
        suspended cold  snapshot   crash
        suspended warm  checkpoint memory
        running   warm  checkpoint memory
        paused    warm  checkpoint memory
        running   cold  halt       cold
        paused    cold  halt       cold
        other     warm  nothing    -
        other     cold  nothing    -";
    for row in rows.lines().skip(1) {
        let words: Vec<_> = row.split_whitespace().collect();
        let modes = [("hot", Mode::Hot), ("warm", Mode::Warm), ("cold", Mode::Cold)];
        for (_, mode) in modes.into_iter().filter(|(name, _)| ["any", name].contains(&words[1])) {
            let found = told(plan(state(words[0]), mode, false));
            assert_eq!(found, words[2..].join(" "), "{row}");
        }
    }
}

fn state(word: &str) -> PowerState {
    let states = [("halted", Halted), ("running", Running), ("paused", Paused)];
    let states = states.into_iter().chain([("suspended", Suspended), ("other", Other)]);
    states.into_iter().find(|(name, _)| *name == word).expect("a state").1
}

fn told(plan: Option<Plan>) -> String {
    let Some(plan) = plan else {
        return "nothing -".to_owned();
    };
    let taking = match plan.taking {
        _ if plan.must_halt => "halt".to_owned(),
        taking => format!("{taking:?}").to_lowercase(),
    };
    assert_eq!(plan.memory == Memory::Include, plan.taking == Taking::Checkpoint);
    format!("{taking} {}", format!("{:?}", plan.consistency).to_lowercase())
}

#[test]
fn memory_is_asked_for_only_where_there_is_some() {
    for mode in [Mode::Hot, Mode::Cold] {
        assert_eq!(told(plan(Suspended, mode, true)), "checkpoint memory");
        assert_eq!(told(plan(Halted, mode, true)), "snapshot cold");
    }
    assert_eq!(told(plan(Running, Mode::Hot, true)), "snapshot crash");
}

#[test]
fn those_that_ran_come_back_from_anywhere() {
    let start = |paused| Some(Way::Start { paused });
    let resume = |paused| Some(Way::Resume { paused });
    let rows = [
        (Running, Halted, start(false)),
        (Running, Suspended, resume(false)),
        (Running, Paused, Some(Way::Unpause)),
        (Running, Running, None),
        (Paused, Halted, start(true)),
        (Paused, Suspended, resume(true)),
        (Paused, Running, Some(Way::Pause)),
        (Paused, Paused, None),
        (Running, Other, None),
        (Halted, Running, None),
        (Suspended, Halted, None),
        (Other, Halted, None),
    ];
    for (was, is, way) in rows {
        assert_eq!(way_back(was, is), way, "from {is:?} to {was:?}");
    }
}

#[test]
fn what_the_host_found_decides_how_consistent_a_snapshot_is() {
    use Consistency::{Cold, Crash, Memory, Quiesced};
    let rows = [
        (Cold, false, Some(Halted), Cold),
        (Cold, true, None, Cold),
        (Cold, false, Some(Running), Crash),
        (Crash, false, Some(Running), Crash),
        (Crash, true, Some(Running), Quiesced),
        (Crash, true, None, Quiesced),
        (Crash, true, Some(Suspended), Crash),
        (Memory, true, Some(Running), Memory),
    ];
    for (planned, has_flushed, found, expected) in rows {
        assert_eq!(consistency(planned, has_flushed, found), expected, "{planned:?} {found:?}");
    }
}

fn marked(mark: &str, is_a_snapshot: bool) -> VmRecord {
    let json = format!(
        r#"{{"uuid":"u","is_a_snapshot":{is_a_snapshot},"other_config":{{"{POWER_MARK}":"{mark}"}}}}"#
    );
    let value = crate::xapi::json::parse_value(json.as_bytes()).expect("a record");
    <VmRecord as crate::xapi::objects::Record>::of("r", &value).expect("a VM")
}

#[test]
fn only_a_mark_with_the_own_uuid_says_anything() {
    let told = |mark: &str, is_a_snapshot: bool| {
        let vm = marked(mark, is_a_snapshot);
        stopped(&vm).map(|stopped| (stopped.was, stopped.since.to_owned()))
    };
    assert_eq!(told("u running T", false), Some((Running, "T".to_owned())));
    assert_eq!(told("u paused", false), Some((Paused, String::new())));
    for (mark, is_a_snapshot) in
        [("v running T", false), ("u", false), ("u halted", false), ("u running T", true)]
    {
        assert_eq!(told(mark, is_a_snapshot), None, "{mark}");
    }
}

#[test]
fn a_vm_is_down_for_us_only_if_it_is_as_its_backup_left_it() {
    let rows = [
        ("u running T", Halted, true),
        ("u running T", Suspended, false),
        ("u running T", Running, false),
        ("u running T suspended", Suspended, true),
        ("u paused T suspended", Suspended, true),
        ("u running  suspended", Suspended, true),
        ("u running T suspended", Halted, false),
        ("u running T suspended", Running, false),
    ];
    for (mark, power_state, is_down) in rows {
        let vm = VmRecord { power_state, ..marked(mark, false) };
        assert_eq!(stopped(&vm).map(|stopped| stopped.is_down), Some(is_down), "{mark}");
    }
}

//! Who waits for whom, by tables, and against a model that looks at every pair of VMs.

use proptest::prelude::{Strategy, any, proptest};
use proptest::prop_assert_eq;

use super::*;

/// vApp, order and delay in seconds of a VM; of no vApp if its name is empty.
type Vm<'a> = (&'a str, u64, u64);

fn facts((vapp, order, start_delay_secs): Vm<'_>) -> StartFacts {
    let vapp = Some(vapp.to_owned()).filter(|vapp| !vapp.is_empty());
    StartFacts { vapp, order, start_delay_secs, memory_bytes: 1 << 30 }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Restores in their order, and of each vApp the places and delays of its orders.
#[track_caller]
fn check_schedule(vms: &[Vm<'_>], restores: &[usize], vapps: &[&[(&[usize], u64)]]) {
    let vms: Vec<_> = vms.iter().copied().map(facts).collect();
    let found = Schedule::of(&vms, |_| true);
    assert_eq!(found.restores, restores, "{vms:?}");
    let order =
        |(places, delay): &(&[usize], u64)| Order { places: places.to_vec(), delay: secs(*delay) };
    let vapps: Vec<Vec<Order>> =
        vapps.iter().map(|orders| orders.iter().map(order).collect()).collect();
    assert_eq!(found.vapps, vapps, "{vms:?}");
}

#[test]
fn orders_follow_each_other_within_a_vapp() {
    check_schedule(&[], &[], &[]);
    check_schedule(&[("", 0, 0), ("", 7, 0)], &[0, 1], &[&[(&[0], 0)], &[(&[1], 0)]]);
    check_schedule(&[("shop", 2, 0), ("shop", 0, 0)], &[1, 0], &[&[(&[1], 0), (&[0], 0)]]);
    // Numbers tell only what comes before what.
    check_schedule(
        &[("shop", 5, 0), ("shop", 900, 0), ("shop", 5, 0)],
        &[0, 2, 1],
        &[&[(&[0, 2], 0), (&[1], 0)]],
    );
    check_schedule(
        &[("shop", 0, 0), ("mail", 3, 0), ("shop", 1, 0), ("mail", 9, 0), ("", 4, 0)],
        &[0, 1, 4, 2, 3],
        &[&[(&[1], 0), (&[3], 0)], &[(&[0], 0), (&[2], 0)], &[(&[4], 0)]],
    );
}

#[test]
fn the_longest_delay_of_an_order_counts() {
    check_schedule(
        &[("shop", 0, 5), ("shop", 0, 9), ("shop", 1, u64::MAX)],
        &[0, 1, 2],
        &[&[(&[0, 1], 9), (&[2], 3600)]],
    );
}

#[test]
fn nobody_waits_for_vms_that_stay_off() {
    let vms = [("shop", 0, 9), ("shop", 1, 0), ("", 0, 0)].map(facts);
    let found = Schedule::of(&vms, |place| place == 1);
    let alone = vec![Order { places: vec![1], delay: Duration::ZERO }];
    assert_eq!(found, Schedule { restores: vec![0, 2, 1], vapps: vec![alone] });
    assert_eq!(Schedule::of(&vms, |_| false).vapps, Vec::<Vec<Order>>::new());
}

/// Walks a schedule in which each restore and each start takes so many seconds and ends well or
/// not: when each VM was to be restored, was, was to be started, and was settled.
fn walk(schedule: &Schedule, at_once: usize, tasks: &[Task]) -> Vec<[Option<u64>; 4]> {
    let mut standing = Standing::of(schedule, at_once);
    let mut told = vec![[None; 4]; tasks.len()];
    let mut under_way: Vec<(u64, bool, usize)> = Vec::new();
    let mut now = 0;
    loop {
        let wake = match standing.next(secs(now)) {
            Next::Restore(place) => {
                told[place][0] = Some(now);
                under_way.push((now + tasks[place].restore_secs, false, place));
                continue;
            }
            Next::Start(place) => {
                told[place][2] = Some(now);
                under_way.push((now + tasks[place].start_secs, true, place));
                continue;
            }
            Next::End => return told,
            Next::Wait(time) => time.map(|time| now + time.as_secs()),
        };
        let end = under_way.iter().map(|(end, ..)| *end).min();
        now = end.into_iter().chain(wake).min().expect("something to wait for");
        under_way.retain(|(end, is_start, place)| {
            if *end > now {
                return true;
            }
            let is_restored = !is_start && tasks[*place].is_restored;
            if is_restored {
                told[*place][1] = Some(now);
                standing.restored(*place, secs(now));
            } else {
                standing.settled(*place, secs(now));
            }
            let has_end = *is_start || !is_restored;
            if has_end || !schedule.vapps.iter().flatten().any(|it| it.places.contains(place)) {
                told[*place][3] = Some(now);
            }
            false
        });
    }
}

/// What becomes of a VM.
#[derive(Debug, Clone, Copy)]
struct Task {
    restore_secs: u64,
    is_restored: bool,
    start_secs: u64,
}

/// Restores and starts that all end well.
fn good<const LEN: usize>(times: [(u64, u64); LEN]) -> [Task; LEN] {
    times.map(|(restore_secs, start_secs)| Task { restore_secs, is_restored: true, start_secs })
}

/// When each VM was to be started, in seconds; `None`: never.
#[track_caller]
fn check_starts(vms: &[Vm<'_>], at_once: usize, tasks: &[Task], expected: &[Option<u64>]) {
    let facts: Vec<_> = vms.iter().copied().map(facts).collect();
    let told = walk(&Schedule::of(&facts, |_| true), at_once, tasks);
    let starts: Vec<_> = told.iter().map(|times| times[2]).collect();
    assert_eq!(starts, expected, "{vms:?} {tasks:?}");
}

#[test]
fn only_a_start_waits_and_only_for_its_own_vapp() {
    let slow = ("slow", 0, 100);
    let vms = [slow, ("slow", 1, 0), ("quick", 0, 1), ("quick", 1, 0), ("", 9, 0)];
    let tasks = good([(10, 0), (10, 0), (10, 0), (10, 0), (10, 0)]);
    // Restored two at a time: 0 and 2, 4 and 1, 3.
    check_starts(&vms, 2, &tasks, &[Some(10), Some(110), Some(10), Some(30), Some(20)]);
    // One after the other: 0, 2, 4, 1, 3. Nobody sleeps while 3 can be restored.
    check_starts(&vms, 1, &tasks, &[Some(10), Some(110), Some(20), Some(50), Some(30)]);
}

#[test]
fn a_delay_counts_from_the_last_start_of_the_order_before() {
    let vms = [("shop", 0, 60), ("shop", 0, 0), ("shop", 1, 0)];
    check_starts(&vms, 3, &good([(1, 5), (10, 5), (1, 5)]), &[Some(1), Some(10), Some(75)]);
}

#[test]
fn one_that_fails_holds_up_nobody() {
    let vms = [("shop", 0, 0), ("shop", 1, 0), ("shop", 2, 0)];
    let mut tasks = good([(20, 0), (5, 0), (1, 0)]);
    tasks[0].is_restored = false;
    check_starts(&vms, 3, &tasks, &[None, Some(20), Some(20)]);
    // One that fails before its turn makes nobody start before the orders before it.
    let mut tasks = good([(20, 3), (5, 0), (1, 0)]);
    tasks[1].is_restored = false;
    let vms = [("shop", 0, 30), ("shop", 1, 0), ("shop", 2, 0)];
    check_starts(&vms, 3, &tasks, &[Some(20), None, Some(53)]);
}

#[test]
fn nothing_begins_after_a_stop_and_what_is_under_way_ends() {
    let schedule = Schedule::of(&[("", 0, 0), ("", 0, 0), ("", 0, 0)].map(facts), |_| true);
    let mut standing = Standing::of(&schedule, 2);
    assert_eq!(
        [standing.next(secs(0)), standing.next(secs(0))],
        [Next::Restore(0), Next::Restore(1)]
    );
    standing.restored(0, secs(1));
    standing.stop(secs(1));
    assert_eq!(standing.next(secs(1)), Next::Wait(None), "the second is under way");
    standing.settled(1, secs(2));
    assert_eq!(standing.next(secs(2)), Next::End);
}

fn any_vm() -> impl Strategy<Value = (&'static str, u64, u64)> {
    ((0..4usize), 0..4u64, 0..30u64)
        .prop_map(|(vapp, order, delay)| (["", "a", "b", "c"][vapp], order, delay))
}

fn any_task() -> impl Strategy<Value = Task> {
    (1..50u64, any::<u8>(), 0..1u64).prop_map(|(restore_secs, dice, start_secs)| Task {
        restore_secs,
        is_restored: dice > 40,
        start_secs,
    })
}

/// When each VM is settled, and was to be started, if starts take no time: restores fill as many
/// lanes as there are, and a start waits for every VM of a lower order of its vApp, and behind the
/// last of each order for the longest delay of that.
fn model(vms: &[Vm<'_>], at_once: usize, tasks: &[Task]) -> Vec<[Option<u64>; 2]> {
    let rank = |place: usize| {
        let (vapp, order, _) = vms[place];
        let lower = vms.iter().filter(|it| it.0 == vapp && it.1 < order).map(|it| it.1);
        if vapp.is_empty() { 0 } else { lower.collect::<BTreeSet<_>>().len() }
    };
    let mut places: Vec<usize> = (0..vms.len()).collect();
    places.sort_by_key(|place| (rank(*place), *place));
    let mut lanes = vec![0; at_once];
    let mut found = vec![[None; 2]; vms.len()];
    let mut restored = vec![0; vms.len()];
    for place in &places {
        let lane = lanes.iter_mut().min().expect("a lane");
        *lane += tasks[*place].restore_secs;
        restored[*place] = *lane;
    }
    for place in places {
        if !tasks[place].is_restored {
            found[place][0] = Some(restored[place]);
            continue;
        }
        let (vapp, order, _) = vms[place];
        let mut at = restored[place];
        for lower in 0..order {
            let of_it = (0..vms.len())
                .filter(|it| !vapp.is_empty() && (vms[*it].0, vms[*it].1) == (vapp, lower));
            let of_it: Vec<usize> = of_it.collect();
            let latest = of_it.iter().filter_map(|it| found[*it][0]).max();
            let delay = of_it.iter().map(|it| vms[*it].2).max();
            at = at.max(latest.unwrap_or(0) + delay.unwrap_or(0));
        }
        found[place] = [Some(at), Some(at)];
    }
    found
}

proptest! {
    #[test]
    fn every_vm_starts_as_soon_as_it_may(
        given in proptest::collection::vec((any_vm(), any_task()), 0..12),
        at_once in 1..4usize,
    ) {
        let (vms, tasks): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let facts: Vec<_> = vms.iter().copied().map(facts).collect();
        let told = walk(&Schedule::of(&facts, |_| true), at_once, &tasks);
        let told: Vec<_> = told.iter().map(|times| [times[3], times[2]]).collect();
        prop_assert_eq!(told, model(&vms, at_once, &tasks));
    }
}

//! VMs are restored, several at once, and started in the order of their vApps. One that fails does
//! not stop the others.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::parallel::{Workers, in_lanes};
use engine::restore::SnapshotContent;
use xen_source::xapi::Pool;
use xen_source::xapi::destination::{Plan, Restored, restore};
use xen_source::xapi::fail_over::sum;
use xen_source::xapi::schedule::{Next, Schedule, Standing};
use xen_source::xapi::trial::Booted;

use super::candidate::Candidate;
use super::outlook::size_of;
use super::stock::Stock;
use crate::advice::{Doing as _, Failure, Unrestored, in_words, refused};
use crate::commands::restore::{Course, Stoppable, notes_text};
use crate::interrupt;
use crate::job::Job;
use crate::progress::{Extent, Progress};

/// What holds for all VMs.
pub struct BringUp<'a> {
    /// How it is told.
    pub job: &'a Job,
    /// Where VMs come from.
    pub stocks: &'a [Stock<'a>],
    /// Who computes.
    pub workers: &'a Workers,
    /// Where they go.
    pub pool: &'a Pool,
    /// VMs that are restored at once; as many are started at once.
    pub lanes: NonZeroUsize,
    /// VMs that are there already, by their places.
    pub present: BTreeMap<usize, Restored>,
    /// What is not as it should be, though the VMs are, in words.
    pub notes: Mutex<Vec<String>>,
    /// Looks at each as soon as it is there. One that it refuses counts as lost.
    pub look: &'a (dyn Fn(&Candidate, &Restored) -> Result<(), Failure> + Sync),
    /// Starts one when its turn has come.
    pub start: &'a (dyn Fn(&Restored) -> Started + Sync),
}

/// What a VM did when it was started, and why that is not enough.
pub struct Started {
    /// What it did.
    pub booted: Booted,
    /// What is wrong with that.
    pub failure: Option<Failure>,
}

impl Started {
    /// Judges what the VM `name` did.
    pub fn of(name: &str, booted: Result<Booted, Failure>) -> Self {
        let is_off = Booted { is_running: false, has_tools: None };
        let (booted, failure) = match booted {
            Ok(booted) => (booted, verdict(name, booted).err()),
            Err(failure) => (is_off, Some(failure)),
        };
        Self { booted, failure }
    }
}

/// Whether a VM runs as it should.
fn verdict(name: &str, booted: Booted) -> Result<(), Failure> {
    match booted {
        Booted { is_running: false, .. } => refused(
            format!("cannot start {name}"),
            "it does not come to run",
            "look at its console",
        ),
        Booted { has_tools: Some(false), .. } => refused(
            format!("cannot see the guest of {name}"),
            "its tools tell nothing of themselves",
            "wait longer with --wait-tools, or see whether the guest has tools",
        ),
        _ => Ok(()),
    }
}

/// What became of a VM.
pub struct Outcome {
    /// Its place among the candidates.
    pub place: usize,
    /// What was made, is whole and is to be used.
    pub restored: Option<Restored>,
    /// What it did when it was started; `None`: it was not to be.
    pub booted: Option<Booted>,
    /// Why it is lost; or, of one that is [restored](Self::restored), why it does not run as it
    /// should.
    pub failure: Option<Failure>,
    /// How long it took, without the wait for its turn.
    pub elapsed: Duration,
    /// When it was ready, from the begin of all.
    pub ready: Duration,
}

/// What is to be done with a VM.
enum Turn {
    Restore(usize),
    Start(usize, Restored),
}

/// Others would wait for ever for a VM whose lane has panicked.
struct IfPanics<'b, 's> {
    board: &'b Mutex<Board<'s>>,
    changed: &'b Condvar,
    place: usize,
}

impl Drop for IfPanics<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            on(self.board).take(self.place, None, Duration::ZERO);
            self.changed.notify_all();
        }
    }
}

/// What was done so far.
struct Board<'s> {
    standing: Standing<'s>,
    outcomes: BTreeMap<usize, Outcome>,
    begun: Instant,
}

impl Turn {
    const fn place(&self) -> usize {
        match self {
            Self::Restore(place) | Self::Start(place, _) => *place,
        }
    }
}

/// Longest time until a lane that waits notices an interrupt.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
const KINDS_OF_TURNS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

impl BringUp<'_> {
    /// Restores `candidates` by their plans, and starts them, as `schedule` says. Those that are
    /// there already are only started; others without a plan are left out, and so are those that
    /// were not begun when the end was asked for.
    pub fn run(
        &self,
        schedule: &Schedule,
        candidates: &[Candidate],
        plans: &[Option<Plan>],
    ) -> Vec<Outcome> {
        let sizes: Vec<u64> = candidates.iter().map(size_of).collect();
        let extent = Extent { inputs: candidates.len(), bytes: sum(&sizes) };
        let progress = Progress::of_run(&self.job.report, extent);
        let standing = Standing::of(schedule, self.lanes.get());
        let board = Board { standing, outcomes: BTreeMap::new(), begun: Instant::now() };
        let (board, changed) = (Mutex::new(board), Condvar::new());
        // With lanes for both kinds of turns no restore waits for a VM that takes long to start.
        let lanes = self.lanes.saturating_mul(KINDS_OF_TURNS);
        let turns = vec![(); candidates.len().saturating_mul(KINDS_OF_TURNS.get())];
        in_lanes(lanes, &turns, |_| {
            while let Some(turn) = next(&board, &changed) {
                let begun = Instant::now();
                let place = turn.place();
                let _settled = IfPanics { board: &board, changed: &changed, place };
                match turn {
                    Turn::Restore(place) => {
                        let planned = candidates.get(place).zip(plans.get(place));
                        let made = planned.and_then(|(candidate, plan)| {
                            Some(self.restore(candidate, plan.as_ref()?, &progress))
                        });
                        let made = made.or_else(|| self.present.get(&place).cloned().map(Ok));
                        on(&board).take(place, made, begun.elapsed());
                    }
                    Turn::Start(place, restored) => {
                        let started = (self.start)(&restored);
                        on(&board).take_start(place, started, begun.elapsed());
                    }
                }
                changed.notify_all();
            }
        });
        let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
        board.outcomes.into_values().collect()
    }

    /// What was not as it should be by now, in words.
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Restores one; if its repository cannot deliver it, from another that has the same snapshot.
    fn restore(
        &self,
        candidate: &Candidate,
        plan: &Plan,
        progress: &Progress,
    ) -> Result<Restored, Failure> {
        let mut made = self.restore_from(candidate.repository, candidate, plan, progress);
        for place in &candidate.copies {
            let unrestored = match made {
                Err(unrestored) if unrestored.is_damage() => unrestored,
                _ => break,
            };
            let (name, location) = (&candidate.vm.name, &self.stocks[*place].location);
            let why = in_words(&unrestored);
            let note = format!("cannot restore {name}: {why}; it is taken from {location}");
            let notes: Vec<String> = [note].into_iter().chain(unrestored.left).collect();
            progress.aside(|| {
                self.job.report.warning(&format!("warning: {}\n", notes.join("; ")));
            });
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).extend(notes);
            made = self.restore_from(*place, candidate, plan, progress);
        }
        let restored = made.doing(|| format!("cannot restore {}", candidate.vm.name))?;
        (self.look)(candidate, &restored)?;
        Ok(restored)
    }

    fn restore_from(
        &self,
        place: usize,
        candidate: &Candidate,
        plan: &Plan,
        progress: &Progress,
    ) -> Result<Restored, Unrestored> {
        let name = &candidate.vm.name;
        let reader = &self.stocks[place].reader;
        let lane = progress.lane(name, size_of(candidate));
        let content = SnapshotContent::new(reader, self.workers, &candidate.snapshot, &lane)
            .one_of(self.lanes);
        let report = &self.job.report;
        let course = Course::new(report, progress, plan.steps.len());
        let made = restore(self.pool.session(), &Stoppable::new(&content), plan, &course);
        let notes = course.notes();
        let left = || notes.iter().map(|note| note.message.clone()).collect();
        let restored = made.map_err(|error| Unrestored { error: Box::new(error), left: left() })?;
        progress.aside(|| report.warning(&notes_text(&notes)));
        Ok(restored)
    }
}

/// What there is to do next, once there is something; `None`: nothing any more.
fn next(board: &Mutex<Board<'_>>, changed: &Condvar) -> Option<Turn> {
    let mut guard = on(board);
    loop {
        let Board { standing, outcomes, begun } = &mut *guard;
        let now = begun.elapsed();
        if interrupt::is_asked() {
            standing.stop(now);
        }
        let pause = match standing.next(now) {
            Next::End => return None,
            Next::Restore(place) => return Some(Turn::Restore(place)),
            Next::Start(place) => {
                let restored = outcomes.get(&place).and_then(|it| it.restored.clone());
                match restored {
                    Some(restored) => return Some(Turn::Start(place, restored)),
                    None => standing.settled(place, now),
                }
                continue;
            }
            Next::Wait(pause) => pause.map_or(LOOK_PAUSE, |pause| pause.min(LOOK_PAUSE)),
        };
        let woken = changed.wait_timeout(guard, pause);
        guard = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn on<'b, 's>(board: &'b Mutex<Board<'s>>) -> MutexGuard<'b, Board<'s>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board<'_> {
    /// A VM was restored, or was not, or has no plan.
    fn take(&mut self, place: usize, made: Option<Result<Restored, Failure>>, elapsed: Duration) {
        let now = self.begun.elapsed();
        let (restored, failure) = match made {
            None => return self.standing.settled(place, now),
            Some(Err(failure)) => (None, Some(failure)),
            Some(Ok(restored)) => (Some(restored), None),
        };
        let is_off = Booted { is_running: false, has_tools: None };
        let booted = (restored.is_some() && self.standing.is_started(place)).then_some(is_off);
        match restored {
            Some(_) => self.standing.restored(place, now),
            None => self.standing.settled(place, now),
        }
        let outcome = Outcome { place, restored, booted, failure, elapsed, ready: now };
        self.outcomes.insert(place, outcome);
    }

    /// A VM was started, or does not start.
    fn take_start(&mut self, place: usize, started: Started, elapsed: Duration) {
        let now = self.begun.elapsed();
        self.standing.settled(place, now);
        if let Some(outcome) = self.outcomes.get_mut(&place) {
            (outcome.booted, outcome.failure) = (Some(started.booted), started.failure);
            (outcome.elapsed, outcome.ready) = (outcome.elapsed + elapsed, now);
        }
    }
}

/// What was started although something of an order before it does not run, in words.
pub fn early_starts(
    schedule: &Schedule,
    candidates: &[Candidate],
    outcomes: &[Outcome],
) -> Vec<String> {
    let runs = |place: &&usize| {
        let outcome = outcomes.iter().find(|outcome| outcome.place == **place);
        outcome.and_then(|it| it.booted).is_some_and(|booted| booted.is_running)
    };
    let names = |places: Vec<&usize>| {
        let names = places.into_iter().map(|place| candidates[*place].vm.name.clone());
        names.collect::<Vec<_>>().join(", ")
    };
    let pairs = schedule.vapps.iter().flat_map(|orders| orders.windows(2));
    let told = pairs.filter_map(|pair| {
        let (running, off): (Vec<_>, Vec<_>) = (
            pair[1].places.iter().filter(runs).collect(),
            pair[0].places.iter().filter(|place| !runs(place)).collect(),
        );
        let is_early = !running.is_empty() && !off.is_empty();
        is_early.then(|| {
            let (running, off) = (names(running), names(off));
            format!("started although {off}, of an order before, does not run: {running}")
        })
    });
    told.collect()
}

/// Tells why VMs are not as they should be.
pub fn tell_failures(job: &Job, outcomes: &mut [Outcome]) {
    for failure in outcomes.iter_mut().filter_map(|outcome| outcome.failure.take()) {
        failure.tell(job.report.form);
    }
}

#[cfg(test)]
mod tests {
    use xen_source::xapi::schedule::Order;

    use super::*;
    use crate::commands::dr::outlook::tests::candidate;

    fn outcome(place: usize, is_running: bool) -> Outcome {
        let booted = Some(Booted { is_running, has_tools: None });
        let (elapsed, ready) = (Duration::ZERO, Duration::ZERO);
        Outcome { place, restored: None, booted, failure: None, elapsed, ready }
    }

    #[test]
    fn what_was_started_too_early_is_told() {
        let candidates = ["db", "web", "mail"].map(|name| candidate(name, "lan"));
        let order = |places: &[usize]| Order { places: places.to_vec(), delay: Duration::ZERO };
        let vapps = vec![vec![order(&[0]), order(&[1])], vec![order(&[2])]];
        let schedule = Schedule { restores: vec![0, 1, 2], vapps };
        for (runs, expected) in [
            ([true, true, true], vec![]),
            ([true, false, false], vec![]),
            ([false, false, true], vec![]),
            (
                [false, true, true],
                vec!["started although db, of an order before, does not run: web".to_owned()],
            ),
        ] {
            let outcomes: Vec<_> =
                runs.iter().enumerate().map(|(place, is_so)| outcome(place, *is_so)).collect();
            assert_eq!(early_starts(&schedule, &candidates, &outcomes), expected, "{runs:?}");
        }
    }
}

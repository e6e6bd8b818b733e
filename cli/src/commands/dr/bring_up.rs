//! VMs are restored, several at once, in the order of their vApps. One that fails does not stop
//! the others.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use engine::parallel::{Workers, in_lanes};
use engine::restore::SnapshotContent;
use xen_source::xapi::Pool;
use xen_source::xapi::destination::{Plan, Restored, restore};
use xen_source::xapi::fail_over::{Wave, sum};
use xen_source::xapi::trial::Booted;

use super::candidate::Candidate;
use super::outlook::size_of;
use super::stock::Stock;
use crate::advice::{Doing as _, Failure, Unrestored};
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
    /// VMs that are restored at once.
    pub lanes: NonZeroUsize,
    /// What is done with each as soon as it is there.
    pub then: &'a (dyn Fn(&Restored) -> Result<Option<Booted>, Failure> + Sync),
}

/// What became of a VM.
pub struct Outcome {
    /// Its place among the candidates.
    pub place: usize,
    /// What was made and is to be used.
    pub restored: Option<Restored>,
    /// What it did when it was started.
    pub booted: Option<Booted>,
    /// Why it is not as it should be; `None` without [`restored`](Self::restored): it was not begun.
    pub failure: Option<Failure>,
    /// How long it took.
    pub elapsed: Duration,
    /// When it was ready, from the begin of all.
    pub ready: Duration,
}

impl BringUp<'_> {
    /// Restores `candidates` by their plans, wave after wave. Those without a plan are left out.
    ///
    /// # Errors
    ///
    /// Never because of a VM.
    pub fn run(
        &self,
        waves: &[Wave],
        candidates: &[Candidate],
        plans: &[Option<Plan>],
    ) -> Vec<Outcome> {
        let begun = Instant::now();
        let sizes: Vec<u64> = candidates.iter().map(size_of).collect();
        let extent = Extent { inputs: candidates.len(), bytes: sum(&sizes) };
        let progress = Progress::of_run(&self.job.report, extent);
        let mut outcomes = Vec::new();
        for (number, wave) in waves.iter().enumerate() {
            outcomes.extend(in_lanes(self.lanes, &wave.places, |turns| {
                let place = |place: usize| self.one(place, candidates, plans, &progress, begun);
                turns.filter_map(|(_, number)| place(*number)).collect::<Vec<_>>()
            }));
            if number + 1 < waves.len() {
                self.wait(wave.delay);
            }
        }
        let mut outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        outcomes.sort_by_key(|outcome| outcome.place);
        outcomes
    }

    /// Restores one, and tells of it.
    fn one(
        &self,
        place: usize,
        candidates: &[Candidate],
        plans: &[Option<Plan>],
        progress: &Progress,
        all_begun: Instant,
    ) -> Option<Outcome> {
        let (candidate, plan) = (candidates.get(place)?, plans.get(place)?.as_ref()?);
        let begun = Instant::now();
        let mut outcome = Outcome {
            place,
            restored: None,
            booted: None,
            failure: None,
            elapsed: Duration::ZERO,
            ready: Duration::ZERO,
        };
        if interrupt::is_asked() {
            return Some(outcome);
        }
        match self.restore(candidate, plan, progress) {
            Err(failure) => outcome.failure = Some(failure),
            Ok(restored) => {
                match (self.then)(&restored) {
                    Ok(booted) => outcome.booted = booted,
                    Err(failure) => outcome.failure = Some(failure),
                }
                outcome.restored = Some(restored);
            }
        }
        (outcome.elapsed, outcome.ready) = (begun.elapsed(), all_begun.elapsed());
        Some(outcome)
    }

    fn restore(
        &self,
        candidate: &Candidate,
        plan: &Plan,
        progress: &Progress,
    ) -> Result<Restored, Failure> {
        let name = &candidate.vm.name;
        let reader = &self.stocks[candidate.repository].reader;
        let lane = progress.lane(name, size_of(candidate));
        let content = SnapshotContent::new(reader, self.workers, &candidate.snapshot, &lane);
        let report = &self.job.report;
        let course = Course::new(report, progress, plan.steps.len());
        let made = restore(self.pool.session(), &Stoppable::new(&content), plan, &course);
        let notes = course.notes();
        let left = || notes.iter().map(|note| note.message.clone()).collect();
        let restored = made
            .map_err(|error| Unrestored { error: Box::new(error), left: left() })
            .doing(|| format!("cannot restore {name}"))?;
        progress.aside(|| report.warning(&notes_text(&notes)));
        Ok(restored)
    }

    /// Waits between two orders, unless the end is asked for.
    fn wait(&self, delay: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < delay && !interrupt::is_asked() {
            let left = delay.saturating_sub(begun.elapsed());
            self.pool.session().pause(left.min(Duration::from_secs(1)));
        }
    }
}

/// Tells why VMs are not as they should be.
pub fn tell_failures(job: &Job, outcomes: &mut [Outcome]) {
    for failure in outcomes.iter_mut().filter_map(|outcome| outcome.failure.take()) {
        failure.tell(job.report.form);
    }
}

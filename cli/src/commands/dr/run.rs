//! `dr run`: VMs are brought up on another pool.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use xen_source::Macs;
use xen_source::xapi::XapiError;
use xen_source::xapi::destination::{After, RestoreError, Restored};
use xen_source::xapi::fail_over::VApp;
use xen_source::xapi::schedule::Schedule;
use xen_source::xapi::trial;
use xen_source::xapi::{Pool, origin, vapp};

use super::bring_up::{BringUp, Outcome, Started, early_starts, tell_failures};
use super::candidate::Candidate;
use super::outlook::Running;
use super::plan;
use super::prepared::{Networks, Prepared, Terms};
use super::present::{as_restored, present};
use super::report::FailOverReport;
use super::stock;
use crate::advice::{Doing as _, Failure, Unrestored};
use crate::args::DrRunArgs;
use crate::clock::Moment;
use crate::exit::Exit;
use crate::interrupt::{self, Postponed};
use crate::job::Job;

/// Restores them all, unless something is in the way.
pub fn run(job: &Job, args: DrRunArgs) -> Result<Exit, Failure> {
    let repositories = stock::open(job, &args.fail_over.also_repos)?;
    let stocks = stock::read(&repositories, "cannot begin a fail-over")?;
    let workers = job.workers()?;
    let terms = Terms {
        sr: args.fail_over.sr.clone(),
        networks: Networks::Mapped(args.networks.clone()),
        macs: if args.keep_mac { Macs::Keep } else { Macs::Replace },
        // Those that are to run start when their turn has come.
        after: After::Off,
        suffix: String::new(),
        verify: args.manner.verify,
        force: args.force,
    };
    let running = if args.start { Running::Wanted } else { Running::No };
    let mut prepared = Prepared::of(job, &stocks, &workers, args.fail_over)?;
    prepared.check_networks(&args.networks)?;
    let there = if args.resume { leave_out(&mut prepared) } else { Vec::new() };
    let outlook = prepared.outlook(&terms);
    if args.dry_run || (!args.force && !prepared.is_feasible(&outlook, running)) {
        return plan::tell(job, &prepared, &outlook, running);
    }
    let plans: Vec<_> = outlook.plans.into_iter().map(Result::ok).collect();
    let present = take_back(&mut prepared, there);
    let candidates = &prepared.found.candidates;
    let begun = Moment::now();
    let unnoted = Mutex::new(Vec::new());
    let postponed = Postponed::begin();
    let bring_up = BringUp {
        job,
        stocks: &stocks,
        workers: &workers,
        pool: &prepared.pool,
        lanes: args.manner.concurrency,
        notes: Mutex::default(),
        present,
        look: &|candidate, restored| {
            let told = note_origin(&prepared.pool, candidate, restored);
            unnoted.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
            Ok(())
        },
        start: &|restored| start(&prepared.pool, restored),
    };
    let kept = kept_text(&bring_up.present, candidates);
    let schedule = order(candidates, args.start);
    let mut outcomes = bring_up.run(&schedule, candidates, &plans);
    let notes = bring_up.notes();
    let pool = prepared.pool_name();
    let mut report = FailOverReport::of("dr_run", pool, begun.secs, &prepared.found, &outcomes);
    let early = early_starts(&schedule, candidates, &outcomes);
    let unnoted = unnoted.into_inner().unwrap_or_else(PoisonError::into_inner);
    early.into_iter().chain(unnoted).chain(kept).for_each(|remark| report.remark(remark));
    notes.into_iter().for_each(|note| report.note(note));
    make_vapps(&prepared, &outcomes, &mut report);
    drop(postponed);
    tell_failures(job, &mut outcomes);
    job.report.outcome(&report.text(), &report)?;
    Ok(if interrupt::is_asked() { Exit::Interrupted } else { report.exit() })
}

/// Takes candidates out that the pool has from the same snapshots, with what it has.
fn leave_out(prepared: &mut Prepared) -> Vec<(Candidate, Restored)> {
    let Prepared { found, inventory, .. } = prepared;
    let mut there = Vec::new();
    for candidate in std::mem::take(&mut found.candidates) {
        match present(inventory, &candidate) {
            Some(vm) => there.push((candidate, as_restored(vm))),
            None => found.candidates.push(candidate),
        }
    }
    there
}

/// Puts them back, behind the others. Their places, and what the pool has.
fn take_back(
    prepared: &mut Prepared,
    there: Vec<(Candidate, Restored)>,
) -> BTreeMap<usize, Restored> {
    let candidates = &mut prepared.found.candidates;
    let back = there.into_iter().map(|(candidate, restored)| {
        candidates.push(candidate);
        (candidates.len() - 1, restored)
    });
    back.collect()
}

fn kept_text(present: &BTreeMap<usize, Restored>, candidates: &[Candidate]) -> Option<String> {
    let names: Vec<&str> = present.keys().map(|place| &*candidates[*place].vm.name).collect();
    (!names.is_empty())
        .then(|| format!("there already, and not restored again: {}", names.join(", ")))
}

/// Lets a VM tell which snapshot it is of, for `--resume`. What is wrong if it cannot, in words.
fn note_origin(pool: &Pool, candidate: &Candidate, restored: &Restored) -> Option<String> {
    let (reference, uuid) = restored.reference.as_deref().zip(restored.uuid.as_deref())?;
    let id = candidate.snapshot.id.to_string();
    let error = origin::note(pool.session(), reference, uuid, &id).err()?;
    let name = &restored.name;
    Some(format!("--resume would restore {name} again, since its note cannot be set: {error}"))
}

/// When candidates are restored, and when they start if they are to. Templates cannot.
pub fn order(candidates: &[Candidate], is_started: bool) -> Schedule {
    let starts: Vec<_> = candidates.iter().map(|it| it.start.clone()).collect();
    Schedule::of(&starts, |place| is_started && !candidates[place].is_template())
}

/// Starts a VM. One that does not start stays as it is.
fn start(pool: &Pool, restored: &Restored) -> Started {
    let name = &restored.name;
    let reference = restored.reference.as_deref().unwrap_or_default();
    let unstarted = |source: XapiError| {
        let uuid = restored.uuid.clone().unwrap_or_default();
        let error = RestoreError::NotStarted { name: name.clone(), uuid, source: source.into() };
        Unrestored { error: error.into(), left: Vec::new() }
    };
    let booted = trial::boot(pool.session(), reference, None, &|| !interrupt::is_asked());
    let booted = booted.map_err(unstarted).doing(|| format!("cannot bring up {name}"));
    Started::of(name, booted)
}

/// Makes vApps again of which all VMs are there.
fn make_vapps(prepared: &Prepared, outcomes: &[Outcome], report: &mut FailOverReport) {
    let session = prepared.pool.session();
    let taken = vapp::names(session).unwrap_or_default();
    for vapp in &prepared.found.vapps {
        let members = members(vapp, &prepared.found.candidates, outcomes);
        let (there, is_whole) = members;
        let name = &vapp.name;
        if there.is_empty() {
            continue;
        }
        if !is_whole {
            report.remark(format!("vApp {name} was not made: not all of its VMs are there"));
        } else if taken.contains(name) {
            report.remark(format!("vApp {name} was not made: the pool has one of that name"));
        } else {
            match vapp::make(session, vapp, &there) {
                Ok(()) => report.add_app(name.clone()),
                Err(error) => report.note(format!("vApp {name} was not made: {error}")),
            }
        }
    }
}

/// References of the VMs of a vApp that are there, and whether these are all.
fn members(vapp: &VApp, candidates: &[Candidate], outcomes: &[Outcome]) -> (Vec<String>, bool) {
    let there: Vec<String> = outcomes
        .iter()
        .filter(|outcome| vapp.members.contains(candidates[outcome.place].uuid()))
        .filter_map(|outcome| outcome.restored.as_ref()?.reference.clone())
        .collect();
    let is_whole = there.len() == vapp.members.len();
    (there, is_whole)
}

//! `dr test`: a fail-over is tried, and everything is removed again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xen_source::Macs;
use xen_source::xapi::Pool;
use xen_source::xapi::destination::{After, Plan, Restored};
use xen_source::xapi::isolated::{self, IsolatedNetwork};
use xen_source::xapi::trial;

use super::bring_up::{BringUp, Started, early_starts, tell_failures};
use super::outlook::Running;
use super::plan;
use super::prepared::{Networks, Prepared, Terms};
use super::report::{FailOverReport, Form};
use super::run::order;
use super::stock;
use crate::advice::{Doing as _, Failure, Fault, refused};
use crate::args::DrTestArgs;
use crate::clock::{self, Moment};
use crate::exit::Exit;
use crate::interrupt::{self, Postponed};
use crate::job::Job;

const SECS_A_DAY: u64 = 24 * 3600;

/// VMs of a test. They go when this is dropped, whatever happened.
struct Trial<'p> {
    pool: &'p Pool,
    made: Mutex<Vec<Restored>>,
}

/// Tries it.
pub fn run(job: &Job, args: DrTestArgs) -> Result<Exit, Failure> {
    let form = args.report.as_deref().map(Form::of).transpose()?;
    let repositories = stock::open(job, &args.fail_over.also_repos)?;
    let stocks = stock::read(&repositories, "cannot begin a test")?;
    let workers = job.workers()?;
    let begun = Moment::now();
    let title = format!("dr test {}", clock::local(begun.secs));
    let (sr, verify) = (args.fail_over.sr.clone(), args.manner.verify);
    let mut prepared = Prepared::of(job, &stocks, &workers, args.fail_over)?;
    if let Some(count) = args.sample {
        prepared.take_sample(count.get(), args.turn.unwrap_or(begun.secs / SECS_A_DAY));
    }
    // Planned with a network that is not there yet, so that a test that cannot be done leaves the
    // pool alone.
    let stand_in = isolated::stand_in(&title);
    let mut terms = terms(sr, &stand_in.uuid, &title, verify);
    prepared.inventory.networks.push(stand_in);
    let running = if args.boot { Running::Wanted } else { Running::No };
    let outlook = prepared.outlook(&terms);
    if !prepared.is_feasible(&outlook, running) {
        return plan::tell(job, &prepared, &outlook, running);
    }
    let postponed = Postponed::begin();
    let session = prepared.pool.session();
    let mut network = IsolatedNetwork::make(session, &format!("Xenith: {title}"))
        .doing(|| "cannot make an isolated network for the test".to_owned())?;
    prepared.inventory.networks.pop();
    prepared.inventory.networks.push(network.record.clone());
    terms.networks = Networks::One(network.record.uuid.clone());
    let plans = prepared.outlook(&terms).plans.into_iter();
    let plans: Vec<_> = plans.map(|plan| plan.ok().map(Plan::for_trial)).collect();
    let candidates = &prepared.found.candidates;
    let trial = Trial { pool: &prepared.pool, made: Mutex::new(Vec::new()) };
    let tools = args.wait_tools.map(Duration::from_secs);
    let bring_up = BringUp {
        job,
        stocks: &stocks,
        workers: &workers,
        pool: &prepared.pool,
        lanes: args.manner.concurrency,
        notes: Mutex::default(),
        present: BTreeMap::new(),
        look: &|_, restored| trial.look(restored),
        start: &|restored| trial.start(restored, tools),
    };
    let schedule = order(candidates, args.boot);
    let mut outcomes = bring_up.run(&schedule, candidates, &plans);
    let pool = prepared.pool_name();
    let mut report = FailOverReport::of("dr_test", pool, begun.secs, &prepared.found, &outcomes);
    let early = early_starts(&schedule, candidates, &outcomes);
    early.into_iter().for_each(|remark| report.remark(remark));
    let left = trial.end();
    bring_up.notes().into_iter().chain(left).for_each(|note| report.note(note));
    if let Err(error) = network.remove() {
        report.note(format!("network {} stays on the pool: {error}", network.record.name));
    }
    drop(postponed);
    tell_failures(job, &mut outcomes);
    if let (Some(path), Some(form)) = (&args.report, form) {
        keep(&report, path, form)?;
    }
    job.report.outcome(&report.text(), &report)?;
    Ok(if interrupt::is_asked() { Exit::Interrupted } else { report.exit() })
}

/// What is wanted of every VM: that it is by itself, under another name.
fn terms(sr: Option<String>, network_uuid: &str, title: &str, verify: bool) -> Terms {
    Terms {
        sr,
        networks: Networks::One(network_uuid.to_owned()),
        macs: Macs::Replace,
        after: After::Off,
        suffix: format!(" ({title})"),
        verify,
        force: false,
    }
}

/// Writes the report to a file.
fn keep(report: &FailOverReport, path: &Path, form: Form) -> Result<(), Failure> {
    let doing = || format!("cannot write the report to {}", path.display());
    std::fs::write(path, report.kept(form)).map_err(Fault::File).doing(doing)
}

impl Trial<'_> {
    /// Looks at a VM that was restored.
    fn look(&self, restored: &Restored) -> Result<(), Failure> {
        self.made().push(restored.clone());
        let doing = || format!("cannot look at {}", restored.name);
        match trial::has_sizes(self.pool.session(), restored).doing(doing)? {
            true => Ok(()),
            false => {
                refused(doing(), "a disk is smaller than it was", "this is a fault of the pool")
            }
        }
    }

    /// Starts a VM, and looks what it does.
    fn start(&self, restored: &Restored, tools: Option<Duration>) -> Started {
        let (session, name) = (self.pool.session(), &restored.name);
        let vm = restored.reference.as_deref().unwrap_or_default();
        let booted = trial::boot(session, vm, tools, &|| !interrupt::is_asked());
        Started::of(name, booted.doing(|| format!("cannot start {name}")))
    }

    /// Removes all VMs; those that resist once more, behind all others. Returns what could not be
    /// removed, in words.
    fn end(&self) -> Vec<String> {
        let made = std::mem::take(&mut *self.made());
        let remove = |restored: &Restored| trial::remove(self.pool.session(), restored).err();
        let stay: Vec<Restored> = made.into_iter().filter(|it| remove(it).is_some()).collect();
        let told = |restored: &Restored| {
            remove(restored).map(|error| format!("{} stays on the pool: {error}", restored.name))
        };
        stay.iter().filter_map(told).collect()
    }

    fn made(&self) -> MutexGuard<'_, Vec<Restored>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // Nothing, unless something went wrong on the way; who stays is called what it is.
        let _ = self.end();
    }
}

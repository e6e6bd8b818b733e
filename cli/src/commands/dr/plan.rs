//! `dr plan`: can VMs be brought up on a pool? Changes nothing.

use serde::Serialize;
use xen_source::Macs;
use xen_source::xapi::destination::After;

use super::candidate::Found;
use super::outlook::{MemoryNeed, NetworkUse, Outlook, Running, StorageNeed, messages, size_of};
use super::prepared::{Networks, Prepared, Terms};
use super::present;
use super::stock;
use crate::advice::Failure;
use crate::args::DrPlanArgs;
use crate::clock;
use crate::exit::Exit;
use crate::job::Job;

/// A plan, as JSON.
#[derive(Debug, Serialize)]
pub struct PlanMessage<'a> {
    message_type: &'static str,
    feasible: bool,
    vms: Vec<PlannedVm<'a>>,
    storage: &'a [StorageNeed],
    memory: &'a MemoryNeed,
    networks: &'a [NetworkUse],
    /// Names of VMs that the pool has from the same snapshots.
    present: &'a [&'a str],
    /// VMs that may be meant and cannot be read, in words.
    lost: &'a [String],
    /// Newest snapshots that cannot be read, and what is taken instead, in words.
    notes: &'a [String],
}

/// A VM that is to be brought up. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct PlannedVm<'a> {
    name: &'a str,
    uuid: &'a str,
    repository: &'a str,
    snapshot: String,
    time: String,
    app: Option<&'a str>,
    order: u64,
    start_delay: u64,
    memory: u64,
    size: u64,
    /// What is in its way.
    objections: Vec<String>,
}

/// Tells what would become of a fail-over in which all VMs run.
pub fn run(job: &Job, args: DrPlanArgs) -> Result<Exit, Failure> {
    let repositories = stock::open(job, &args.fail_over.also_repos)?;
    let stocks = stock::read(&repositories, "cannot plan a fail-over")?;
    let workers = job.workers()?;
    let terms = Terms {
        sr: args.fail_over.sr.clone(),
        networks: Networks::Mapped(args.networks.clone()),
        macs: Macs::Replace,
        after: After::Start,
        suffix: String::new(),
        verify: false,
        force: false,
    };
    let prepared = Prepared::of(job, &stocks, &workers, args.fail_over)?;
    prepared.check_networks(&args.networks)?;
    tell(job, &prepared, &prepared.outlook(&terms), Running::Wanted)
}

/// Prints what would become of a fail-over.
pub fn tell(
    job: &Job,
    prepared: &Prepared,
    outlook: &Outlook,
    running: Running,
) -> Result<Exit, Failure> {
    let feasible = prepared.is_feasible(outlook, running);
    let present = present::names(&prepared.inventory, &prepared.found.candidates);
    let message = PlanMessage::of(&prepared.found, outlook, feasible, &present);
    let verdict = match feasible {
        true => "nothing is in the way\n",
        false => {
            "it cannot be done like this; nothing was changed. Other storage is named with --sr, and \
             `dr run --force` leaves out what cannot be restored\n"
        }
    };
    let there = match &*present {
        [] => String::new(),
        names => format!(
            "from the same snapshots the pool has {} (`dr run --resume` leaves them out)\n",
            names.join(", ")
        ),
    };
    let text = outlook.text(&prepared.found, running) + &there + verdict;
    job.report.answer(&text, &message)?;
    Ok(if feasible && prepared.found.notes.is_empty() { Exit::Done } else { Exit::Partly })
}

impl<'a> PlanMessage<'a> {
    fn of(found: &'a Found, outlook: &'a Outlook, feasible: bool, present: &'a [&'a str]) -> Self {
        let plans = found.candidates.iter().zip(&outlook.plans);
        let vms = plans.map(|(it, plan)| PlannedVm {
            name: &it.vm.name,
            uuid: it.uuid(),
            repository: found.location(it),
            snapshot: it.snapshot.id.to_string(),
            time: clock::rfc3339(it.snapshot.time, it.snapshot.utc_offset),
            app: it.app.as_deref(),
            order: it.start.order,
            start_delay: it.start.start_delay_secs,
            memory: it.start.memory_bytes,
            size: size_of(it),
            objections: messages(plan.as_ref().err()),
        });
        Self {
            message_type: "dr_plan",
            feasible,
            vms: vms.collect(),
            storage: &outlook.storage,
            memory: &outlook.memory,
            networks: &outlook.networks,
            present,
            lost: &found.lost,
            notes: &found.notes,
        }
    }
}

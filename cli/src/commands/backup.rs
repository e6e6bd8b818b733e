//! `backup`: inputs become snapshots.

mod choice;
mod course;
mod input;
mod lane;
mod lanes;
mod metadata;
mod planned;
mod pool_vm;
mod rerun;
mod run;
mod run_table;
mod saved;
mod selector;
mod summary;
mod words;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use engine::backup::BackupRequest;
use engine::packer::Packing;
use engine::repository::Repository;
use engine::session::Who;
use engine::surroundings::{RealSurroundings, random};
use repo_format::id::RunId;
use repo_format::limits::{TAGS_MAX, TEXT_MAX};
use repo_format::snapshot::Snapshot;
use xen_source::xapi::{Changes, Pool, Tracking};

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{BackupArgs, PoolArgs, PoolBackupArgs, SelectionArgs};
use crate::clock::Moment;
use crate::connection;
use crate::exit::Exit;
use crate::hooks::Hooks;
use crate::interrupt::{self, Postponed};
use crate::job::{Job, Writes};
use crate::report::short_id;
use crate::selection;
use crate::size;
use choice::{Choice, Chosen, ChosenVm, Part};
use input::Input;
use metadata::{PoolMetadata, Subject};
use planned::Plan;
use pool_vm::{Manner, PoolVm};
use rerun::Earlier;
use run::Run;
use saved::{Lost, Outcome};
use summary::Summary;

/// Backs up every input. One that fails does not stop the others.
pub fn run(job: &Job, args: BackupArgs) -> Result<Exit, Failure> {
    match args.pool.is_empty() {
        true => run_files(job, args),
        false => run_pool(job, args),
    }
}

fn run_files(job: &Job, args: BackupArgs) -> Result<Exit, Failure> {
    let inputs = input::resolve(&args)?;
    let writes = if args.dry_run { Writes::Discarded } else { Writes::Kept };
    let template = request(job, &args)?;
    let repository = &job.open(writes)?;
    let mut summary = Summary::new(&template, writes);
    let run = Run { job, repository, template: &template, writes, lanes: NonZeroUsize::MIN };
    lanes::save(&run, &inputs)?.into_iter().for_each(|outcome| summary.add(outcome));
    job.report.outcome(&summary.text(), &summary)?;
    Ok(summary.exit())
}

/// Backs up what a pool has. A dry run opens the repository and looks at the pool.
fn run_pool(job: &Job, args: BackupArgs) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let typed = typed_choice(&args)?;
    let mut template = request(job, &args)?;
    let writes = if args.dry_run { Writes::Discarded } else { Writes::Kept };
    let repository = job.open(writes)?;
    let snapshots = earlier_snapshots(&repository, &args.from_pool)?;
    let pool = connection::open(job, PoolArgs { pool: args.pool, login: args.login })?;
    let mut saved = BTreeSet::new();
    let choice = match (typed, &args.from_pool.retry_failed) {
        (Some(typed), None) => typed,
        (typed, run) => {
            let run = run.as_deref().unwrap_or_default();
            let earlier = earlier_run(&pool, &snapshots, run)?;
            let choice = typed.map_or_else(|| earlier.choice(run), Ok)?;
            saved = continued(&mut template, earlier);
            choice
        }
    };
    template.selection = Some(selection_text(&choice)?);
    let mut summary = Summary::new(&template, writes);
    let mut chosen = choose(&pool, &choice)?;
    leave_out(&mut chosen, &pool, &saved);
    for (selector, failure) in std::mem::take(&mut chosen.missing) {
        summary.add(Outcome::Lost(Lost::new(selector, &failure, Vec::new())));
        failure.tell(job.report.form);
    }
    if args.dry_run {
        let mode = args.from_pool.mode.into();
        let plan = Plan::new(&chosen, mode, summary.failed());
        job.report.answer(&planned::text(&chosen, mode), &plan)?;
        return Ok(summary.exit_if(!plan.is_empty()));
    }
    let manner = manner(&args.from_pool, &template, &repository, snapshots);
    let inputs = pool_inputs(&pool, chosen, Arc::new(manner));
    let lanes = args.from_pool.concurrency;
    if summary.failed().is_empty() || !inputs.is_empty() {
        job.report.step(&heading(&template, &pool, inputs.len(), lanes))?;
    }
    let postponed = Postponed::begin();
    let run = Run { job, repository: &repository, template: &template, writes, lanes };
    lanes::save(&run, &inputs)?.into_iter().for_each(|outcome| summary.add(outcome));
    drop(postponed);
    job.report.outcome(&summary.table(begun.elapsed()), &summary)?;
    Ok(if interrupt::is_asked() { Exit::Interrupted } else { summary.exit() })
}

/// What was typed to choose; `None` if an earlier run has to tell.
fn typed_choice(args: &BackupArgs) -> Result<Option<Choice>, Failure> {
    let (selection, run) = (&args.selection, &args.from_pool.retry_failed);
    if run.is_none() || !args.paths.is_empty() || selection.everything {
        return Choice::parse(&args.paths, selection.clone()).map(Some);
    }
    match *selection == SelectionArgs::default() {
        true => Ok(None),
        false => refused(
            "cannot retry a run in part",
            "what it chose is told by the run, and what is left out by you",
            "write the selectors, too; nothing was done",
        ),
    }
}

fn choose(pool: &Pool, choice: &Choice) -> Result<Chosen, Failure> {
    let vms = if choice.wants_vms() { pool.vms() } else { Ok(Vec::new()) };
    let mut vms = vms.doing(|| "cannot list the VMs of the pool".to_owned())?;
    if choice.wants_vms() && choice.wants_templates() {
        let templates = pool.templates();
        vms.extend(templates.doing(|| "cannot list the templates of the pool".to_owned())?);
    }
    let hosts = if choice.wants_hosts() { pool.hosts() } else { Ok(Vec::new()) };
    let hosts = hosts.doing(|| "cannot list the hosts of the pool".to_owned())?;
    Ok(choice.among(vms, hosts))
}

/// Leaves out what is saved already.
fn leave_out(chosen: &mut Chosen, pool: &Pool, saved: &BTreeSet<String>) {
    chosen.vms.retain(|vm| !saved.contains(&vm.vm.record.uuid));
    chosen.hosts.retain(|host| !saved.contains(&host.uuid));
    chosen.database &= !saved.contains(&pool.record().uuid);
}

/// VMs first, so that what is known of the pool is not older than they are.
fn pool_inputs(pool: &Pool, chosen: Chosen, manner: Arc<Manner>) -> Vec<Input> {
    let of_metadata = |subject| Input::of_metadata(PoolMetadata::new(pool.clone(), subject));
    let vm = |vm: ChosenVm| match chosen.part {
        Part::Whole => Input::of_vm(PoolVm::new(pool.clone(), vm, Arc::clone(&manner))),
        Part::Metadata => of_metadata(Subject::Vm(vm.vm.record)),
    };
    let mut inputs: Vec<Input> = chosen.vms.into_iter().map(vm).collect();
    inputs.extend(chosen.database.then(|| of_metadata(Subject::Database)));
    inputs.extend(chosen.hosts.into_iter().map(|host| of_metadata(Subject::Host(host))));
    inputs
}

/// The snapshots that there are, if the run needs to know them.
fn earlier_snapshots(
    repository: &Repository,
    args: &PoolBackupArgs,
) -> Result<Vec<Snapshot>, Failure> {
    let are_needed = args.retry_failed.is_some() || Tracking::from(args.cbt) != Tracking::Off;
    if are_needed { selection::all(repository) } else { Ok(Vec::new()) }
}

/// The run that is to be continued.
fn earlier_run(pool: &Pool, snapshots: &[Snapshot], run: &str) -> Result<Earlier, Failure> {
    let doing = || "cannot list what the pool has".to_owned();
    let mut here = BTreeSet::from([pool.record().uuid]);
    here.extend(pool.vms().doing(doing)?.into_iter().map(|vm| vm.record.uuid));
    here.extend(pool.templates().doing(doing)?.into_iter().map(|vm| vm.record.uuid));
    here.extend(pool.hosts().doing(doing)?.into_iter().map(|host| host.uuid));
    Earlier::find(snapshots, run, |uuid| here.contains(uuid))
}

/// Makes the snapshots to come part of an earlier run. Returns what that has saved.
fn continued(template: &mut BackupRequest, earlier: Earlier) -> BTreeSet<String> {
    template.run = earlier.run;
    template.run_name = earlier.run_name;
    if template.tags.is_empty() {
        template.tags = earlier.tags;
    }
    earlier.saved
}

fn selection_text(choice: &Choice) -> Result<String, Failure> {
    let text = choice.text();
    match text.len() {
        ..=TEXT_MAX => Ok(text),
        len => refused(
            "cannot back up what was chosen",
            format!("the selectors have {len} bytes; a snapshot holds up to {TEXT_MAX} of them"),
            "choose by tags, or in several runs; nothing was done",
        ),
    }
}

/// How the VMs of the run are taken.
fn manner(
    args: &PoolBackupArgs,
    template: &BackupRequest,
    repository: &Repository,
    snapshots: Vec<Snapshot>,
) -> Manner {
    let run = match &*template.run_name {
        "" => template.run.to_string(),
        name => name.to_owned(),
    };
    Manner {
        mode: args.mode.into(),
        memory: args.include_memory,
        transfer: args.transfer.into(),
        changes: Changes { tracking: args.cbt.into(), sample: args.cbt_sample / 100.0 },
        hooks: Hooks { before: args.pre_snapshot.clone(), after: args.post_snapshot.clone() },
        run,
        who: template.who.clone(),
        scan: !args.no_sr_scan,
        min_free_percent: args.min_sr_free,
        force: args.force,
        repository: repository.config().repository.to_string(),
        snapshots,
    }
}

/// What the run is about to do.
fn heading(template: &BackupRequest, pool: &Pool, inputs: usize, lanes: NonZeroUsize) -> String {
    let name = match &*template.run_name {
        "" => String::new(),
        name => format!(" {name}"),
    };
    let pool = match pool.record().name {
        name if name.is_empty() => pool.record().uuid,
        name => name,
    };
    let run = short_id(&template.run);
    match inputs {
        0 => format!(
            "run{name} ({run}): nothing to do: all that was chosen on pool {pool} is saved\n"
        ),
        1 => String::new(),
        count => format!(
            "run{name} ({run})  pool {pool}  {}, {} at a time\n",
            size::plural(count as u64, "input"),
            lanes.get().min(count)
        ),
    }
}

/// What holds for every snapshot of the run.
fn request(job: &Job, args: &BackupArgs) -> Result<BackupRequest, Failure> {
    if args.tags.len() > TAGS_MAX {
        let what = format!("{} tags are too many", args.tags.len());
        return refused("cannot back up", what, format!("a snapshot holds up to {TAGS_MAX}"));
    }
    let uname = rustix::system::uname();
    let this_host = || uname.nodename().to_string_lossy().into_owned();
    let moment = args.time;
    Ok(BackupRequest {
        who: Who {
            host: args.host.clone().unwrap_or_else(this_host),
            process: std::process::id(),
            program: concat!("xenith ", env!("CARGO_PKG_VERSION")).to_owned(),
        },
        run: RunId::from_bytes(random(&RealSurroundings)),
        run_name: args.run.clone(),
        tags: args.tags.clone(),
        path: String::new(),
        selection: None,
        vm_name: args.vm_name.clone(),
        time: moment.map(|moment| moment.secs),
        utc_offset: moment.unwrap_or_else(Moment::now).utc_offset,
        packing: Packing::new(job.compression),
    })
}

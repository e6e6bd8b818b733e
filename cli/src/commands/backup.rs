//! `backup`: inputs become snapshots.

mod choice;
mod input;
mod metadata;
mod planned;
mod pool_vm;
mod saved;
mod selector;
mod words;

use engine::backup::{BackupRequest, backup};
use engine::packer::{Packing, Threads};
use engine::repository::Repository;
use engine::session::Who;
use engine::source::Source;
use engine::surroundings::{RealSurroundings, random};
use repo_format::id::RunId;
use repo_format::limits::TAGS_MAX;
use repo_format::snapshot::Snapshot;
use xen_source::xapi::{Mode, Pool};

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{BackupArgs, PoolArgs};
use crate::clock::Moment;
use crate::connection;
use crate::exit::Exit;
use crate::interrupt::{self, Postponed};
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::report::metadata_noun;
use choice::{Choice, Chosen, ChosenVm, Part};
use input::Input;
use metadata::{PoolMetadata, Subject};
use planned::Plan;
use pool_vm::PoolVm;
use saved::{Lost, Saved, Summary};

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
    let repository = job.open(writes)?;
    let mut summary = Summary::new(&template, writes);
    save_all(job, &repository, &inputs, &template, &mut summary)?;
    job.report.outcome(&summary.text(), &summary)?;
    Ok(summary.exit())
}

/// Backs up VMs of a pool. A dry run opens the repository and looks at the pool.
fn run_pool(job: &Job, args: BackupArgs) -> Result<Exit, Failure> {
    let choice = Choice::parse(&args.paths, args.selection.clone())?;
    let template = BackupRequest { selection: Some(choice.text()), ..request(job, &args)? };
    let writes = if args.dry_run { Writes::Discarded } else { Writes::Kept };
    let repository = job.open(writes)?;
    let pool = connection::open(job, PoolArgs { pool: args.pool, login: args.login })?;
    let mut chosen = choose(&pool, &choice)?;
    let mut summary = Summary::new(&template, writes);
    for (selector, failure) in std::mem::take(&mut chosen.missing) {
        lose(job, &mut summary, selector, failure);
    }
    if args.dry_run {
        let mode = Mode::default();
        let plan = Plan::new(&chosen, mode, summary.failed());
        job.report.answer(&planned::text(&chosen, mode), &plan)?;
        return Ok(summary.exit_if(!plan.is_empty()));
    }
    let inputs = pool_inputs(&pool, chosen);
    let postponed = Postponed::begin();
    save_all(job, &repository, &inputs, &template, &mut summary)?;
    drop(postponed);
    job.report.outcome(&summary.text(), &summary)?;
    Ok(if interrupt::is_asked() { Exit::Interrupted } else { summary.exit() })
}

fn choose(pool: &Pool, choice: &Choice) -> Result<Chosen, Failure> {
    let vms = if choice.wants_vms() { pool.vms() } else { Ok(Vec::new()) };
    let vms = vms.doing(|| "cannot list the VMs of the pool".to_owned())?;
    let hosts = if choice.wants_hosts() { pool.hosts() } else { Ok(Vec::new()) };
    let hosts = hosts.doing(|| "cannot list the hosts of the pool".to_owned())?;
    Ok(choice.among(vms, hosts))
}

/// VMs first, so that what is known of the pool is not older than they are.
fn pool_inputs(pool: &Pool, chosen: Chosen) -> Vec<Input> {
    let of_metadata = |subject| Input::of_metadata(PoolMetadata::new(pool.clone(), subject));
    let vm = |vm: ChosenVm| match chosen.part {
        Part::Whole => Input::of_vm(PoolVm::new(pool.clone(), vm)),
        Part::Metadata => of_metadata(Subject::Vm(vm.vm.record)),
    };
    let mut inputs: Vec<Input> = chosen.vms.into_iter().map(vm).collect();
    inputs.extend(chosen.database.then(|| of_metadata(Subject::Database)));
    inputs.extend(chosen.hosts.into_iter().map(|host| of_metadata(Subject::Host(host))));
    inputs
}

fn save_all(
    job: &Job,
    repository: &Repository,
    inputs: &[Input],
    template: &BackupRequest,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let (workers, uploaders) = (job.workers()?, job.uploaders()?);
    let threads = Threads { workers: &workers, uploaders: &uploaders };
    for input in inputs.iter().take_while(|_| !interrupt::is_asked()) {
        let request = BackupRequest { path: input.path_text(), ..template.clone() };
        match save(job, repository, threads, input, &request) {
            Ok((snapshot, new_bytes)) => {
                let saved = Saved { snapshot, new_bytes };
                job.report.step(&saved.text(summary.writes()))?;
                summary.saved(&saved);
            }
            Err(failure) => lose(job, summary, input.path_text(), failure),
        }
    }
    Ok(())
}

fn lose(job: &Job, summary: &mut Summary, path: String, failure: Failure) {
    summary.lost(Lost::new(path, &failure), failure.exit());
    failure.tell(job.report.form);
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

/// Saves one input. If a prune took the session for dead, an input that can be read twice is.
fn save(
    job: &Job,
    repository: &Repository,
    threads: Threads<'_>,
    input: &Input,
    request: &BackupRequest,
) -> Result<(Snapshot, Vec<u64>), Failure> {
    match save_once(job, repository, threads, input, request) {
        Err(failure) if failure.is_fenced() && input.is_reopenable() => {
            job.report.remark("a prune took this backup for dead; reading the input again\n");
            save_once(job, repository, threads, input, request)
        }
        saved => saved,
    }
}

fn save_once(
    job: &Job,
    repository: &Repository,
    threads: Threads<'_>,
    input: &Input,
    request: &BackupRequest,
) -> Result<(Snapshot, Vec<u64>), Failure> {
    let doing = || format!("cannot back up {input}");
    let mut source = input.open().doing(doing)?;
    job.report.step(&opening(input, &*source, request))?;
    let progress = Progress::new(&job.report);
    let saved = backup(repository, threads, &mut *source, request, &progress);
    Ok((saved.doing(doing)?, progress.new_bytes()))
}

/// What is known when an input has been opened.
fn opening(input: &Input, source: &dyn Source, request: &BackupRequest) -> String {
    let facts = source.facts();
    let what = match &*facts.container {
        "xva" => "XVA",
        "raw" => "raw disk",
        "vhd" => "VHD",
        "qcow2" => "qcow2",
        container if metadata_noun(container).is_some() => "metadata",
        _ => "file",
    };
    let compression = match &*facts.compression {
        "" => String::new(),
        name => format!(" ({name}; an uncompressed export saves time, and comes out the same)"),
    };
    let mut text = format!("reading {what} from {input}{compression}\n");
    if let Some(name) = request.vm_name.as_ref().or(facts.vm_name.as_ref()) {
        let noun = metadata_noun(&facts.container).unwrap_or("vm");
        text += &format!("  {noun}  {name}  {}\n", facts.vm_uuid.as_deref().unwrap_or_default());
    }
    text
}

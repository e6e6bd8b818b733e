//! `dr runbook`: the steps that bring a pool back, with its uuids.

mod steps;

use engine::snapshots::{self, Filter};
use repo_format::snapshot::Snapshot;
use serde::Serialize;

use crate::advice::{Doing as _, Failure};
use crate::args::RunbookArgs;
use crate::clock;
use crate::commands::database;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::selection;
use steps::{Kind, Saved};

/// The steps, as JSON.
#[derive(Debug, Serialize)]
struct RunbookEntry {
    message_type: &'static str,
    snapshot: String,
    pool: String,
    markdown: String,
}

/// Prints the steps.
pub fn run(job: &Job, args: RunbookArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    let all = selection::all(&repository)?;
    let snapshot = find(&all, &args)?;
    let dump = database::read(job, &repository, snapshot)?;
    let saved: Vec<Saved> = all.iter().filter_map(saved).collect();
    let this = Saved { kind: Kind::Database, ..of(snapshot, Kind::Database) };
    let markdown = steps::markdown(&dump, &this, &saved);
    let (snapshot, pool) = (snapshot.id.to_string(), dump.uuid);
    let entry = RunbookEntry { message_type: "runbook", snapshot, pool, markdown };
    job.report.answer(&entry.markdown, &entry)?;
    Ok(Exit::Done)
}

/// The database that is meant; of a pool that was named, one of that pool.
fn find<'s>(all: &'s [Snapshot], args: &RunbookArgs) -> Result<&'s Snapshot, Failure> {
    let text = args.snapshot.strip_prefix("pool:").unwrap_or(&args.snapshot);
    let filter = Filter { vms: args.pool.iter().cloned().collect(), ..Filter::default() };
    let is_database = |snapshot: &&Snapshot| snapshot.origin.container == database::CONTAINER;
    let databases: Vec<Snapshot> = all.iter().filter(is_database).cloned().collect();
    let found = snapshots::find(&databases, text, &filter);
    let id = found.doing(|| format!("cannot find {text} among the databases of pools"))?.id;
    let found = all.iter().find(|snapshot| snapshot.id == id);
    found.ok_or_else(|| Failure::refusal("cannot print the steps", "it is gone", "run it again"))
}

/// What a snapshot saved of a pool; `None` if nothing.
fn saved(snapshot: &Snapshot) -> Option<Saved> {
    let kind = match &*snapshot.origin.container {
        "host" => Kind::Host,
        "xva" => Kind::Vm,
        _ => return None,
    };
    Some(of(snapshot, kind))
}

fn of(snapshot: &Snapshot, kind: Kind) -> Saved {
    Saved {
        kind,
        id: snapshot.id.to_string(),
        uuid: snapshot.origin.vm_uuid.clone().unwrap_or_default(),
        secs: snapshot.time,
        time: clock::rfc3339(snapshot.time, snapshot.utc_offset),
    }
}

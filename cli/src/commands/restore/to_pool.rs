//! `restore --to-pool`: a snapshot becomes a VM of a pool, or metadata goes back there.

use std::time::Instant;

use engine::observer::Silent;
use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use engine::surroundings::{RealSurroundings, random};
use repo_format::snapshot::Snapshot;
use xen_source::xapi::Pool;
use xen_source::xapi::destination::{self, Inventory, Plan, Restored, StoredVm, Wish, plan};

use super::course::{Course, notes_text};
use super::elsewhere;
use super::meant::{self, Becomes};
use super::metadata::{Order, restore_metadata};
use super::outcome::Outcome;
use super::stoppable::Stoppable;
use super::wished::{idle, wish};
use crate::advice::{Doing as _, Failure, Objections, Unrestored, refused};
use crate::args::{PoolArgs, RestoreArgs};
use crate::connection;
use crate::exit::Exit;
use crate::interrupt::{self, Postponed};
use crate::job::{Job, Writes};
use crate::progress::{Extent, Progress};
use crate::report::{short_id, subject};
use crate::selection;

/// Restores a snapshot to a pool.
pub fn run(job: &Job, args: RestoreArgs) -> Result<Exit, Failure> {
    let RestoreArgs { snapshot: text, extract, filter, force, dry_run, to, .. } = args;
    let repository = job.open(Writes::Kept)?;
    let snapshots = selection::all(&repository)?;
    let (snapshot, becomes) =
        meant::find(snapshots, &text, &Filter::from(filter), to.metadata_only)?;
    let Some(becomes) = becomes else {
        return refused(
            format!("cannot make snapshot {} on a pool", short_id(&snapshot.id)),
            "it holds a file, and neither a VM nor metadata of a pool",
            "restore it to a file with --target",
        );
    };
    if let Some(idle) = idle(becomes, &extract, &to) {
        return refused(
            format!("cannot restore snapshot {} with {idle}", short_id(&snapshot.id)),
            format!("{idle} has no meaning for {}", becomes.noun()),
            "leave it out; nothing was done",
        );
    }
    let order = Order::of(&to, force, dry_run);
    let wish = wish(&snapshot, &extract, &to, force, random(&RealSurroundings))?;
    let pool = connection::open(job, PoolArgs { pool: to.pool, login: to.login })?;
    if to.keep_uuid && !to.allow_duplicate_uuid {
        let doing = format!("cannot restore snapshot {} with its uuid", short_id(&snapshot.id));
        elsewhere::check_vm(job, &pool, &snapshot, doing)?;
    }
    let way = Way { job, repository: &repository, snapshot: &snapshot, pool: &pool };
    match becomes {
        Becomes::Vm if dry_run => way.tell_plan(&wish),
        Becomes::Vm => way.restore(&wish),
        Becomes::Record | Becomes::Database | Becomes::Host => {
            restore_metadata(job, &pool, &repository, &snapshot, &order)
        }
    }
}

/// From where to where.
struct Way<'w> {
    job: &'w Job,
    repository: &'w Repository,
    snapshot: &'w Snapshot,
    pool: &'w Pool,
}

impl Way<'_> {
    /// Says what would be made. Nothing is.
    fn tell_plan(&self, wish: &Wish) -> Result<Exit, Failure> {
        let reader = Reader::open(self.repository).doing(|| self.doing())?;
        let (inventory, plan) = self.plan(&reader, wish)?;
        let outcome = Outcome::planned(self.snapshot, &inventory, &plan);
        self.job.report.answer(&outcome.plan_text(self.snapshot), &outcome)?;
        Ok(Exit::Done)
    }

    /// Makes the VM, or its disks. What fails leaves nothing behind but what is told.
    fn restore(&self, wish: &Wish) -> Result<Exit, Failure> {
        let reader = Reader::open(self.repository).doing(|| self.doing())?;
        let (inventory, plan) = self.plan(&reader, wish)?;
        let begun = Instant::now();
        let mut outcome = Outcome::planned(self.snapshot, &inventory, &plan);
        let postponed = Postponed::begin();
        let made = self.walk(&reader, &plan, &mut outcome);
        drop(postponed);
        let report = &self.job.report;
        let restored = match made {
            Ok(restored) => restored,
            Err(failure) if interrupt::is_asked() => {
                failure.tell(report.form);
                return Ok(Exit::Interrupted);
            }
            Err(failure) => return Err(failure),
        };
        outcome.made(&plan, restored, begun.elapsed());
        report.outcome(&outcome.text(), &outcome)?;
        Ok(match outcome.notes.is_empty() {
            _ if interrupt::is_asked() => Exit::Interrupted,
            true => Exit::Done,
            false => Exit::Partly,
        })
    }

    /// What would be made, if nothing stands against it.
    fn plan(&self, reader: &Reader<'_>, wish: &Wish) -> Result<(Inventory, Plan), Failure> {
        let workers = self.job.workers()?;
        let content = SnapshotContent::new(reader, &workers, self.snapshot, &Silent);
        let uuid = self.snapshot.origin.vm_uuid.as_deref();
        let vm = StoredVm::of(&content, uuid).doing(|| self.doing())?;
        let inventory = Inventory::read(self.pool.session());
        let inventory = inventory.doing(|| "cannot list what the pool has".to_owned())?;
        let plan = plan(&inventory, &vm, wish).map_err(Objections).doing(|| self.doing())?;
        Ok((inventory, plan))
    }

    /// Walks the plan. What it cannot put in order is told, whether it succeeds or not.
    fn walk(
        &self,
        reader: &Reader<'_>,
        plan: &Plan,
        outcome: &mut Outcome,
    ) -> Result<Restored, Failure> {
        let report = &self.job.report;
        let workers = self.job.workers()?;
        let progress = Progress::of_run(report, Extent { inputs: 1, bytes: passing_bytes(plan) });
        let lane = progress.lane(&plan.name, passing_bytes(plan));
        let content = SnapshotContent::new(reader, &workers, self.snapshot, &lane);
        let course = Course::new(report, &progress, plan.steps.len());
        let session = self.pool.session();
        let made = destination::restore(session, &Stoppable::new(&content), plan, &course);
        drop(content);
        drop(lane);
        let notes = course.notes();
        let left = || notes.iter().map(|note| note.message.clone()).collect();
        let made = made.map_err(|error| Unrestored { error: Box::new(error), left: left() });
        let restored = made.doing(|| self.doing())?;
        progress.aside(|| report.warning(&notes_text(&notes)));
        outcome.notes = notes;
        Ok(restored)
    }

    fn doing(&self) -> String {
        let record = self.pool.record();
        let pool = if record.name.is_empty() { record.uuid } else { record.name };
        let (id, what) = (short_id(&self.snapshot.id), subject(self.snapshot));
        format!("cannot restore snapshot {id} of {what} to pool {pool}")
    }
}

/// Bytes of the disks that go by: twice, if they are read back.
fn passing_bytes(plan: &Plan) -> u64 {
    let sizes = plan.disks.iter().map(|disk| disk.disk.size_bytes);
    let times = if plan.verify { 2 } else { 1 };
    sizes.fold(0, u64::saturating_add).saturating_mul(times)
}

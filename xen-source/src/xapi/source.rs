//! A VM of a pool as a source: a snapshot of it, what that holds, and nothing left behind (contract 6).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use engine::source::{Consistency, DiskInfo, NextSegment, Role, Source, SourceError, SourceFacts};

use super::diskwise::{DiskwiseSource, Live, choose, switch_on};
use super::error::XapiError;
use super::exported::{Exported, failed};
use super::kept::Kept;
use super::objects::{VdiRecord, VmRecord};
use super::options::{Event, Observer, SourceOptions, Tracking};
use super::power::{self, Plan, Power};
use super::session::Session;
use super::snapshot::{self, Taking, Wish, record};
use super::storage::{self, Scans};
use super::transfer::Choice;
use super::value::Value;

/// A VM that is being read.
///
/// After it has delivered all, whoever reads it makes what was read last, and calls
/// [`Self::keep`]. Dropped before, nothing of this backup stays on the pool.
///
/// Fields are in the order in which they have to go: what is being read holds the disks that the
/// snapshot then takes with it.
pub struct PoolSource {
    inner: Option<Box<dyn Source>>,
    /// Why all comes in one, and who is told, if it does.
    archived: Option<(String, Arc<dyn Observer>)>,
    snapshot: Kept,
    vm: VmRecord,
    /// Uuids of disks by those of their snapshots.
    disks: BTreeMap<String, String>,
    consistency: Consistency,
    facts: SourceFacts,
}

impl PoolSource {
    /// Takes a snapshot of `vm` as the options say, puts the VM back to what it was, and begins to
    /// read the snapshot. A template is read itself.
    ///
    /// # Errors
    ///
    /// [`XapiError`] if the pool refuses. Then the VM is as before, and there is no snapshot; what
    /// cannot be made so goes to the observer.
    pub fn open(
        session: &Session,
        scans: &Scans,
        vm: &VmRecord,
        options: SourceOptions,
    ) -> Result<Self, SourceError> {
        let place = format!("VM {} of the pool", vm.name);
        let failed = |error: XapiError| failed(&place, error);
        let vm = current(session, vm, &options).map_err(failed)?;
        let plan = plan_for(&vm, &options).map_err(failed)?;
        let left_out = references(session, &options.left_out).map_err(failed)?;
        let mut refusals = BTreeMap::new();
        if plan.taking != Taking::Itself {
            let disks = snapshot_disks(session, &vm, &left_out).map_err(failed)?;
            storage::check(session, scans, &disks, &options).map_err(failed)?;
            refusals = switch_on(session, &disks, &options).map_err(failed)?;
        }
        let (mut snapshot, has_flushed) = taken(session, &vm, plan, &left_out, &options)?;
        let at_snapshot = snapshot.taken.as_ref().and_then(|taken| taken.vm.state_when_taken);
        let consistency = power::consistency(plan.consistency, has_flushed, at_snapshot);
        let choice = choose(session, snapshot.taken.as_ref(), &options);
        let disks = snapshot.taken.as_ref().map(|taken| originals(session, &taken.disks));
        let disks = disks.unwrap_or_default();
        let object = snapshot.taken.as_ref().map_or(&vm, |taken| &taken.vm);
        let (inner, archived): (Box<dyn Source>, _) = match (choice, &snapshot.taken) {
            (Choice::Diskwise, Some(taken)) => {
                let live = Live { uuids: disks.clone(), refusals };
                let inner = DiskwiseSource::open(session, &vm, taken, &options, live)?;
                (Box::new(inner), None)
            }
            (choice, _) => {
                let reason = choice.into_reason();
                let (name, object, memory) = (&vm.name, &object.reference, plan.memory);
                let inner = Exported::open(session, name, object, options.compression, memory)?;
                (Box::new(inner), Some((reason, options.observer.clone())))
            }
        };
        let is_tracking = archived.is_none() && options.changes.tracking != Tracking::Off;
        snapshot.repository = is_tracking.then_some(options.repository);
        let (inner, facts) = (Some(inner), SourceFacts::default());
        Ok(Self { inner, archived, snapshot, vm, disks, consistency, facts })
    }

    /// Says that the repository has what was read, so that it may be built upon: what tells the
    /// next backup what has changed stays on the pool, if there is anything.
    pub fn keep(mut self) {
        self.leave();
        self.snapshot.keep();
    }

    /// Ends the reading, so that nothing holds the snapshot.
    fn leave(&mut self) {
        self.facts = self.facts();
        self.inner = None;
    }

    /// What is being read answers; after an error nothing is kept on the pool.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut dyn Source) -> Result<T, SourceError>,
    ) -> Result<Option<T>, SourceError> {
        let Some(inner) = &mut self.inner else {
            return Ok(None);
        };
        let answer = question(&mut **inner);
        if answer.is_err() {
            self.leave();
            self.snapshot.remove();
        }
        answer.map(Some)
    }
}

impl Source for PoolSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let Some(mut disk) = self.ask(|inner| inner.next_disk())?.flatten() else {
            if self.inner.is_some() {
                self.leave();
                self.snapshot.retire();
            }
            return Ok(None);
        };
        if let Some(original) = self.disks.get(&disk.key) {
            disk.key.clone_from(original);
        }
        if let Some((reason, observer)) = &self.archived
            && matches!(disk.role, Role::Disk | Role::Memory)
        {
            let (uuid, reason) = (disk.key.clone(), reason.clone());
            let (transfer, changes_only) = ("xva", false);
            observer.event(Event::DiskBegins { uuid, transfer, changes_only, reason });
        }
        Ok(Some(disk))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let next = self.ask(|inner| inner.next_segment(buffer))?;
        Ok(next.unwrap_or(NextSegment::End { size_bytes: 0 }))
    }

    fn facts(&self) -> SourceFacts {
        let Some(inner) = &self.inner else {
            return self.facts.clone();
        };
        // The record is that of the snapshot.
        let (vm_uuid, vm_name) = (Some(self.vm.uuid.clone()), Some(self.vm.name.clone()));
        let consistency = self.consistency;
        SourceFacts { vm_uuid, vm_name, consistency, ..inner.facts() }
    }

    fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let read = self.ask(|inner| inner.read_segment(number, buffer))?;
        read.ok_or_else(|| ended(number))
    }

    fn distrust_base(&mut self) -> Result<(), SourceError> {
        self.ask(|inner| inner.distrust_base())?.ok_or_else(|| ended(0))
    }
}

fn ended(number: u64) -> SourceError {
    let place = format!("segment {number} of what has been read");
    SourceError::Io { place, source: io::ErrorKind::Unsupported.into() }
}

/// The VM as it is now, which may be long after it was chosen. If an earlier backup was killed
/// after it had shut it down or suspended it, it is brought back first; if that fails it can be
/// read all the same.
fn current(
    session: &Session,
    vm: &VmRecord,
    options: &SourceOptions,
) -> Result<VmRecord, XapiError> {
    let now: VmRecord = record(session, &vm.reference)?;
    if power::stopped(&now).is_none() || !now.current_operations.is_empty() {
        return Ok(now);
    }
    match power::recover(session, &now) {
        Ok(true) => options.observer.event(Event::PoweredBack),
        Ok(false) => {}
        Err(error) => options.observer.event(Event::NotBack { error }),
    }
    record(session, &vm.reference)
}

fn plan_for(vm: &VmRecord, options: &SourceOptions) -> Result<Plan, XapiError> {
    if !vm.is_a_template || vm.is_a_snapshot {
        let plan = power::plan(vm.power_state, options.mode, options.memory);
        return plan.ok_or_else(|| XapiError::UnknownPower { vm: vm.name.clone() });
    }
    match options.left_out.is_empty() {
        true => Ok(power::plan_of_template()),
        false => Err(XapiError::WholeTemplate { vm: vm.name.clone() }),
    }
}

/// Disks of which there will be snapshots, or the first of which there cannot be (contract 6).
fn snapshot_disks(
    session: &Session,
    vm: &VmRecord,
    left_out: &[String],
) -> Result<Vec<VdiRecord>, XapiError> {
    let disks = snapshot::drives(session, vm)?.into_iter().map(|(_, disk)| disk);
    let disks: Vec<_> = disks.filter(|disk| !left_out.contains(&disk.reference)).collect();
    let objection = |disk: &VdiRecord| match disk {
        VdiRecord { is_sharable: true, .. } => Some("several VMs may have it at once"),
        VdiRecord { is_reset_on_boot: true, .. } => Some("it is reset whenever its VM starts"),
        _ => None,
    };
    match disks.iter().find_map(|disk| Some((disk, objection(disk)?))) {
        None => Ok(disks),
        Some((disk, why)) => {
            let (vm, disk, uuid) = (vm.name.clone(), disk.name.clone(), disk.uuid.clone());
            Err(XapiError::NoSnapshot { vm, disk, uuid, why })
        }
    }
}

/// Brings the VM to where the plan wants it, takes the snapshot, and puts the VM back at once.
/// Says whether what runs in it had flushed.
fn taken(
    session: &Session,
    vm: &VmRecord,
    plan: Plan,
    left_out: &[String],
    options: &SourceOptions,
) -> Result<(Kept, bool), SourceError> {
    let place = format!("VM {} of the pool", vm.name);
    let failed = |error: XapiError| failed(&place, error);
    let SourceOptions { observer, by, .. } = options;
    // On a failure the snapshot goes before the VM is put back: it may be in the way of that.
    let mut power = (plan.must_halt || plan.taking == Taking::Checkpoint)
        .then(|| Power::of(session, observer, vm));
    let mut kept = Kept::new(session, observer);
    if plan.taking == Taking::Itself {
        return Ok((kept, false));
    }
    still_wanted(observer, vm)?;
    match &mut power {
        Some(power) if plan.must_halt => power.halt(options.shutdown_timeout).map_err(failed)?,
        Some(power) => power.mark_suspended().map_err(failed)?,
        None => {}
    }
    still_wanted(observer, vm)?;
    let flushed = observer.before_snapshot();
    let wish = Wish { taking: plan.taking, left_out, by };
    let snapshot = flushed.map(|has_flushed| (snapshot::take(session, vm, wish), has_flushed));
    observer.after_snapshot();
    let (snapshot, has_flushed) = snapshot.map_err(|source| {
        let place = format!("VM {}: what has to come before its snapshot failed", vm.name);
        SourceError::Io { place, source }
    })?;
    let snapshot = snapshot.map_err(failed)?;
    observer.event(Event::SnapshotTaken { uuid: snapshot.vm.uuid.clone() });
    kept.taken = Some(snapshot);
    if let Some(power) = &mut power {
        power.back().map_err(failed)?;
    }
    Ok((kept, has_flushed))
}

fn still_wanted(observer: &Arc<dyn Observer>, vm: &VmRecord) -> Result<(), SourceError> {
    match observer.goes_on() {
        true => Ok(()),
        false => {
            let place = format!("VM {} any further", vm.name);
            Err(SourceError::Io { place, source: io::ErrorKind::Interrupted.into() })
        }
    }
}

fn references(session: &Session, uuids: &[String]) -> Result<Vec<String>, XapiError> {
    let reference = |uuid: &String| {
        let found = session.call("VDI.get_by_uuid", &[Value::from(&**uuid)])?;
        found.text().map(str::to_owned).ok_or(XapiError::Record { field: "VDI reference" })
    };
    uuids.iter().map(reference).collect()
}

/// Uuids of disks by those of their snapshots. A disk without one is recognised by its content.
fn originals(session: &Session, disks: &[VdiRecord]) -> BTreeMap<String, String> {
    let original = |disk: &VdiRecord| {
        let original = disk.snapshot_of.as_deref()?;
        let uuid = session.call("VDI.get_uuid", &[Value::from(original)]).ok()?;
        Some((disk.uuid.clone(), uuid.text()?.to_owned()))
    };
    disks.iter().filter_map(original).collect()
}

//! `restore --to-pool` of metadata: a database, the system of a host, records of VMs.
//!
//! The pool tries each of them first, if it can, and tells what stands against it; only then is it
//! done.

mod database;
mod words;

use std::io;

use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::source::{Content as _, ContentError};
use repo_format::snapshot::{DiskRole, Snapshot};
use serde::Serialize;
use xen_source::xapi::import::{Identity, Import};
use xen_source::xapi::recovery::{self, RecordsOptions, Rehearsal};
use xen_source::xapi::value::Value;
use xen_source::xapi::{HostRecord, Pool, XapiError};
use xen_source::{OvaXml, RawOutput};

use crate::advice::{Doing as _, Failure, Fault, refused};
use crate::args::DestinationArgs;
use crate::commands::database as stored;
use crate::exit::Exit;
use crate::job::Job;
use crate::progress::Progress;
use crate::report::{short_id, subject};

/// Longest VM record that is sent, in bytes.
const RECORD_LEN_MAX: u64 = 16 << 20;

/// How metadata is restored.
#[derive(Debug)]
pub struct Order {
    /// The pool only tries it.
    pub dry_run: bool,
    /// What the comparison finds does not stop it; the pool still may.
    pub force: bool,
    /// Somebody has agreed already.
    pub yes: bool,
    /// A host of the database may live in another pool.
    pub allow_duplicate_uuid: bool,
    /// VMs keep uuids and network addresses.
    pub keep_uuid: bool,
    /// Disks that took the place of others: old and new uuid.
    pub vdis: Vec<(String, String)>,
}

impl Order {
    /// As it was typed.
    pub fn of(to: &DestinationArgs, force: bool, dry_run: bool) -> Self {
        Self {
            dry_run,
            force,
            yes: to.yes,
            allow_duplicate_uuid: to.allow_duplicate_uuid,
            keep_uuid: to.keep_uuid,
            vdis: to.vdis.clone(),
        }
    }
}

/// What was restored, as JSON.
#[derive(Debug, Serialize)]
struct RestoredMetadata {
    message_type: &'static str,
    snapshot: String,
    /// `pool-db`, `host` or `metadata`.
    container: &'static str,
    pool: String,
    dry_run: bool,
    /// Whether it can be, or was, restored.
    fits: bool,
    differences: Vec<words::DifferenceEntry>,
    vms: Vec<RestoredVm>,
}

/// A VM that has been made.
#[derive(Debug, Serialize)]
struct RestoredVm {
    uuid: String,
    name: String,
}

/// A snapshot on its way to a pool.
struct Way<'a> {
    job: &'a Job,
    pool: &'a Pool,
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    order: &'a Order,
}

/// Restores the metadata in `snapshot`: of its own, or the record of a VM that was saved whole.
pub fn restore_metadata(
    job: &Job,
    pool: &Pool,
    repository: &Repository,
    snapshot: &Snapshot,
    order: &Order,
) -> Result<Exit, Failure> {
    let way = Way { job, pool, repository, snapshot, order };
    match snapshot.origin.container.as_str() {
        stored::CONTAINER => database::restore(&way),
        "host" => way.host(),
        _ => way.records(),
    }
}

impl Way<'_> {
    fn doing(&self) -> String {
        format!("cannot restore snapshot {}", short_id(&self.snapshot.id))
    }

    /// Only the host itself takes it, and only asks what a host is by its uuid.
    fn host(&self) -> Result<Exit, Failure> {
        let hosts = self.pool.hosts().doing(|| self.doing())?;
        let uuid = self.snapshot.origin.vm_uuid.as_deref().unwrap_or_default();
        let Some(host) = hosts.iter().find(|host| host.uuid == uuid) else {
            return refused(
                self.doing(),
                format!(
                    "it is the system of host {} ({uuid}), which is not in the pool",
                    subject(self.snapshot)
                ),
                "the system of a host is for that host and no other. A host that was lost is \
                 installed anew; `xenith dr runbook` prints the steps",
            );
        };
        let name = HostRecord::clone(host).name;
        let mut text =
            format!("the system of host {name} would be staged on its spare partition\n");
        if !self.order.dry_run {
            let place = stored::place(self.snapshot)?;
            let length_bytes = self.snapshot.disks[place].size_bytes;
            let import = recovery::host(self.pool, host, length_bytes).doing(|| self.doing())?;
            self.send(place, import)?;
            text = format!(
                "the system of host {name} is staged on the spare partition; nothing is active \
                 until the install CD boots\nto go on: boot host {name} from the installation CD of its release, choose \
                 \"Restore from backup\", and then restore the database of the pool there\n"
            );
        }
        self.tell(&text, "host", true, Vec::new(), Vec::new())?;
        Ok(Exit::Done)
    }

    /// Tried by the pool first, always: versions and disks are its to judge (contract 2.4).
    fn records(&self) -> Result<Exit, Failure> {
        self.import(Rehearsal::Dry)?;
        let name = subject(self.snapshot);
        if self.order.dry_run {
            let text =
                format!("the pool would take the records of VM {name}; its disks are there\n");
            self.tell(&text, "metadata", true, Vec::new(), Vec::new())?;
            return Ok(Exit::Done);
        }
        let made = self.import(Rehearsal::Real)?;
        let references: Vec<&str> = made.items().iter().filter_map(Value::text).collect();
        let all = self.pool.vms().doing(|| self.doing())?;
        let vms = all.into_iter().filter(|vm| references.contains(&&*vm.record.reference));
        let vms: Vec<RestoredVm> =
            vms.map(|vm| RestoredVm { uuid: vm.record.uuid, name: vm.record.name }).collect();
        let line = |vm: &RestoredVm| format!("VM {} ({}) is there again\n", vm.name, vm.uuid);
        let text: String = vms.iter().map(line).collect();
        self.tell(&text, "metadata", true, Vec::new(), vms)?;
        Ok(Exit::Done)
    }

    fn import(&self, rehearsal: Rehearsal) -> Result<Value, Failure> {
        let order = self.order;
        let identity = if order.keep_uuid { Identity::Same } else { Identity::New };
        let mut options = RecordsOptions { rehearsal, identity, vdis: order.vdis.clone() };
        let begin = |length_bytes, options: &RecordsOptions| {
            let name = subject(self.snapshot);
            recovery::records(self.pool, name, length_bytes, options).doing(|| self.doing())
        };
        let record = self.snapshot.disks.iter().position(|disk| disk.role == DiskRole::Record);
        let Some(record) = record else {
            let place = stored::place(self.snapshot)?;
            return self.send(place, begin(self.snapshot.disks[place].size_bytes, &options)?);
        };
        let record = self.record(record)?;
        options.vdis = self.disks(&record)?;
        let tar = recovery::tar_of_record(record.text().as_bytes());
        let mut import = begin(tar.len() as u64, &options)?;
        let sent = io::Write::write_all(&mut import, &tar).map_err(ContentError::Output);
        sent.map_err(fault).doing(|| self.doing())?;
        import.finish().doing(|| self.doing())
    }

    /// The record of a VM that was saved with its disks.
    fn record(&self, place: usize) -> Result<OvaXml, Failure> {
        let reader = Reader::open(self.repository).doing(|| self.doing())?;
        let workers = self.job.workers()?;
        let progress = Progress::new(&self.job.report);
        let content = SnapshotContent::new(&reader, &workers, self.snapshot, &progress);
        let text = content.read_stream(place, RECORD_LEN_MAX).doing(|| self.doing())?;
        let record = String::from_utf8(text).ok().and_then(|text| OvaXml::parse(text).ok());
        let Some(record) = record else {
            return self.no_record("its record cannot be read");
        };
        let own = record.vm().map(|vm| vm.uuid.as_str());
        match self.order.keep_uuid && own != self.snapshot.origin.vm_uuid.as_deref() {
            true => self.no_record("its record is that of a snapshot of the VM, with another uuid"),
            false => Ok(record),
        }
    }

    /// Which disks of the pool those of the record are: what was said, else those that were saved.
    fn disks(&self, record: &OvaXml) -> Result<Vec<(String, String)>, Failure> {
        let is_disk = |role| matches!(role, DiskRole::Disk | DiskRole::Memory);
        let disks = self.snapshot.disks.iter().filter(|disk| is_disk(disk.role));
        let keys: Vec<&str> = disks.map(|disk| disk.key.as_str()).collect();
        let Some(mut pairs) = recovery::snapshot_disks(record, &keys) else {
            return self.no_record("its record and its disks do not fit together");
        };
        for (old, new) in &self.order.vdis {
            match pairs.iter_mut().find(|(_, key)| key == old) {
                Some((_, key)) => key.clone_from(new),
                None => pairs.push((old.clone(), new.clone())),
            }
        }
        Ok(pairs)
    }

    fn no_record<T>(&self, what: &str) -> Result<T, Failure> {
        refused(self.doing(), what, "restore the VM with its disks; nothing was done")
    }

    /// Sends a file of the snapshot, and waits for what becomes of it.
    fn send(&self, place: usize, mut import: Import) -> Result<Value, Failure> {
        let reader = Reader::open(self.repository).doing(|| self.doing())?;
        let workers = self.job.workers()?;
        let progress = Progress::new(&self.job.report);
        let content = SnapshotContent::new(&reader, &workers, self.snapshot, &progress);
        let sent = xen_source::write_raw(&content, place, RawOutput::Plain(&mut import));
        sent.map_err(fault).doing(|| self.doing())?;
        import.finish().doing(|| self.doing())
    }

    fn tell(
        &self,
        text: &str,
        container: &'static str,
        fits: bool,
        differences: Vec<words::DifferenceEntry>,
        vms: Vec<RestoredVm>,
    ) -> Result<(), Failure> {
        let restored = RestoredMetadata {
            message_type: "restored_metadata",
            snapshot: self.snapshot.id.to_string(),
            container,
            pool: self.pool.record().uuid,
            dry_run: self.order.dry_run,
            fits,
            differences,
            vms,
        };
        self.job.report.outcome(text, &restored)
    }
}

/// What the pool said is behind an error of writing to it.
fn fault(error: ContentError) -> Fault {
    error.of_output::<XapiError>().map_or_else(Fault::from, Fault::from)
}

//! What backups, restores and trials left behind on a pool, and what becomes of it (contract 6, 1.6).
//!
//! Objects are told by marks in their `other_config` that name themselves, never by their names;
//! tasks, which carry no marks, by the label that ours have. What a backup at work may need is
//! spared: what is in use, what is young, and the disks that tell what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::XapiError;
use super::isolated;
use super::objects::{TaskRecord, VbdRecord, VdiRecord, VmRecord, records};
use super::power;
use super::session::Session;
use super::snapshot::{
    self, BY, TAKING, is_our_snapshot, is_ours, record, take_note, taking_since,
};
use super::task::LABEL;
use super::time::{self, PoolTime};
use super::tracking::REPOSITORY;
use super::trial;
use super::unfinished;
use super::value::Value;

/// What was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A VM snapshot and its disks.
    Snapshot,
    /// The snapshot of a disk, whose VM snapshot is gone.
    Disk,
    /// A disk without data that tells what has changed since it was taken.
    Tracking,
    /// A VM that was shut down or suspended for a backup.
    Stopped,
    /// A mark of a VM: that it was shut down or suspended, though it is not any more, that a snapshot of it was being
    /// taken, or that it was being restored, though it is whole.
    Mark,
    /// A VM of a restore that was not finished, and its disks.
    RestoredVm,
    /// A disk of a restore that was not finished, which no VM has.
    RestoredDisk,
    /// A VM of a trial, and its disks. It may run.
    TriedVm,
    /// The network of a trial.
    Network,
    /// A task.
    Task,
}

/// Something of ours that was left behind, or is being used by a backup at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub kind: Kind,
    /// Its uuid.
    pub uuid: String,
    /// What it is called.
    pub name: String,
    /// Who left it, and when, in a few words; empty if it does not tell.
    pub by: String,
    /// How old it is by the clock of the pool, if it tells.
    pub age: Option<Duration>,
    /// Whether something is being done with it now.
    pub is_in_use: bool,
    /// Whether the next backup tells from it what has changed: the latest of its disk and repository.
    pub is_latest: bool,
    reference: String,
}

/// What is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mercy {
    /// What is younger; of trials, which take their time, what is younger than 24 times that.
    pub younger_than: Duration,
    /// Whether disks that tell what has changed since the latest backup stay.
    pub keep_tracking: bool,
}

/// What becomes of something that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes.
    Remove,
    /// The VM is brought back to what it was.
    Start,
    /// It stays: something is being done with it.
    InUse,
    /// It stays: it may belong to a backup that is at work.
    Young,
    /// It stays: the next backup tells from it what has changed.
    Needed,
}

/// How much longer than other things those of a trial may be needed.
const TRIAL_FACTOR: u32 = 24;

impl Leftover {
    /// Decides what becomes of it. Without an age it is young, unless nothing is.
    pub fn fate(&self, mercy: Mercy) -> Fate {
        let is_young = match self.age {
            Some(age) if matches!(self.kind, Kind::TriedVm | Kind::Network) => {
                age < mercy.younger_than.saturating_mul(TRIAL_FACTOR)
            }
            Some(age) => age < mercy.younger_than,
            None => !mercy.younger_than.is_zero(),
        };
        match self.kind {
            _ if self.is_in_use => Fate::InUse,
            _ if is_young => Fate::Young,
            Kind::Tracking if self.is_latest && mercy.keep_tracking => Fate::Needed,
            Kind::Stopped => Fate::Start,
            _ => Fate::Remove,
        }
    }
}

/// Finds all of it.
///
/// # Errors
///
/// What the pool said.
pub fn find(session: &Session) -> Result<Vec<Leftover>, XapiError> {
    let all = |class: &str| session.call(&format!("{class}.get_all_records"), &[]);
    let facts = Facts {
        vms: records(&all("VM")?)?,
        disks: records(&all("VDI")?)?,
        drives: records(&all("VBD")?)?,
        networks: isolated::find(&all("network")?)?,
        tasks: records(&all("task")?)?,
        now: PoolTime::parse(&time::now(session)),
    };
    Ok(facts.leftovers())
}

/// Removes one, or starts it; what is gone already is gone.
///
/// # Errors
///
/// What the pool said.
pub fn remove(session: &Session, leftover: &Leftover) -> Result<(), XapiError> {
    let own = &*leftover.reference;
    let answer = match leftover.kind {
        Kind::Snapshot => snapshot::remove(session, own),
        Kind::Disk | Kind::Tracking => snapshot::remove_disk(session, own),
        Kind::RestoredVm => unfinished::remove_vm(session, own),
        Kind::RestoredDisk => unfinished::remove_disk(session, own),
        Kind::TriedVm => trial::remove_vm(session, own),
        Kind::Network => isolated::remove(session, own),
        Kind::Stopped | Kind::Mark => record::<VmRecord>(session, own)
            .and_then(|vm| power::recover(session, &vm))
            .and_then(|_| take_note(session, "VM", own, TAKING))
            .and_then(|()| unfinished::finish(session, own)),
        Kind::Task => {
            // One that has ended cannot be cancelled, and one that cannot be is destroyed anyway.
            let _ = session.call_briefly("task.cancel", &[Value::from(own)]);
            session.call("task.destroy", &[Value::from(own)]).map(drop)
        }
    };
    match answer {
        Err(error) if error.is_gone() => Ok(()),
        other => other,
    }
}

/// What a pool has.
struct Facts {
    vms: Vec<VmRecord>,
    disks: Vec<VdiRecord>,
    drives: Vec<VbdRecord>,
    networks: Vec<isolated::Found>,
    tasks: Vec<TaskRecord>,
    now: Option<PoolTime>,
}

impl Facts {
    fn leftovers(&self) -> Vec<Leftover> {
        let drives: BTreeMap<&str, &VbdRecord> =
            self.drives.iter().map(|drive| (&*drive.reference, drive)).collect();
        let is_host = |vm: &VmRecord| vm.is_control_domain;
        let hosts: BTreeSet<&str> =
            self.vms.iter().filter(|vm| is_host(vm)).map(|vm| &*vm.reference).collect();
        let users = |disk: &VdiRecord| {
            let drives = disk.vbds.iter().filter_map(|vbd| drives.get(&**vbd).copied());
            drives.fold(Users::default(), |users, drive| {
                let is_host = drive.vm.as_deref().is_some_and(|vm| hosts.contains(vm));
                Users {
                    hosts: users.hosts || is_host && drive.is_attached,
                    vms: users.vms || !is_host,
                }
            })
        };
        let read: BTreeSet<&str> = self
            .disks
            .iter()
            .filter(|disk| users(disk).hosts)
            .map(|disk| &*disk.reference)
            .collect();
        let vms = self.vms.iter().filter_map(|vm| {
            let own = vm.vbds.iter().filter_map(|vbd| drives.get(&**vbd)?.vdi.as_deref());
            let is_read = own.chain(vm.suspend_vdi.as_deref()).any(|disk| read.contains(disk));
            self.vm(vm, is_read)
        });
        let disks = self.disks.iter().filter_map(|disk| self.disk(disk, users(disk)));
        // A network goes behind the VMs with cards in it.
        let networks = self.networks.iter().map(|network| self.network(network));
        let tasks = self.tasks.iter().filter_map(|task| self.task(task));
        vms.chain(disks).chain(networks).chain(tasks).collect()
    }

    fn vm(&self, vm: &VmRecord, is_read: bool) -> Option<Leftover> {
        let of = vm.snapshot_of.as_ref();
        let of = of.and_then(|of| self.vms.iter().find(|other| other.reference == *of));
        let (kind, since) = if is_our_snapshot(vm, of) {
            (Kind::Snapshot, &*vm.snapshot_time)
        } else if let Some(since) = unfinished_since(vm) {
            let is_tried = unfinished::is_tried(&vm.uuid, &vm.other_config);
            let kind = match unfinished::is_whole(vm) {
                true => Kind::Mark,
                false if is_tried => Kind::TriedVm,
                false => Kind::RestoredVm,
            };
            (kind, since)
        } else if let Some(stopped) = power::stopped(vm) {
            (if stopped.is_down { Kind::Stopped } else { Kind::Mark }, stopped.since)
        } else {
            (Kind::Mark, taking_since(&vm.uuid, &vm.other_config)?)
        };
        let is_snapshot = kind == Kind::Snapshot;
        let is_restored = matches!(kind, Kind::RestoredVm | Kind::TriedVm);
        let is_read = is_read && (is_snapshot || is_restored);
        Some(Leftover {
            kind,
            uuid: vm.uuid.clone(),
            name: vm.name.clone(),
            by: if is_snapshot { by(&vm.other_config) } else { String::new() },
            age: self.age(since),
            is_in_use: is_read || !vm.current_operations.is_empty(),
            is_latest: false,
            reference: vm.reference.clone(),
        })
    }

    /// Disks of VMs, and of VM snapshots, go with these. So do memory images, which are in no drive.
    fn disk(&self, disk: &VdiRecord, users: Users) -> Option<Leftover> {
        let is_memory = self.vms.iter().any(|vm| vm.suspend_vdi.as_ref() == Some(&disk.reference));
        if let Some(since) = unfinished::since(&disk.uuid, &disk.other_config)
            && !disk.is_a_snapshot
        {
            let is_one = !users.vms && !is_memory;
            return is_one.then(|| Leftover {
                kind: Kind::RestoredDisk,
                uuid: disk.uuid.clone(),
                name: disk.name.clone(),
                by: String::new(),
                age: self.age(since),
                is_in_use: users.hosts,
                is_latest: false,
                reference: disk.reference.clone(),
            });
        }
        let is_one =
            is_ours(disk.is_a_snapshot, &disk.uuid, &disk.other_config) && !users.vms && !is_memory;
        let is_tracking = disk.kind == "cbt_metadata";
        is_one.then(|| Leftover {
            kind: if is_tracking { Kind::Tracking } else { Kind::Disk },
            uuid: disk.uuid.clone(),
            name: disk.name.clone(),
            by: by(&disk.other_config),
            age: self.age(&disk.snapshot_time),
            is_in_use: users.hosts,
            is_latest: is_tracking && self.is_latest(disk),
            reference: disk.reference.clone(),
        })
    }

    /// Whether `disk` is the latest that tells changes of a disk that exists, to its repository.
    fn is_latest(&self, disk: &VdiRecord) -> bool {
        let Some(of) = &disk.snapshot_of else {
            return false;
        };
        let repository = disk.other_config.get(REPOSITORY);
        let is_like = |other: &&VdiRecord| {
            other.kind == disk.kind
                && other.snapshot_of.as_ref() == Some(of)
                && other.other_config.get(REPOSITORY) == repository
                && is_ours(other.is_a_snapshot, &other.uuid, &other.other_config)
        };
        let time = |disk: &VdiRecord| (PoolTime::parse(&disk.snapshot_time), disk.uuid.clone());
        self.disks.iter().any(|other| other.reference == *of)
            && self.disks.iter().filter(is_like).all(|other| time(other) <= time(disk))
    }

    /// One that has come anywhere is being used; one that has not is waited for by nobody, once it
    /// is old.
    fn task(&self, task: &TaskRecord) -> Option<Leftover> {
        let name = task.label.strip_prefix(LABEL)?;
        Some(Leftover {
            kind: Kind::Task,
            uuid: task.uuid.clone(),
            name: name.to_owned(),
            by: String::new(),
            age: self.age(&task.created),
            is_in_use: task.is_pending && task.progress > 0.0,
            is_latest: false,
            reference: task.reference.clone(),
        })
    }

    fn network(&self, found: &isolated::Found) -> Leftover {
        Leftover {
            kind: Kind::Network,
            uuid: found.record.uuid.clone(),
            name: found.record.name.clone(),
            by: String::new(),
            age: self.age(&found.since),
            is_in_use: false,
            is_latest: false,
            reference: found.record.reference.clone(),
        }
    }

    fn age(&self, since: &str) -> Option<Duration> {
        Some(self.now?.since(PoolTime::parse(since)?))
    }
}

/// Who has a disk in a drive.
#[derive(Debug, Clone, Copy, Default)]
struct Users {
    /// Hosts, which read it for us.
    hosts: bool,
    /// VMs or VM snapshots.
    vms: bool,
}

/// When the restore began that has not finished this VM.
fn unfinished_since(vm: &VmRecord) -> Option<&str> {
    unfinished::since(&vm.uuid, &vm.other_config).filter(|_| !vm.is_a_snapshot)
}

fn by(other_config: &BTreeMap<String, String>) -> String {
    other_config.get(BY).cloned().unwrap_or_default()
}

//! Changed-block tracking: what tells on the pool what a disk has changed since its last backup
//! (contract 5.1, 5.3).
//!
//! ```text
//! live disk --snapshot--> read --data_destroy--> trace: no data, the log only
//!                                                  ^ the next snapshot's changes are told from here
//! ```
//!
//! A trace carries the mark of every snapshot of ours, and beside it the repository that has the
//! disk in that state. There is one for each disk and repository; the one before goes when the
//! backup that replaces it is in the repository, and not earlier.

use engine::source::StoredVersion;

use super::changed::Changed;
use super::error::XapiError;
use super::objects::VdiRecord;
use super::session::Session;
use super::snapshot::{self, OurSnapshot, is_ours, record, remove_disk};
use super::task;
use super::value::Value;

/// The key of the repository, beside [`MARK`](snapshot::MARK).
pub const REPOSITORY: &str = "xenith-repository";
/// What the pool calls a disk that has lost its data and kept its log.
const TRACE: &str = "cbt_metadata";
/// Versions that are looked for on the pool, from the newest on. There is one trace a disk.
const VERSIONS_MAX: usize = 16;

/// What is left of the snapshot of a tracked disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    reference: String,
    uuid: String,
    /// The disk, by its reference.
    disk: String,
}

/// An earlier version of a disk, and what has changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What the repository has.
    pub stored: StoredVersion,
    /// What has changed.
    pub changed: Changed,
}

/// Switches tracking on for live disks, by their references, where it is off. It is called before
/// the snapshot is taken: changes count from there. A disk of which there can be no tracking is no
/// reason for not backing it up; its error comes with its uuid.
pub fn enable(session: &Session, disks: &[VdiRecord]) -> Vec<(String, Result<(), XapiError>)> {
    let off = disks.iter().filter(|disk| !disk.has_cbt && !disk.is_a_snapshot);
    let enable = |disk: &VdiRecord| {
        let params = [Value::from(&*disk.reference)];
        let done = task::run(session, "change tracking", "VDI.enable_cbt", &params);
        (disk.uuid.clone(), done.map(drop))
    };
    off.map(enable).collect()
}

/// The newest of `versions` from which the pool tells the changes up to `snapshot`, a disk of a
/// snapshot. `key` is the uuid of the live disk.
///
/// # Errors
///
/// Why there is none, in words; a full read is due then.
pub fn base(
    session: &Session,
    snapshot: &VdiRecord,
    key: &str,
    versions: &[StoredVersion],
) -> Result<Base, Unknown> {
    if !snapshot.has_cbt {
        return Err(Unknown::Off("tracking of its changes is off".to_owned()));
    }
    let own = versions.iter().filter(|version| version.key == key && version.version != key);
    let own: Vec<&StoredVersion> = own.take(VERSIONS_MAX).collect();
    if own.is_empty() {
        return Err(Unknown::First("there is no backup of it that tracks its changes".to_owned()));
    }
    for stored in own {
        let Some(earlier) = find(session, &stored.version).map_err(|error| failed(&error))? else {
            continue;
        };
        let is_earlier = earlier.is_a_snapshot && earlier.snapshot_of == snapshot.snapshot_of;
        if !is_earlier || earlier.uuid == snapshot.uuid {
            continue;
        }
        return changes(session, &earlier, snapshot, stored);
    }
    Err(Unknown::First("its last tracked state is gone from the pool".to_owned()))
}

/// Why the changes of a disk are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// There is nothing yet to tell them from.
    First(String),
    /// It is not tracked.
    Off(String),
    /// The pool does not tell them.
    Untold(String),
}

impl Unknown {
    /// The reason.
    pub fn into_reason(self) -> String {
        match self {
            Self::First(reason) | Self::Off(reason) | Self::Untold(reason) => reason,
        }
    }
}

fn failed(error: &XapiError) -> Unknown {
    let what = error.api().map_or_else(|| error.to_string(), ToString::to_string);
    Unknown::Untold(format!("the pool does not tell its changes: {what}"))
}

fn find(session: &Session, uuid: &str) -> Result<Option<VdiRecord>, XapiError> {
    let found = session.call("VDI.get_by_uuid", &[Value::from(uuid)]);
    let found = found.and_then(|reference| {
        let reference = reference.text().ok_or(XapiError::Record { field: "VDI reference" })?;
        record(session, reference)
    });
    match found {
        Err(error) if error.is_gone() => Ok(None),
        other => other.map(Some),
    }
}

fn changes(
    session: &Session,
    earlier: &VdiRecord,
    snapshot: &VdiRecord,
    stored: &StoredVersion,
) -> Result<Base, Unknown> {
    if snapshot.size_bytes < stored.size_bytes {
        return Err(Unknown::Untold("it is smaller than it was".to_owned()));
    }
    let params = [Value::from(&*earlier.reference), Value::from(&*snapshot.reference)];
    let answer = session.call("VDI.list_changed_blocks", &params);
    let answer = answer.map_err(|error| failed(&error))?;
    let text = answer.text().unwrap_or_default();
    let changed = Changed::parse(text, snapshot.size_bytes, stored.size_bytes);
    let changed = changed.map_err(|malformed| Unknown::Untold(malformed.to_string()))?;
    Ok(Base { stored: stored.clone(), changed })
}

/// Removes a snapshot that was read, but for traces of its tracked disks, which it hands over. If
/// nothing becomes of the backup they go by [`forget`].
///
/// # Errors
///
/// What the pool said, beside the traces that were made nevertheless. A disk of which no trace can
/// be made is removed whole.
pub fn retire(
    session: &Session,
    taken: &OurSnapshot,
    repository: &str,
) -> (Vec<Trace>, Result<(), XapiError>) {
    if let Err(error) = snapshot::remove_vm(session, &taken.vm) {
        return (Vec::new(), Err(error));
    }
    let (mut traces, mut outcome) = (Vec::new(), Ok(()));
    for disk in &taken.disks {
        match disk.snapshot_of.as_ref().filter(|_| is_tracked(disk)) {
            Some(live) if strip(session, disk, repository).is_ok() => traces.push(Trace {
                reference: disk.reference.clone(),
                uuid: disk.uuid.clone(),
                disk: live.clone(),
            }),
            _ => outcome = outcome.and(remove_disk(session, &disk.reference)),
        }
    }
    (traces, outcome)
}

/// Whether a trace can be made of the snapshot of a disk.
pub fn is_tracked(snapshot: &VdiRecord) -> bool {
    snapshot.has_cbt && snapshot.is_a_snapshot && snapshot.snapshot_of.is_some()
}

/// Names the repository first, so that what has lost its data is known as what it is.
fn strip(session: &Session, disk: &VdiRecord, repository: &str) -> Result<(), XapiError> {
    snapshot::set_note(session, "VDI", &disk.reference, REPOSITORY, repository)?;
    snapshot::once_free(session, disk, "VDI.data_destroy").map(drop)
}

/// The repository has the states that `traces` stand for: older traces of the same disks and the
/// same repository go, also those that the pool could not compare with (contract 5.3).
///
/// # Errors
///
/// What the pool said; traces after the first that stays are tried nevertheless.
pub fn keep(session: &Session, traces: &[Trace], repository: &str) -> Result<(), XapiError> {
    let mut outcome = Ok(());
    for trace in traces {
        outcome = outcome.and(replace(session, trace, repository));
    }
    outcome
}

fn replace(session: &Session, trace: &Trace, repository: &str) -> Result<(), XapiError> {
    let snapshots = match session.call("VDI.get_snapshots", &[Value::from(&*trace.disk)]) {
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    let mut outcome = Ok(());
    for reference in snapshots.items().iter().filter_map(Value::text) {
        if reference == trace.reference {
            continue;
        }
        outcome = outcome.and(match record::<VdiRecord>(session, reference) {
            Ok(other) if is_trace(&other, repository) => remove_disk(session, reference),
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        });
    }
    outcome
}

/// Whether a disk is a trace of ours for this repository.
fn is_trace(disk: &VdiRecord, repository: &str) -> bool {
    let noted = disk.other_config.get(REPOSITORY).map(String::as_str);
    let is_ours = is_ours(disk.is_a_snapshot, &disk.uuid, &disk.other_config);
    is_ours && disk.kind == TRACE && noted == Some(repository)
}

/// Removes traces of which nothing came.
///
/// # Errors
///
/// What the pool said; traces after the first that stays are tried nevertheless.
pub fn forget(session: &Session, traces: &[Trace]) -> Result<(), XapiError> {
    let removed: Vec<_> =
        traces.iter().map(|trace| remove_disk(session, &trace.reference)).collect();
    removed.into_iter().collect()
}

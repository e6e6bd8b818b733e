//! What can go wrong between us and a pool.

use std::io;
use std::path::PathBuf;

use super::answer::{ApiError, Malformed};
use super::fingerprint::Fingerprint;
use super::host_map::Unresolved;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How far a request had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There was no connection, so nothing has happened on the host.
    Connecting,
    /// The host may have acted on it.
    Sent,
}

/// Why a pool did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum XapiError {
    /// An address that is none.
    #[error("{text} is not the address of a host")]
    Address {
        /// What was given.
        text: String,
    },
    /// Certificates could not be read.
    #[error("cannot read the certificates in {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Cause,
    },
    /// The client for HTTPS could not be made.
    #[error("cannot prepare for TLS")]
    Tls {
        /// Why.
        source: Cause,
    },
    /// A host did not answer.
    #[error("{address} does not answer")]
    Unreachable {
        /// Which host.
        address: String,
        /// How far the request had come.
        stage: Stage,
        /// Why.
        source: Cause,
    },
    /// A host has a certificate that is not trusted.
    #[error("{address} has a certificate that is not trusted (sha256 {found})")]
    Certificate {
        /// Which host.
        address: String,
        /// Its certificate.
        found: Fingerprint,
        /// Why.
        source: Cause,
    },
    /// A host answered with an error of HTTP.
    #[error("{address} answered {status} to {path}: {what}")]
    Status {
        /// Which host.
        address: String,
        /// What was asked for, without its query.
        path: String,
        /// The status.
        status: u16,
        /// What the page said.
        what: String,
    },
    /// A host sent a transfer to a place that is no member of the pool, or round in circles.
    #[error("{address} sends the transfer to {location}, which is not followed")]
    Redirect {
        /// Which host.
        address: String,
        /// Where it leads.
        location: String,
    },
    /// An answer that makes no sense.
    #[error("{address} gave an answer to {method} that makes no sense")]
    Answer {
        /// Which host.
        address: String,
        /// What had been called.
        method: String,
        /// What is wrong with it.
        source: Malformed,
    },
    /// A record that lacks what it must have.
    #[error("a record of the pool has no {field}")]
    Record {
        /// Class and field.
        field: &'static str,
    },
    /// The pool refused a call.
    #[error("{method} failed: {error}")]
    Refused {
        /// What had been called.
        method: String,
        /// What the host said.
        error: ApiError,
    },
    /// The hosts that answer belong to another pool.
    #[error("{address} belongs to pool {found}, not {expected}")]
    OtherPool {
        /// Which host.
        address: String,
        /// The pool that it belongs to.
        found: String,
        /// The pool that was meant.
        expected: String,
    },
    /// Hosts name each other as coordinator.
    #[error("no coordinator after {address}: its hosts name each other")]
    NoCoordinator {
        /// The last host asked.
        address: String,
    },
    /// A task ended in failure.
    #[error("{label} failed: {error}")]
    TaskFailed {
        /// What the task was to do.
        label: String,
        /// What the host said.
        error: ApiError,
    },
    /// A task was cancelled.
    #[error("{label} was cancelled")]
    TaskCancelled {
        /// What the task was to do.
        label: String,
    },
    /// A task has vanished, so that nobody knows how it ended (contract 1.6).
    #[error("the pool has lost the task of {label}")]
    TaskLost {
        /// What the task was to do.
        label: String,
    },
    /// A task did not end although its stream had.
    #[error("{label} does not come to an end")]
    TaskPending {
        /// What the task was to do.
        label: String,
    },
    /// A host appended an error page to a transfer (contract 0.3).
    #[error("{label} failed; the host appended an error page: {page}")]
    Page {
        /// What was transferred.
        label: String,
        /// What the page says.
        page: String,
    },
    /// A stream ended too early or too late.
    #[error("{label} has {found} bytes instead of {expected}")]
    Length {
        /// What was transferred.
        label: String,
        /// Bytes that came.
        found: u64,
        /// Bytes that were due.
        expected: u64,
    },
    /// A stream broke.
    #[error("{label} broke off after {bytes} bytes")]
    Stream {
        /// What was transferred.
        label: String,
        /// Bytes that came before.
        bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// No host was named that gives out the disk by NBD.
    #[error("no host gives out the disk by NBD")]
    NbdAbsent,
    /// A host hung up before it gave out a disk by NBD: it does not know the session, has too many
    /// clients, or cannot attach the disk.
    #[error("{address} does not give out disk {vdi} by NBD")]
    NbdRefused {
        /// Which host.
        address: String,
        /// The disk's uuid.
        vdi: String,
        /// How it ended.
        source: io::Error,
    },
    /// A host speaks NBD in the clear only, and that is not wanted.
    #[error("{address} gives out disk {vdi} by NBD in the clear only")]
    NbdClear {
        /// Which host.
        address: String,
        /// The disk's uuid.
        vdi: String,
    },
    /// A host refused a read by NBD.
    #[error("{address} refuses to read disk {vdi} at {offset} by NBD: error {code}")]
    NbdRead {
        /// Which host.
        address: String,
        /// The disk's uuid.
        vdi: String,
        /// Where, in bytes.
        offset: u64,
        /// Of NBD, which are those of Linux.
        code: u32,
    },
    /// A VM cannot be suspended, so its memory cannot be had (contract 6).
    #[error("VM {vm} cannot be suspended: {error}")]
    NotSuspendable {
        /// Its name.
        vm: String,
        /// What the host said.
        error: ApiError,
    },
    /// A guest did not shut down in time.
    #[error("VM {vm} did not shut down within {seconds} s")]
    NoShutdown {
        /// Its name.
        vm: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The end was asked for while a guest was shutting down.
    #[error("VM {vm} was told to shut down, and has not done so yet")]
    ShutdownLeft {
        /// Its name.
        vm: String,
    },
    /// A VM is in a power state that we do not know.
    #[error("VM {vm} is neither on, off, paused nor suspended")]
    UnknownPower {
        /// Its name.
        vm: String,
    },
    /// A VM does not have the power state that it had before.
    #[error("VM {vm} was {state}, and cannot be brought back to that")]
    NotBack {
        /// Its name.
        vm: String,
        /// How it was: `running` or `paused`.
        state: &'static str,
        /// Why.
        source: Box<XapiError>,
    },
    /// A disk of which there are no snapshots (contract 6).
    #[error("disk {disk} ({uuid}) of VM {vm} cannot be part of a snapshot: {why}")]
    NoSnapshot {
        /// The VM's name.
        vm: String,
        /// The disk's name.
        disk: String,
        /// Its uuid.
        uuid: String,
        /// What is special about it.
        why: &'static str,
    },
    /// Disks of a template were to be left out.
    #[error("{vm} is a template, which is read with all its disks")]
    WholeTemplate {
        /// Its name.
        vm: String,
    },
    /// A storage repository has no room for a snapshot.
    #[error("a snapshot needs {}, SR {sr} has {}", size(*needed_bytes), size(*free_bytes))]
    NoRoom {
        /// The storage repository's name.
        sr: String,
        /// What has to be free, in bytes.
        needed_bytes: u64,
        /// What is free, in bytes.
        free_bytes: u64,
    },
    /// A storage repository that no host has attached.
    #[error("SR {sr} is not attached to any host")]
    NotAttached {
        /// Its name.
        sr: String,
    },
    /// The changes of a disk cannot be told, or not be read alone, and that was required.
    #[error("its changes cannot be read alone: {reason}")]
    Untracked {
        /// Why.
        reason: String,
    },
    /// The pool has no such VM.
    #[error("the pool has no VM {uuid}")]
    NoVm {
        /// Which.
        uuid: String,
    },
}

impl XapiError {
    /// What the pool said, if it refused.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Refused { error, .. } | Self::TaskFailed { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The name that leads nowhere, if that is why a host was not reached.
    pub fn unresolved(&self) -> Option<&Unresolved> {
        match self {
            Self::Unreachable { source, .. } => source.downcast_ref().or_else(|| {
                source.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref() // of an upload
            }),
            _ => None,
        }
    }

    /// Whether the object that was named does not exist (any more).
    pub fn is_gone(&self) -> bool {
        self.api().is_some_and(ApiError::is_gone)
    }

    /// Whether the pool refused with `code`.
    pub fn has_code(&self, code: &str) -> bool {
        self.api().is_some_and(|error| error.code == code)
    }
}

/// A size in the largest unit of which it has at least one, rounded down.
fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

//! What can go wrong between us and a pool.

use std::io;
use std::path::PathBuf;

use super::rpc::{ApiError, Malformed};
use super::trust::Fingerprint;

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

    /// Whether the object that was named does not exist (any more).
    pub fn is_gone(&self) -> bool {
        self.api().is_some_and(ApiError::is_gone)
    }

    /// Whether the pool refused with `code`.
    pub fn has_code(&self, code: &str) -> bool {
        self.api().is_some_and(|error| error.code == code)
    }
}

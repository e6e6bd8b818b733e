//! What a pool gives out as a stream (contract 2.1, 2.2, 4.1, 7).
//!
//! A host answers `200` before it begins, and the end of the connection is the end of the data,
//! whether or not that is all. So every stream goes with a task, and ends in an error unless the
//! task says that all is well.

use std::io::{self, Read};
use std::sync::Arc;

use super::address::Address;
use super::error::XapiError;
use super::limits::SETTLE_TIME;
use super::retry::Nature;
use super::route::{Answer, Wanted, begin};
use super::session::Session;
use super::task::{Task, TaskState};
use super::transport::{Body, GetAnswer};
use crate::xva::error_page;

/// Compression that the host does on its own processors (contract 2.1, 10). Better not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None: we compress better, and the host has more to do.
    Off,
    /// For slow networks.
    Gzip,
    /// For slow networks; hosts since Citrix Hypervisor 8.1.
    Zstd,
}

/// Whether a suspended VM is exported with its memory (contract 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// As if it were off.
    Leave,
    /// With its memory image.
    Include,
}

/// How a disk is exported (contract 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VdiFormat {
    /// Every byte.
    Raw,
    /// A dynamic VHD; up to 2040 GiB.
    Vhd,
}

/// What shows that a stream is whole when the pool has lost its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Whoever reads it checks its form: XVA and VHD.
    Form,
    /// Its length.
    Length(u64),
    /// Nothing.
    Nothing,
}

/// A VM, VM snapshot or template as XVA. It must be off, suspended or a snapshot.
pub fn vm(
    session: &Session,
    label: &str,
    vm: &str,
    compression: Compression,
    memory: Memory,
) -> Result<Download, XapiError> {
    let mut query = vec![("ref", vm.to_owned())];
    let compression = match compression {
        Compression::Off => "false",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    query.push(("use_compression", compression.to_owned()));
    if memory == Memory::Include {
        query.push(("preserve_power_state", "true".to_owned()));
    }
    let label = format!("export of {label}");
    download(session, Wanted { label, address: None, path: "/export", query }, Proof::Form)
}

/// A disk that nobody writes to; only what differs from `base`, if given (VHD only).
pub fn vdi(
    session: &Session,
    label: &str,
    vdi: &str,
    format: VdiFormat,
    base: Option<&str>,
    size_bytes: u64,
) -> Result<Download, XapiError> {
    let (format, proof) = match format {
        VdiFormat::Raw => ("raw", Proof::Length(size_bytes)),
        VdiFormat::Vhd => ("vhd", Proof::Form),
    };
    let mut query = vec![("vdi", vdi.to_owned()), ("format", format.to_owned())];
    query.extend(base.map(|base| ("base", base.to_owned())));
    let label = format!("export of disk {label}");
    download(session, Wanted { label, address: None, path: "/export_raw_vdi", query }, proof)
}

/// The records of one VM, or of all that are no default templates, as a tar of `ova.xml`.
pub fn metadata(session: &Session, vm: Option<&str>) -> Result<Download, XapiError> {
    let query = match vm {
        Some(vm) => vec![("ref", vm.to_owned()), ("export_snapshots", "false".to_owned())],
        None => vec![("all", "true".to_owned())],
    };
    let (label, path) = ("export of metadata".to_owned(), "/export_metadata");
    download(session, Wanted { label, address: None, path, query }, Proof::Nothing)
}

/// The pool's database. Contains secrets.
pub fn database(session: &Session) -> Result<Download, XapiError> {
    let (label, path, query) = ("dump of the database".to_owned(), "/pool/xmldbdump", Vec::new());
    download(session, Wanted { label, address: None, path, query }, Proof::Nothing)
}

/// The system of the host at `address`, as a tar inside gzip.
pub fn host(session: &Session, address: &Address) -> Result<Download, XapiError> {
    let (label, path) = (format!("backup of host {address}"), "/host_backup");
    let address = Some(address.clone());
    download(session, Wanted { label, address, path, query: Vec::new() }, Proof::Nothing)
}

/// A stream of a pool.
///
/// Reading it ends in an error if the task failed, if the stream broke, or if nobody can tell
/// whether it is whole; the error's source is an [`XapiError`]. Dropped early, it ends its task.
pub struct Download {
    body: Option<Body>,
    task: Arc<Task>,
    proof: Proof,
    bytes_read: u64,
    /// The latest bytes, among which an error page would be.
    latest: Vec<u8>,
}

impl Download {
    /// The task that it goes with.
    pub fn task(&self) -> Arc<Task> {
        self.task.clone()
    }

    /// Bytes that have come.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn note(&mut self, bytes: &[u8]) {
        self.bytes_read += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(error_page::SEARCH_LEN)..];
        let surplus = (self.latest.len() + kept.len()).saturating_sub(error_page::SEARCH_LEN);
        self.latest.drain(..surplus);
        self.latest.extend_from_slice(kept);
    }

    /// What the end of the connection means.
    fn verdict(&self) -> Result<(), XapiError> {
        match self.task.settle(SETTLE_TIME)? {
            TaskState::Success { .. } => {
                let Proof::Length(expected) = self.proof else {
                    return Ok(());
                };
                self.check_length(expected)
            }
            TaskState::Lost => self.verdict_without_task(),
            ended => self.task.success(ended).map(drop),
        }
    }

    /// A task that has vanished may have done its work (contract 1.6).
    fn verdict_without_task(&self) -> Result<(), XapiError> {
        let label = self.task.label().to_owned();
        if let Some(page) = error_page::find(&self.latest) {
            return Err(XapiError::Page { label, page });
        }
        match self.proof {
            Proof::Form => Ok(()),
            Proof::Length(expected) => self.check_length(expected),
            Proof::Nothing => Err(XapiError::TaskLost { label }),
        }
    }

    /// Devices may be larger than disks (contract 4.1), never smaller.
    fn check_length(&self, expected: u64) -> Result<(), XapiError> {
        if self.bytes_read >= expected {
            return Ok(());
        }
        let (label, found) = (self.task.label().to_owned(), self.bytes_read);
        Err(XapiError::Length { label, found, expected })
    }

    /// A stream that broke: the task says why, if it failed first.
    fn broken(&self, source: io::Error) -> XapiError {
        match self.task.look() {
            Ok(TaskState::Failed(error)) => {
                XapiError::TaskFailed { label: self.task.label().to_owned(), error }
            }
            _ => {
                let (label, bytes) = (self.task.label().to_owned(), self.bytes_read);
                XapiError::Stream { label, bytes, source }
            }
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(body) = self.body.as_mut().filter(|_| !buffer.is_empty()) else {
            return Ok(0);
        };
        let read = body.bytes.read(buffer);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) if !body.is_end(&error) => {
                self.body = None;
                Err(io::Error::other(self.broken(error)))
            }
            Ok(0) | Err(_) => {
                self.body = None;
                self.verdict().map_err(io::Error::other)?;
                Ok(0)
            }
            Ok(len) => {
                self.note(&buffer[..len]);
                Ok(len)
            }
        }
    }
}

/// Asks for a stream, with a task of its own for every try.
fn download(session: &Session, wanted: Wanted<'_>, proof: Proof) -> Result<Download, XapiError> {
    session.retrying(Nature::Reads, || {
        let (body, task) = begin(session, &wanted, |request| {
            Ok(match session.transport().get(request)? {
                GetAnswer::Body(body) => Answer::Here(body),
                GetAnswer::Elsewhere(location) => Answer::Elsewhere(location),
            })
        })?;
        let (body, task) = (Some(body), Arc::new(task));
        Ok(Download { body, task, proof, bytes_read: 0, latest: Vec::new() })
    })
}

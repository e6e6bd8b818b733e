//! What a pool gives out as a stream (contract 2.1, 2.2, 4.1, 7).
//!
//! A host answers `200` before it begins, and the end of the connection is the end of the data,
//! whether or not that is all. So every stream goes with a task, and ends in an error unless the
//! task says that all is well.

use std::io::{self, Read};
use std::sync::Arc;

use super::address::Address;
use super::error::XapiError;
use super::limits::{REDIRECTS_MAX, SETTLE_LOOKS};
use super::retry::Nature;
use super::session::Session;
use super::task::{Task, TaskState};
use super::transport::{Body, GetAnswer, Request};
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

/// What is asked for.
struct Wanted {
    /// For people, and the task.
    label: String,
    /// `None`: the coordinator.
    address: Option<Address>,
    path: &'static str,
    query: Vec<(&'static str, String)>,
    proof: Proof,
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
    download(session, Wanted { label, address: None, path: "/export", query, proof: Proof::Form })
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
    download(session, Wanted { label, address: None, path: "/export_raw_vdi", query, proof })
}

/// The records of one VM, or of all that are no default templates, as a tar of `ova.xml`.
pub fn metadata(session: &Session, vm: Option<&str>) -> Result<Download, XapiError> {
    let query = match vm {
        Some(vm) => vec![("ref", vm.to_owned()), ("export_snapshots", "false".to_owned())],
        None => vec![("all", "true".to_owned())],
    };
    let (label, path) = ("export of metadata".to_owned(), "/export_metadata");
    download(session, Wanted { label, address: None, path, query, proof: Proof::Nothing })
}

/// The pool's database. Contains secrets.
pub fn database(session: &Session) -> Result<Download, XapiError> {
    let (label, path, query) = ("dump of the database".to_owned(), "/pool/xmldbdump", Vec::new());
    download(session, Wanted { label, address: None, path, query, proof: Proof::Nothing })
}

/// The system of the host at `address`, as a tar inside gzip.
pub fn host(session: &Session, address: &Address) -> Result<Download, XapiError> {
    let (label, path) = (format!("backup of host {address}"), "/host_backup");
    let address = Some(address.clone());
    download(session, Wanted { label, address, path, query: Vec::new(), proof: Proof::Nothing })
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
        match self.task.settle(SETTLE_LOOKS)? {
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

/// Asks for a stream, with a task of its own for every try. A task whose request was refused is
/// ended with it, since the host may never have heard of it (contract 1.6).
fn download(session: &Session, wanted: Wanted) -> Result<Download, XapiError> {
    session.retrying(Nature::Reads, || {
        let task = Task::create(session, &wanted.label)?;
        match request(session, &wanted, &task) {
            Ok(body) => Ok(Download {
                body: Some(body),
                task: Arc::new(task),
                proof: wanted.proof,
                bytes_read: 0,
                latest: Vec::new(),
            }),
            // The page says less than the task, if the host has taken it on.
            Err(error @ XapiError::Status { status: 403 | 500, .. }) => match task.look() {
                Ok(TaskState::Failed(error)) => {
                    Err(XapiError::TaskFailed { label: wanted.label.clone(), error })
                }
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    })
}

fn request(session: &Session, wanted: &Wanted, task: &Task) -> Result<Body, XapiError> {
    let mut address = wanted.address.clone().unwrap_or_else(|| session.coordinator());
    let mut path_and_query = String::from(wanted.path);
    for (place, (key, value)) in wanted.query.iter().enumerate() {
        path_and_query.push(if place == 0 { '?' } else { '&' });
        path_and_query.push_str(&format!("{key}={}", percent_encoded(value)));
    }
    let cookie = session.cookie(task.reference());
    for hop in 0..=REDIRECTS_MAX {
        let request =
            Request { address: &address, path_and_query: &path_and_query, cookie: &cookie };
        let location = match session.transport().get(&request)? {
            GetAnswer::Body(body) => return Ok(body),
            GetAnswer::Elsewhere(location) => location,
        };
        let next = if hop < REDIRECTS_MAX { member(session, &location)? } else { None };
        let Some((next, path)) = next else {
            return Err(XapiError::Redirect { address: address.to_string(), location });
        };
        (address, path_and_query) = (next, path);
    }
    Err(XapiError::Redirect { address: address.to_string(), location: wanted.path.to_owned() })
}

/// Where a redirection leads, if that is a member of the pool. Nobody else gets our session.
fn member(session: &Session, location: &str) -> Result<Option<(Address, String)>, XapiError> {
    let Some((address, path)) = Address::of_location(location) else {
        return Ok(None);
    };
    let is_member =
        |session: &Session| session.members().iter().any(|member| member.host() == address.host());
    if !is_member(session) {
        session.refresh_members()?;
        if !is_member(session) {
            return Ok(None);
        }
    }
    let address = address.with_port_of(&session.coordinator());
    Ok(Some((address, path.to_owned())))
}

/// References and uuids have nothing that needs it; hosts decode it anyway (contract 1.5).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

//! Streams into a pool (contract 2.3, 4.4): VMs and disks.
//!
//! The host answers before it reads, so that an import which is to go elsewhere or is refused has
//! not taken a byte. What became of it, the task says.

use std::io::{self, Write};

use super::error::XapiError;
use super::limits::IMPORT_TIME;
use super::retry::Nature;
use super::route::{Answer, Wanted, begin};
use super::session::Session;
use super::task::{Task, TaskState};
use super::upload::{PutAnswer, Upload};
use super::value::Value;

/// What an imported VM keeps of the one it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: a new VM beside the old one.
    New,
    /// Uuids and MAC addresses. A VM of the same uuid, which must be off, is *replaced*.
    Same,
}

/// An XVA into the SR of this uuid, or the pool's default.
pub fn vm(
    session: &Session,
    label: &str,
    sr_uuid: Option<&str>,
    identity: Identity,
) -> Result<Import, XapiError> {
    let mut query: Vec<_> = sr_uuid.map(|uuid| ("sr_uuid", uuid.to_owned())).into_iter().collect();
    if identity == Identity::Same {
        query.push(("restore", "true".to_owned()));
    }
    let (label, path) = (format!("import of {label}"), "/import");
    offer(session, Wanted { label, address: None, path, query }, None)
}

/// A VHD of exactly this length into a disk (contract 4.4: other lengths fail, after writing).
pub fn vhd(
    session: &Session,
    label: &str,
    vdi: &str,
    length_bytes: u64,
) -> Result<Import, XapiError> {
    let query = vec![("vdi", vdi.to_owned()), ("format", "vhd".to_owned())];
    let (label, path) = (format!("import of disk {label}"), "/import_raw_vdi");
    offer(session, Wanted { label, address: None, path, query }, Some(length_bytes))
}

/// Bytes into a disk as they lie on it: all `length_bytes` of them, or, without a length, records of
/// what is not zero (contract 4.4).
pub fn raw(
    session: &Session,
    label: &str,
    vdi: &str,
    length_bytes: Option<u64>,
) -> Result<Import, XapiError> {
    let mut query = vec![("vdi", vdi.to_owned()), ("format", "raw".to_owned())];
    if length_bytes.is_none() {
        query.push(("chunked", "true".to_owned()));
    }
    let (label, path) = (format!("import of disk {label}"), "/import_raw_vdi");
    offer(session, Wanted { label, address: None, path, query }, length_bytes)
}

/// Takes the data of an import. Dropped early, it ends its task.
pub struct Import {
    upload: Option<Upload>,
    task: Task,
}

impl Import {
    /// Ends the data, waits for the task, and takes its result: references of what was made.
    ///
    /// # Errors
    ///
    /// What the pool said, or that the task has not moved for as long as a stream may be silent.
    pub fn finish(mut self) -> Result<Value, XapiError> {
        if let Some(upload) = self.upload.take() {
            // A host that has closed already may have all that it needs (contract 0.8).
            let _ = upload.finish();
        }
        self.task.wait_while_moving()
    }

    /// Breaks it off, and waits a while for the host to take away what it has made.
    pub fn abort(mut self) {
        self.upload = None;
        let _ = self.task.cancel();
        // What stays nevertheless is marked.
        let _ = self.task.settle(IMPORT_TIME);
    }

    /// A host that reads no more has either all that it needs, or failed.
    fn closed(&mut self, error: io::Error) -> io::Result<()> {
        self.upload = None;
        match self.task.settle(IMPORT_TIME).map_err(io::Error::other)? {
            TaskState::Success { .. } => Ok(()),
            TaskState::Pending { .. } => Err(error),
            failed => self.task.success(failed).map(drop).map_err(io::Error::other),
        }
    }
}

impl Write for Import {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(upload) = &mut self.upload else {
            return Ok(bytes.len()); // nobody needs it
        };
        match upload.write(bytes) {
            Err(error) if is_closed(&error) => self.closed(error).map(|()| bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        match upload.flush() {
            Err(error) if is_closed(&error) => self.closed(error),
            other => other,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    [BrokenPipe, ConnectionAborted, ConnectionReset].contains(&error.kind())
}

/// Nothing has been sent when this fails, so it may be tried again.
pub(super) fn offer(
    session: &Session,
    wanted: Wanted<'_>,
    length: Option<u64>,
) -> Result<Import, XapiError> {
    session.retrying(Nature::Reads, || {
        let (upload, task) = begin(session, &wanted, |request| {
            Ok(match session.transport().put(request, length)? {
                PutAnswer::Ready(upload) => Answer::Here(upload),
                PutAnswer::Elsewhere(location) => Answer::Elsewhere(location),
            })
        })?;
        Ok(Import { upload: Some(upload), task })
    })
}

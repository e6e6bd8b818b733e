//! Disks of a pool by NBD: any range, in any order, without a task (contract 5.1, 5.2).
//!
//! ```text
//! ask ask ask            take        take        take
//!   \   \   \___ requests of at most 2 MiB, several under way ___> host
//!    \___\______________ answers in the same order <______________/
//! ```
//!
//! Hosts speak a small part of NBD, and this does too: TLS, one export, reads. The name of the export
//! holds the session, so it is in no message.

mod connection;

mod queue;

mod wire;

use std::fmt;
use std::io;

use zeroize::Zeroizing;

use super::error::XapiError;
use super::limits::{
    NBD_ASKED_MAX, NBD_PLACES_MAX, NBD_RECONNECT_TIME, NBD_SILENT_MAX, NBD_UNDER_WAY_MAX,
};
use super::looks::Looks;
use super::request::Settings;
use super::session::{Pause, RealPause, Session};
use super::value::Value;
use connection::{Connection, Failure};
use queue::Queue;

#[cfg(test)]
pub(super) mod tests;

/// Where a disk is to be had, and by which name.
#[derive(Clone)]
pub struct NbdInfo {
    /// What the host calls the disk. It holds the session, with which it lives and dies.
    pub export_name: Zeroizing<String>,
    /// Number or name of the host.
    pub address: String,
    /// Where it listens.
    pub port: u16,
    /// The certificate of the host in PEM.
    pub certificate: String,
    /// The name that its certificate carries.
    pub subject: String,
}

impl NbdInfo {
    /// The disk's uuid, for messages.
    fn vdi(&self) -> &str {
        let name = self.export_name.strip_prefix('/').unwrap_or_default();
        let uuid = name.split('?').next().unwrap_or_default();
        let is_uuid = |char: char| char.is_ascii_hexdigit() || char == '-';
        if uuid.len() == 36 && uuid.chars().all(is_uuid) { uuid } else { "of unknown name" }
    }

    /// One entry of the pool's answer.
    fn of(entry: &Value) -> Result<Self, XapiError> {
        let text = |key: &str, field: &'static str| {
            let value = entry.get(key).and_then(Value::text).map(str::to_owned);
            value.ok_or(XapiError::Record { field })
        };
        let port = entry.get("port").and_then(Value::int).and_then(|port| port.try_into().ok());
        Ok(Self {
            export_name: Zeroizing::new(text("exportname", "name of an NBD export")?),
            address: text("address", "address of NBD")?,
            port: port.ok_or(XapiError::Record { field: "port of NBD" })?,
            certificate: text("cert", "certificate of NBD")?,
            subject: text("subject", "subject of NBD")?,
        })
    }
}

impl fmt::Debug for NbdInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NbdInfo({} at {}:{})", self.vdi(), self.address, self.port)
    }
}

/// Where the disk with the reference `vdi` is to be had. Nowhere: the pool has no network for NBD,
/// or does not know it.
///
/// # Errors
///
/// What the pool said, such as `VDI_INCOMPATIBLE_TYPE`: the disk has no data (any more).
pub fn infos(session: &Session, vdi: &str) -> Result<Vec<NbdInfo>, XapiError> {
    match session.call("VDI.get_nbd_info", &[Value::from(vdi)]) {
        Ok(entries) => entries.items().iter().take(NBD_PLACES_MAX).map(NbdInfo::of).collect(),
        Err(error) if error.has_code("MESSAGE_METHOD_UNKNOWN") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A disk that is read by NBD. What is asked for with [`ask`](Self::ask) is handed over in the same
/// order by [`take`](Self::take), also if the connection is lost in between.
pub struct NbdDisk {
    infos: Vec<NbdInfo>,
    settings: Settings,
    pause: Box<dyn Pause>,
    connection: Option<Connection>,
    queue: Queue,
    size_bytes: u64,
    bytes_read: u64,
}

impl NbdDisk {
    /// Connects to the first of `infos` that gives out the disk.
    ///
    /// # Errors
    ///
    /// [`XapiError::NbdAbsent`]: there are no infos; else what the last of them said.
    pub fn connect(infos: &[NbdInfo], settings: &Settings) -> Result<Self, XapiError> {
        Self::connect_with(infos, settings, Box::new(RealPause))
    }

    /// The same, with another clock.
    pub fn connect_with(
        infos: &[NbdInfo],
        settings: &Settings,
        pause: Box<dyn Pause>,
    ) -> Result<Self, XapiError> {
        let connection = open_any(infos, settings)?;
        Ok(Self {
            infos: infos.to_vec(),
            settings: settings.clone(),
            pause,
            size_bytes: connection.size_bytes(),
            connection: Some(connection),
            queue: Queue::default(),
            bytes_read: 0,
        })
    }

    /// Bytes of the disk.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes asked for and not taken yet; at most 256 MiB.
    pub fn asked(&self) -> usize {
        self.queue.asked()
    }

    /// Bytes of the disk that came, including those that came twice.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Asks for `len` bytes at `offset`, and does not wait for them. A range of no bytes is nothing.
    ///
    /// # Errors
    ///
    /// [`XapiError::Length`]: the disk is shorter; [`XapiError::Stream`]: too much was asked for.
    pub fn ask(&mut self, offset: u64, len: usize) -> Result<(), XapiError> {
        let end = offset.saturating_add(len as u64);
        if end > self.size_bytes {
            let (label, found) = (self.label(), self.size_bytes);
            return Err(XapiError::Length { label, found, expected: end });
        }
        if len > NBD_ASKED_MAX - self.queue.asked() {
            return Err(self.broken(io::Error::other("more is asked for than may be")));
        }
        if len > 0 {
            self.queue.push(offset, len);
            if self.send().is_err() {
                self.connection = None; // `take` finds out, and connects again
            }
        }
        Ok(())
    }

    /// Fills `buffer` with the next range that was asked for, which has its length.
    ///
    /// # Errors
    ///
    /// [`XapiError::Stream`]: the connection was lost, and connecting again did not help;
    /// [`XapiError::NbdRead`], [`XapiError::Answer`]; [`XapiError::Length`]: the disk has another
    /// size now, or `buffer` another length. The range can be taken again.
    pub fn take(&mut self, buffer: &mut [u8]) -> Result<(), XapiError> {
        let expected = buffer.len() as u64;
        let found = self.queue.first_len().unwrap_or(0);
        if expected == 0 {
            return Ok(());
        }
        if found != expected {
            return Err(XapiError::Length { label: self.label(), found, expected });
        }
        let taken = self.fill(buffer);
        match taken {
            Ok(()) => self.queue.range_done(),
            Err(_) => {
                self.connection = None;
                self.queue.rewind();
            }
        }
        taken
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), XapiError> {
        let again = Looks::within(NBD_RECONNECT_TIME);
        let (mut filled, mut pauses) = (0, again.clone());
        while let Some(piece) = self.queue.next_piece().filter(|_| filled < buffer.len()).cloned() {
            let end = filled + piece.wanted.len(); // the pieces of a range are as long as it is
            let received = match self.send() {
                Ok(connection) => connection.receive(&piece, &mut buffer[filled..end]),
                Err(error) => Err(Failure::Lost(error)),
            };
            match received {
                Ok(()) => {
                    self.queue.piece_done();
                    self.bytes_read += u64::from(piece.len);
                    (filled, pauses) = (end, again.clone());
                }
                Err(Failure::Lost(error)) => {
                    self.connection = None;
                    self.reconnect(self.broken(error), &mut pauses)?;
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends requests that are not under way yet.
    fn send(&mut self) -> io::Result<&mut Connection> {
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        connection.ask(std::iter::from_fn(|| self.queue.send(NBD_UNDER_WAY_MAX)))?;
        Ok(connection)
    }

    /// Connects again, after a pause, until it works or there are no more `pauses`.
    fn reconnect(&mut self, mut cause: XapiError, pauses: &mut Looks) -> Result<(), XapiError> {
        for pause in pauses {
            self.pause.pause(pause);
            match open_any(&self.infos, &self.settings) {
                Ok(connection) if connection.size_bytes() != self.size_bytes => {
                    let (found, expected) = (connection.size_bytes(), self.size_bytes);
                    return Err(XapiError::Length { label: self.label(), found, expected });
                }
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.queue.forget_sent();
                    return Ok(());
                }
                Err(error) if is_passing(&error) => cause = error,
                Err(error) => return Err(error),
            }
        }
        Err(cause)
    }

    fn label(&self) -> String {
        label(self.infos.first().map_or("of unknown name", NbdInfo::vdi))
    }

    fn broken(&self, source: io::Error) -> XapiError {
        XapiError::Stream { label: self.label(), bytes: self.bytes_read, source }
    }
}

impl fmt::Debug for NbdDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NbdDisk({}, {} bytes)", self.label(), self.size_bytes)
    }
}

/// What is transferred, for messages.
fn label(vdi: &str) -> String {
    format!("disk {vdi} by NBD")
}

/// Connects to the first that gives out the disk.
fn open_any(infos: &[NbdInfo], settings: &Settings) -> Result<Connection, XapiError> {
    let (mut latest, mut silent) = (XapiError::NbdAbsent, 0);
    for info in infos {
        match Connection::open(info, settings) {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                silent += usize::from(is_silence(&error));
                latest = error;
            }
        }
        if silent == NBD_SILENT_MAX {
            break;
        }
    }
    Err(latest)
}

/// Whether a host may answer otherwise in a while. One that is silent takes time enough as it is.
fn is_passing(error: &XapiError) -> bool {
    matches!(error, XapiError::Unreachable { .. } | XapiError::NbdRefused { .. })
        && !is_silence(error)
}

fn is_silence(error: &XapiError) -> bool {
    let source = match error {
        XapiError::Unreachable { source, .. } => source.downcast_ref::<io::Error>(),
        XapiError::NbdRefused { source, .. } => Some(source),
        _ => None,
    };
    source.is_some_and(|source| {
        matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
    })
}

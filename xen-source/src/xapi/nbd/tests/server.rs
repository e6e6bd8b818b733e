//! A host that gives out a disk by NBD, as strict as hosts are, and as bad as a test wants it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use zeroize::Zeroizing;

use crate::xapi::nbd::{NbdDisk, NbdInfo};
use crate::xapi::session::Pause;
use crate::xapi::{DataChannel, Settings, Trust, XapiError};

/// The disk's uuid.
pub const UUID: &str = "11111111-0000-0000-0000-000000000000";
/// The session, which nobody may see.
pub const SESSION: &str = "OpaqueRef:hush";

/// What a host says to `STARTTLS`.
#[derive(Clone)]
pub enum OnTls {
    Begin(Arc<ServerConfig>),
    Refuse,
    Say(Vec<u8>),
}

/// What goes wrong with one read.
#[derive(Clone, Copy)]
pub enum Fault {
    /// The connection ends in the midst of the data.
    HangUp,
    /// Nothing more comes.
    Silence,
    /// This error, and that was it.
    Refuse(u32),
    /// Another magic number.
    Magic,
    /// The answer to another request.
    Cookie,
    /// The connection ends, and the disk has another size from now on.
    Resize,
}

/// What the host does, and what it has seen.
pub struct Script {
    pub greeting: Vec<u8>,
    pub on_tls: OnTls,
    /// The answer to the name of the export; none: it hangs up.
    pub export: Option<Vec<u8>>,
    pub disk: Vec<u8>,
    /// By the number of the read, over all connections.
    pub faults: BTreeMap<usize, Fault>,
    /// So many requests must have come before the first is answered.
    pub gather: usize,
    /// After so many bytes from the host, it hangs up.
    pub cut: Option<usize>,
    pub names: Vec<String>,
    pub reads: Vec<(u64, u32)>,
    pub leaves: usize,
}

/// A disk of no pattern.
pub fn disk(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The answer to the name of an export.
pub fn export(size: u64, flags: u16) -> Vec<u8> {
    [&size.to_be_bytes()[..], &flags.to_be_bytes(), &[0; 124]].concat()
}

/// The answer to an option.
pub fn option_reply(option: u32, kind: u32, len: u32) -> Vec<u8> {
    let numbers = [option, kind, len].map(u32::to_be_bytes).concat();
    [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &numbers].concat()
}

impl Script {
    /// A good host in the clear.
    pub fn new(disk: Vec<u8>) -> Self {
        Self {
            greeting: b"NBDMAGICIHAVEOPT\0\x01".to_vec(),
            on_tls: OnTls::Refuse,
            export: Some(export(disk.len() as u64, 3)),
            disk,
            faults: BTreeMap::new(),
            gather: 1,
            cut: None,
            names: Vec::new(),
            reads: Vec::new(),
            leaves: 0,
        }
    }
}

/// A host that listens.
pub struct Server {
    pub port: u16,
    script: Arc<Mutex<Script>>,
}

impl Server {
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script = Arc::new(Mutex::new(script));
        let shared = script.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, shared) = (socket.expect("a connection"), shared.clone());
                thread::spawn(move || {
                    let left = shared.lock().expect("a lock").cut;
                    drop(greet(Cut { socket, left }, &shared));
                });
            }
        });
        Self { port, script }
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("a lock")
    }

    /// Where the disk is to be had.
    pub fn info(&self) -> NbdInfo {
        NbdInfo {
            export_name: Zeroizing::new(format!("/{UUID}?session_id={SESSION}")),
            address: "127.0.0.1".into(),
            port: self.port,
            certificate: String::new(),
            subject: "127.0.0.1".into(),
        }
    }

    /// The disk, and the pauses that are made while it is read.
    pub fn connect(&self) -> Result<(NbdDisk, Pauses), XapiError> {
        let pauses = Pauses::default();
        let disk = NbdDisk::connect_with(&[self.info()], &in_clear(), Box::new(pauses.clone()))?;
        Ok((disk, pauses))
    }
}

/// Settings that allow data in the clear; silence is short.
pub fn in_clear() -> Settings {
    let data = DataChannel::Plain { port: 80 };
    let stall_timeout = Some(Duration::from_secs(5));
    Settings { data, stall_timeout, ..Settings::new(Trust::Pinned(Vec::new())) }
}

/// Counts pauses and takes no time.
#[derive(Clone, Default)]
pub struct Pauses(Arc<Mutex<Vec<Duration>>>);

impl Pauses {
    pub fn made(&self) -> Vec<Duration> {
        self.0.lock().expect("a lock").clone()
    }
}

impl Pause for Pauses {
    fn pause(&self, time: Duration) {
        self.0.lock().expect("a lock").push(time);
    }
}

/// A socket that ends after so many bytes.
struct Cut {
    socket: TcpStream,
    left: Option<usize>,
}

impl Drop for Cut {
    /// Hangs up in a way that lets what was sent arrive: requests that nobody has read would make a
    /// reset of it.
    fn drop(&mut self) {
        drop(self.socket.shutdown(Shutdown::Write));
        drop(self.socket.read_to_end(&mut Vec::new()));
    }
}

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.left.map_or(bytes.len(), |left| left.min(bytes.len()));
        self.left = self.left.map(|left| left - len);
        self.socket.write_all(&bytes[..len])?;
        if len < bytes.len() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(len) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn take<const N: usize>(wire: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    wire.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn greet(mut wire: Cut, script: &Mutex<Script>) -> io::Result<()> {
    let greeting = script.lock().expect("a lock").greeting.clone();
    wire.write_all(&greeting)?;
    assert_eq!(take(&mut wire)?, [0, 0, 0, 1], "flags");
    assert_eq!(&take(&mut wire)?, b"IHAVEOPT\0\0\0\x05\0\0\0\0", "STARTTLS comes first");
    let on_tls = script.lock().expect("a lock").on_tls.clone();
    match on_tls {
        OnTls::Begin(config) => {
            wire.write_all(&option_reply(5, 1, 0))?;
            let connection = ServerConnection::new(config).expect("a good configuration");
            open(StreamOwned::new(connection, wire), script)
        }
        OnTls::Refuse => {
            wire.write_all(&[&option_reply(5, 0x8000_0001, 6)[..], b"not me"].concat())?;
            open(wire, script)
        }
        OnTls::Say(bytes) => {
            wire.write_all(&bytes)?;
            open(wire, script)
        }
    }
}

fn open(mut wire: impl Read + Write, script: &Mutex<Script>) -> io::Result<()> {
    assert_eq!(&take(&mut wire)?, b"IHAVEOPT\0\0\0\x01", "EXPORT_NAME");
    let mut name = vec![0; number(&take::<4>(&mut wire)?) as usize];
    wire.read_exact(&mut name)?;
    let export = {
        let mut script = script.lock().expect("a lock");
        script.names.push(String::from_utf8(name).expect("a name"));
        script.export.clone()
    };
    wire.write_all(&export.ok_or(io::ErrorKind::NotFound)?)?;
    wire.flush()?;
    let gather = script.lock().expect("a lock").gather;
    let mut gathered = Vec::new();
    for _request in 0..gather {
        gathered.push(take(&mut wire)?);
    }
    for request in gathered {
        if !answer(&mut wire, script, request)? {
            return Ok(());
        }
    }
    loop {
        let request = take(&mut wire)?;
        if !answer(&mut wire, script, request)? {
            return Ok(());
        }
    }
}

/// Answers one request. Whether it goes on.
fn answer(
    wire: &mut (impl Read + Write),
    script: &Mutex<Script>,
    request: [u8; 28],
) -> io::Result<bool> {
    assert_eq!(request[..6], *b"\x25\x60\x95\x13\0\0", "magic number and flags");
    let (offset, len) = (number(&request[16..24]), number(&request[24..]) as u32);
    let (mut reply, data, fault) = {
        let mut script = script.lock().expect("a lock");
        if request[7] == 2 {
            script.leaves += 1;
            return Ok(false);
        }
        assert_eq!(request[7], 0, "READ");
        let fault = script.faults.get(&script.reads.len()).copied();
        script.reads.push((offset, len));
        let from = usize::try_from(offset).expect("a small disk");
        let data = script.disk.get(from..from + len as usize).map(<[u8]>::to_vec);
        let is_good = offset.is_multiple_of(512) && len.is_multiple_of(512) && len <= 2 << 20;
        let data = data.filter(|_| is_good);
        if matches!(fault, Some(Fault::Resize)) {
            script.export = Some(export(512, 3));
        }
        ([&b"\x67\x44\x66\x98\0\0\0\0"[..], &request[8..16]].concat(), data, fault)
    };
    let Some(data) = data else {
        reply[7] = 22;
        wire.write_all(&reply)?;
        return Ok(false);
    };
    let half = data.len() / 2;
    match fault {
        None => {}
        Some(Fault::HangUp | Fault::Resize) => {
            wire.write_all(&[&reply, &data[..half]].concat())?;
            return Ok(false);
        }
        Some(Fault::Silence) => {
            wire.write_all(&reply)?;
            wire.flush()?;
            wire.read_to_end(&mut Vec::new())?;
        }
        Some(Fault::Refuse(code)) => {
            reply[4..8].copy_from_slice(&code.to_be_bytes());
            wire.write_all(&reply)?;
            return Ok(false);
        }
        Some(Fault::Magic) => reply[0] = 0,
        Some(Fault::Cookie) => reply[15] ^= 1,
    }
    wire.write_all(&[reply, data].concat())?;
    wire.flush()?;
    Ok(true)
}

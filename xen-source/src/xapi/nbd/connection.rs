//! One connection to a host: up to the disk, and then request by request (contract 5.2).

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use zeroize::Zeroizing;

use super::super::address::Address;
use super::super::answer::{Malformed, excerpt};
use super::super::error::{Stage, XapiError};
use super::super::limits::{
    KEEPALIVE, NBD_BUFFER_LEN, NBD_CERTIFICATE_LEN_MAX, NBD_GREETING_TIME, NBD_NAME_LEN_MAX,
    NBD_WORDS_LEN_MAX,
};
use super::super::request::{DataChannel, Settings};
use super::super::trust::Tls;
use super::NbdInfo;
use super::queue::Piece;
use super::wire::{self, TlsAnswer};

/// A connection that gives out a disk.
pub struct Connection {
    wire: Box<dyn Wire>,
    info: NbdInfo,
    size_bytes: u64,
    sent: u64,
    answered: u64,
}

/// TLS or not.
trait Wire: Read + Write + Send {}

impl Wire for Buffered {}

impl Wire for StreamOwned<ClientConnection, Buffered> {}

/// A socket that is read in large pieces: TLS asks for small ones.
struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

/// Why a piece did not come.
pub enum Failure {
    /// The connection is lost; another may do better.
    Lost(io::Error),
    /// Another would not.
    Final(XapiError),
}

impl Connection {
    /// Connects to the host of `info` and opens the disk.
    ///
    /// # Errors
    ///
    /// [`XapiError::Address`], [`XapiError::Unreachable`], [`XapiError::Answer`]: it is no NBD;
    /// [`XapiError::Tls`], [`XapiError::Certificate`], [`XapiError::NbdClear`],
    /// [`XapiError::NbdRefused`].
    pub fn open(info: &NbdInfo, settings: &Settings) -> Result<Self, XapiError> {
        let address = Address::parse(&info.address)?.at_port(info.port);
        let socket = dial(&address, settings).map_err(|source| XapiError::Unreachable {
            address: address.to_string(),
            stage: Stage::Connecting,
            source: source.into(),
        })?;
        let handle = socket.try_clone().map_err(refused(info))?;
        let mut wire = secure(socket, info, &address, settings)?;
        // The host attaches the disk now, which takes as long as it takes.
        limit_silence(&handle, settings.stall_timeout).map_err(refused(info))?;
        let name = info.export_name.as_bytes();
        if name.len() > NBD_NAME_LEN_MAX {
            return Err(odd(info)(Malformed::of("the name of the export is too long")));
        }
        let mut answer = [0; wire::EXPORT_LEN];
        send(&mut *wire, &Zeroizing::new(wire::export(name))).map_err(refused(info))?;
        wire.read_exact(&mut answer).map_err(refused(info))?;
        let size_bytes = wire::parse_export(&answer).map_err(odd(info))?;
        Ok(Self { wire, info: info.clone(), size_bytes, sent: 0, answered: 0 })
    }

    /// Bytes of the disk, as the host says.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Asks for `pieces`, which come in this order.
    pub fn ask(&mut self, pieces: impl Iterator<Item = Piece>) -> io::Result<()> {
        let mut requests = Vec::new();
        for piece in pieces {
            requests.extend(wire::read(self.sent, piece.offset, piece.len));
            self.sent += 1;
        }
        if requests.is_empty() { Ok(()) } else { send(&mut *self.wire, &requests) }
    }

    /// Fills `buffer` with what is wanted of `piece`, which must be the next that was asked for.
    pub fn receive(&mut self, piece: &Piece, buffer: &mut [u8]) -> Result<(), Failure> {
        let mut reply = [0; wire::REPLY_LEN];
        self.wire.read_exact(&mut reply).map_err(Failure::Lost)?;
        let code = wire::parse_reply(&reply, self.answered)
            .map_err(|error| Failure::Final(odd(&self.info)(error)))?;
        self.answered += 1;
        if code != 0 {
            let (address, vdi) = (place(&self.info), self.info.vdi().to_owned());
            let offset = piece.offset;
            return Err(Failure::Final(XapiError::NbdRead { address, vdi, offset, code }));
        }
        let after = u64::from(piece.len).saturating_sub(piece.wanted.end as u64);
        self.skip(piece.wanted.start as u64).map_err(Failure::Lost)?;
        self.wire.read_exact(buffer).map_err(Failure::Lost)?;
        self.skip(after).map_err(Failure::Lost)
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        match len {
            0 => Ok(()),
            _ => discard(&mut *self.wire, len),
        }
    }
}

impl Drop for Connection {
    /// The host lets go of the disk earlier if one takes leave; it does so anyway.
    fn drop(&mut self) {
        drop(send(&mut *self.wire, &wire::disconnect(self.sent)));
    }
}

/// A socket on which silence does not last.
fn dial(address: &Address, settings: &Settings) -> io::Result<TcpStream> {
    let mut latest = io::Error::new(io::ErrorKind::NotFound, "the name leads nowhere");
    let patience = settings.connect_timeout.min(NBD_GREETING_TIME);
    for place in address.authority(0).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, patience) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                sockopt::set_socket_keepalive(&socket, true)?;
                sockopt::set_tcp_keepidle(&socket, KEEPALIVE)?;
                limit_silence(&socket, Some(patience))?;
                return Ok(socket);
            }
            Err(error) => latest = error,
        }
    }
    Err(latest)
}

fn limit_silence(socket: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    socket.set_read_timeout(limit)?;
    socket.set_write_timeout(limit)
}

/// The greetings, and TLS if the host speaks it. Nothing secret is sent before.
fn secure(
    mut socket: TcpStream,
    info: &NbdInfo,
    address: &Address,
    settings: &Settings,
) -> Result<Box<dyn Wire>, XapiError> {
    let mut greeting = [0; wire::GREETING_LEN];
    socket.read_exact(&mut greeting).map_err(refused(info))?;
    wire::parse_greeting(&greeting).map_err(odd(info))?;
    send(&mut socket, &wire::start_tls()).map_err(refused(info))?;
    let mut answer = [0; wire::OPTION_REPLY_LEN];
    socket.read_exact(&mut answer).map_err(refused(info))?;
    match wire::parse_tls_answer(&answer).map_err(odd(info))? {
        TlsAnswer::Begins => encrypt(socket, info, address, settings),
        TlsAnswer::Refused(len) if len > NBD_WORDS_LEN_MAX => {
            Err(odd(info)(Malformed::of(format!("it explains itself in {len} bytes"))))
        }
        TlsAnswer::Refused(len) if may_be_clear(settings) => {
            discard(&mut socket, len.into()).map_err(refused(info))?;
            Ok(Box::new(buffered(socket)))
        }
        TlsAnswer::Refused(_) => {
            Err(XapiError::NbdClear { address: place(info), vdi: info.vdi().to_owned() })
        }
    }
}

/// Whether the session and the disk may be seen by whoever listens.
fn may_be_clear(settings: &Settings) -> bool {
    matches!(settings.data, DataChannel::Plain { .. })
}

fn encrypt(
    socket: TcpStream,
    info: &NbdInfo,
    address: &Address,
    settings: &Settings,
) -> Result<Box<dyn Wire>, XapiError> {
    if info.certificate.len() > NBD_CERTIFICATE_LEN_MAX {
        return Err(odd(info)(Malformed::of("its certificate is too long")));
    }
    let tls = Tls::of_host(&settings.trust, info.certificate.as_bytes())?;
    // Without a subject the certificate must be for the address, or be the one that was named.
    let name = ServerName::try_from(info.subject.clone())
        .or_else(|_| ServerName::try_from(address.host().to_owned()))
        .map_err(|error| XapiError::Tls { source: error.into() })?;
    let mut connection = ClientConnection::new(tls.config.clone(), name)
        .map_err(|error| XapiError::Tls { source: error.into() })?;
    let mut socket = buffered(socket);
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(|source| match tls.take_refused() {
            Some(found) => {
                XapiError::Certificate { address: place(info), found, source: source.into() }
            }
            None => refused(info)(source),
        })?;
    }
    Ok(Box::new(StreamOwned::new(connection, socket)))
}

fn buffered(socket: TcpStream) -> Buffered {
    Buffered(BufReader::with_capacity(NBD_BUFFER_LEN, socket))
}

fn send(wire: &mut (impl Write + ?Sized), bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes)?;
    wire.flush()
}

fn discard(wire: &mut (impl Read + ?Sized), len: u64) -> io::Result<()> {
    match io::copy(&mut wire.take(len), &mut io::sink())? {
        found if found == len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The host, for messages.
fn place(info: &NbdInfo) -> String {
    format!("{}:{}", excerpt(&info.address), info.port)
}

fn refused(info: &NbdInfo) -> impl Fn(io::Error) -> XapiError {
    move |source| XapiError::NbdRefused { address: place(info), vdi: info.vdi().to_owned(), source }
}

fn odd(info: &NbdInfo) -> impl Fn(Malformed) -> XapiError {
    move |source| {
        let method = format!("NBD for disk {}", info.vdi());
        XapiError::Answer { address: place(info), method, source }
    }
}

//! `PUT` of a stream: the host's answer first, then the data (contract 0.1, 2.3, 4.4).
//!
//! A host answers an upload before it reads a byte of it, and may send it elsewhere. So this speaks
//! HTTP on its own socket: head out, head in, and only then is the caller asked for data. No
//! chunked encoding, which hosts refuse (contract 0.4).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::address::Address;
use super::answer::Malformed;
use super::error::{Stage, XapiError};
use super::limits::{HEAD_LEN_MAX, PAGE_LEN_MAX};
use super::request::{Request, Settings, refusal};
use super::trust::Tls;

/// What a host answers to an offer of data.
pub enum PutAnswer {
    /// It reads now.
    Ready(Upload),
    /// It is to go elsewhere; nothing was sent.
    Elsewhere(String),
}

/// Takes data for a host. What became of it, the task says: an error of writing may be a success,
/// since hosts stop reading after what they need (contract 0.8).
pub struct Upload {
    socket: Socket,
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Upload {
    /// Says that there is no more. The host's answer is the task's.
    pub fn finish(mut self) -> io::Result<()> {
        self.socket.flush()?;
        match &mut self.socket {
            Socket::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)
            }
            Socket::Plain(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Offers `length` bytes, or as many as come, to the host that listens at `authority`.
pub fn put(
    request: &Request<'_>,
    authority: &str,
    length: Option<u64>,
    tls: Option<&Tls>,
    settings: &Settings,
) -> Result<PutAnswer, XapiError> {
    let address = request.address;
    let failed = |stage: Stage| {
        move |source: io::Error| {
            let (address, source) = (address.to_string(), source.into());
            match tls.and_then(Tls::take_refused) {
                Some(found) => XapiError::Certificate { address, found, source },
                None => XapiError::Unreachable { address, stage, source },
            }
        }
    };
    let mut socket = open(authority, address, tls, settings).map_err(failed(Stage::Connecting))?;
    let head = head(request, authority, length);
    socket.write_all(head.as_bytes()).map_err(failed(Stage::Sent))?;
    socket.flush().map_err(failed(Stage::Sent))?;
    let answer = read_head(&mut socket).map_err(failed(Stage::Sent))?;
    let Some((status, location)) = parse_head(&answer) else {
        let (address, method) = (address.to_string(), request.path().to_owned());
        let source = Malformed::of("it is no HTTP");
        return Err(XapiError::Answer { address, method, source });
    };
    match status {
        200 => Ok(PutAnswer::Ready(Upload { socket })),
        301 | 302 | 303 | 307 | 308 => Ok(PutAnswer::Elsewhere(location)),
        status => {
            let mut page = Vec::new();
            // A page that breaks off still says something.
            let _cut = socket.take(PAGE_LEN_MAX).read_to_end(&mut page);
            Err(refusal(request, status, &page))
        }
    }
}

fn open(
    authority: &str,
    address: &Address,
    tls: Option<&Tls>,
    settings: &Settings,
) -> io::Result<Socket> {
    let mut latest = io::Error::new(io::ErrorKind::NotFound, "the name leads nowhere");
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port = port.unwrap_or(address.port().unwrap_or_default());
    let places = settings.host_map.places(address.host(), port).map_err(io::Error::other)?;
    for place in places {
        match TcpStream::connect_timeout(&place, settings.connect_timeout) {
            Ok(stream) => return wrap(stream, address, tls, settings),
            Err(error) => latest = error,
        }
    }
    Err(latest)
}

fn wrap(
    mut stream: TcpStream,
    address: &Address,
    tls: Option<&Tls>,
    settings: &Settings,
) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        stream.set_read_timeout(settings.stall_timeout)?;
        stream.set_write_timeout(settings.stall_timeout)?;
        return Ok(Socket::Plain(stream));
    };
    let name = ServerName::try_from(address.host().to_owned()).map_err(io::Error::other)?;
    let mut connection =
        ClientConnection::new(tls.config.clone(), name).map_err(io::Error::other)?;
    stream.set_read_timeout(Some(settings.connect_timeout))?;
    stream.set_write_timeout(Some(settings.connect_timeout))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    stream.set_read_timeout(settings.stall_timeout)?;
    stream.set_write_timeout(settings.stall_timeout)?;
    Ok(Socket::Tls(Box::new(StreamOwned::new(connection, stream))))
}

fn head(request: &Request<'_>, authority: &str, length: Option<u64>) -> String {
    let length = length.map_or(String::new(), |length| format!("Content-Length: {length}\r\n"));
    format!(
        "PUT {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: xenith\r\nConnection: close\r\n\
         Cookie: {}\r\n{length}\r\n",
        request.path_and_query, authority, request.cookie,
    )
}

/// Everything up to the empty line.
fn read_head(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_LEN_MAX {
            return Err(io::Error::other("the response head does not end"));
        }
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// Status and location. Colons may come without a blank (contract 2.3).
fn parse_head(head: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut status = lines.next()?.split(' ');
    if !status.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = status.next()?.parse().ok()?;
    let location = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Some((status, location.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_hosts_are_read() {
        let ready = b"HTTP/1.1 200 OK\r\nConnection: close\r\ntask-id:OpaqueRef:1\r\n\r\n";
        assert_eq!(parse_head(ready), Some((200, String::new())));
        let elsewhere = b"HTTP/1.1 302 Found\r\nlocation:https://x/import\r\n\r\n";
        assert_eq!(parse_head(elsewhere), Some((302, "https://x/import".into())));
        for wrong in [&b""[..], b"\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"SSH-2.0 200 x\r\n\r\n"] {
            assert_eq!(parse_head(wrong), None);
        }
    }
}

//! A host: reads one request a connection, and writes what the world answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::xapi::Address;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub method: String,
    pub path: String,
    pub cookie: String,
    pub body: Vec<u8>,
}

impl Incoming {
    /// A cookie, or an empty text.
    pub fn cookie(&self, name: &str) -> String {
        let mut pairs = self.cookie.split("; ").filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
    }
}

/// What is written to the connection.
pub enum Reply {
    /// Bytes, and the end.
    Bytes(Vec<u8>),
    /// Bytes, and the end of the connection without a word.
    Rude(Vec<u8>),
    /// Bytes, and then nothing for ever.
    Silence(Vec<u8>),
    /// Bytes, and then whatever is sent is read to the end and handed over.
    Read(Vec<u8>, Arc<dyn Fn(Vec<u8>) + Send + Sync>),
}

impl Reply {
    pub fn http(status: &str, headers: &str, body: &[u8]) -> Self {
        let len = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{headers}\r\n");
        Self::Bytes([head.as_bytes(), body].concat())
    }
}

/// A connection.
trait Connection: Read + Write + Send {
    /// Says that there is no more.
    fn end(&mut self) {}
}

impl Connection for TcpStream {}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn end(&mut self) {
        self.conn.send_close_notify();
        drop(self.flush());
    }
}

/// A host that listens.
pub struct Host {
    pub address: Address,
    /// Connections that are silent are kept here until the end.
    _silent: Receiver<Box<dyn Connection>>,
}

impl Host {
    pub fn start(answer: impl Fn(Incoming) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(|stream| Box::new(stream), answer)
    }

    pub fn start_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(Incoming) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let wrap = move |stream| -> Box<dyn Connection> {
            let connection = ServerConnection::new(config.clone()).expect("a good configuration");
            Box::new(StreamOwned::new(connection, stream))
        };
        Self::listen(wrap, answer)
    }

    fn listen(
        wrap: impl Fn(TcpStream) -> Box<dyn Connection> + Send + 'static,
        answer: impl Fn(Incoming) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let answer = Arc::new(answer);
        let (keep, silent) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = wrap(stream.expect("a connection"));
                let (answer, keep) = (answer.clone(), keep.clone());
                thread::spawn(move || {
                    if let Some(incoming) = read_request(&mut stream)
                        && send(&mut *stream, answer(incoming))
                    {
                        drop(keep.send(stream));
                    }
                });
            }
        });
        Self { address: Address::parse(&address).expect("an address"), _silent: silent }
    }
}

/// Writes a reply. Whether the connection has to be kept.
fn send(stream: &mut dyn Connection, reply: Reply) -> bool {
    match reply {
        Reply::Bytes(bytes) => drop(stream.write_all(&bytes)),
        Reply::Rude(bytes) => {
            drop(stream.write_all(&bytes));
            drop(stream.flush());
            return false;
        }
        Reply::Silence(bytes) => {
            drop(stream.write_all(&bytes));
            drop(stream.flush());
            return true;
        }
        Reply::Read(bytes, sink) => {
            drop(stream.write_all(&bytes));
            drop(stream.flush());
            let mut body = Vec::new();
            drop(stream.read_to_end(&mut body));
            sink(body);
        }
    }
    stream.end();
    false
}

/// The request; its body only for calls, since uploads are answered first.
fn read_request(stream: &mut impl Read) -> Option<Incoming> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut cookie, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "cookie" => value.clone_into(&mut cookie),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; if method == "POST" { length } else { 0 }];
    reader.read_exact(&mut body).ok()?;
    Some(Incoming { method, path, cookie, body })
}

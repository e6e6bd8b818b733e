//! HTTP to one host: calls, and streams in either direction.
//!
//! There are three ways out. Calls have bounded answers and a timeout. Downloads have a timeout
//! only on silence, since a host may take its time. Uploads ([`upload`](super::upload)) need the
//! response head before they send anything, which this client of HTTP does not offer.

use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderName, LOCATION};
use reqwest::redirect;

use super::address::Address;
use super::answer::Malformed;
use super::error::{Stage, XapiError};
use super::limits::{ANSWER_LEN_MAX, CALL_TIMEOUT, KEEPALIVE, PAGE_LEN_MAX};
use super::request::{DataChannel, Request, Settings, refusal};
use super::trust::Tls;
use super::upload::{self, PutAnswer};

/// What hosts see of us. They may count callers by it, so it does not change (contract 1.8).
const USER_AGENT: &str = concat!("xenith/", env!("CARGO_PKG_VERSION"));

/// The answer to a call, whatever its status.
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// As the host calls it; may be empty.
    pub content_type: String,
    /// All of it.
    pub body: Vec<u8>,
}

/// The answer to a request for data.
pub enum GetAnswer {
    /// Data.
    Body(Body),
    /// It is to be had elsewhere.
    Elsewhere(String),
}

/// Data as it comes.
pub struct Body {
    /// The bytes.
    pub bytes: Box<dyn Read + Send>,
    /// What shows where they end.
    pub framing: Framing,
}

/// What shows where data ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The host said how many bytes there are.
    Length,
    /// The end of the connection, whether or not it is taken leave of properly. What it is worth,
    /// the task says.
    Close,
}

impl Body {
    /// Whether an error is the end of a connection that nobody took leave of.
    pub fn is_end(&self, error: &io::Error) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = cause.filter(|_| self.framing == Framing::Close) {
            if let Some(error) = current.downcast_ref::<io::Error>() {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    return true;
                }
                // The cause of an error that only wraps another is found inside it.
                cause = match error.get_ref() {
                    Some(inner) => Some(inner),
                    None => error.source(),
                };
            } else {
                cause = current.source();
            }
        }
        false
    }
}

/// Talks to hosts.
pub struct Transport {
    calls: Client,
    data: Client,
    tls: Tls,
    settings: Settings,
}

impl Transport {
    /// Prepares, and connects to nobody.
    ///
    /// Every request has a connection of its own: on one that the host is just closing, nobody
    /// could say whether a call had been heard.
    ///
    /// # Errors
    ///
    /// [`XapiError::CaFile`], [`XapiError::Tls`].
    pub fn new(settings: Settings) -> Result<Self, XapiError> {
        let tls = Tls::new(&settings.trust)?;
        let client = |timeout: Option<Duration>| {
            let client =
                settings.host_map.entries().fold(Client::builder(), |client, (name, ip)| {
                    client.resolve(name, SocketAddr::new(ip, 0)) // the port is that of the URL
                });
            client
                .tls_backend_preconfigured((*tls.config).clone())
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .user_agent(USER_AGENT)
                .connect_timeout(settings.connect_timeout)
                .tcp_keepalive(KEEPALIVE)
                .pool_max_idle_per_host(0)
                .timeout(timeout)
                .build()
                .map_err(|error| XapiError::Tls { source: error.into() })
        };
        let calls = client(Some(CALL_TIMEOUT))?;
        let data = client(settings.stall_timeout)?;
        Ok(Self { calls, data, tls, settings })
    }

    /// How hosts are talked to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Posts the body of a call.
    pub fn post(
        &self,
        address: &Address,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Answer, XapiError> {
        let url = format!("{}{path}", self.origin(address, DataChannel::Tls));
        let request = self.calls.post(url).header(CONTENT_TYPE, content_type).body(body);
        let response = request.send().map_err(|error| self.unreachable(address, error))?;
        let status = response.status().as_u16();
        let content_type = header(&response, CONTENT_TYPE);
        let body = self.bounded(address, path, response, ANSWER_LEN_MAX)?;
        Ok(Answer { status, content_type, body })
    }

    /// Asks for data. What is neither data nor a redirection is an error.
    pub fn get(&self, request: &Request<'_>) -> Result<GetAnswer, XapiError> {
        let address = request.address;
        let origin = self.origin(address, self.settings.data);
        let url = format!("{origin}{}", request.path_and_query);
        let sent = self.data.get(url).header(COOKIE, request.cookie).send();
        let response = sent.map_err(|error| self.unreachable(address, error))?;
        match response.status().as_u16() {
            200 => {
                let has_length = response.content_length().is_some();
                let framing = if has_length { Framing::Length } else { Framing::Close };
                Ok(GetAnswer::Body(Body { bytes: Box::new(response), framing }))
            }
            301 | 302 | 303 | 307 | 308 => Ok(GetAnswer::Elsewhere(header(&response, LOCATION))),
            status => {
                let mut page = Vec::new();
                // A page that breaks off still says something.
                let _cut = response.take(PAGE_LEN_MAX).read_to_end(&mut page);
                Err(refusal(request, status, &page))
            }
        }
    }

    /// Offers data. The host answers before the data is sent (contract 0.1).
    pub fn put(&self, request: &Request<'_>, length: Option<u64>) -> Result<PutAnswer, XapiError> {
        let (is_tls, authority) = self.place(request.address, self.settings.data);
        upload::put(request, &authority, length, is_tls.then_some(&self.tls), &self.settings)
    }

    fn bounded(
        &self,
        address: &Address,
        path: &str,
        response: Response,
        limit: u64,
    ) -> Result<Vec<u8>, XapiError> {
        let mut body = Vec::new();
        let read = response.take(limit + 1).read_to_end(&mut body);
        read.map_err(|error| XapiError::Unreachable {
            address: address.to_string(),
            stage: Stage::Sent,
            source: error.into(),
        })?;
        if body.len() as u64 > limit {
            let source = Malformed::of(format!("more than {limit} bytes"));
            let (address, method) = (address.to_string(), path.to_owned());
            return Err(XapiError::Answer { address, method, source });
        }
        Ok(body)
    }

    /// Whether TLS is spoken there, and where that is.
    fn place(&self, address: &Address, channel: DataChannel) -> (bool, String) {
        #[cfg(test)]
        if matches!(self.settings.trust, super::trust::Trust::PlainText) {
            return (false, address.authority(80));
        }
        match channel {
            DataChannel::Tls => (true, address.authority(443)),
            DataChannel::Plain { port } => (false, address.at_port(port).authority(port)),
        }
    }

    fn origin(&self, address: &Address, channel: DataChannel) -> String {
        match self.place(address, channel) {
            (true, authority) => format!("https://{authority}"),
            (false, authority) => format!("http://{authority}"),
        }
    }

    fn unreachable(&self, address: &Address, error: reqwest::Error) -> XapiError {
        let stage = if error.is_connect() { Stage::Connecting } else { Stage::Sent };
        if stage == Stage::Connecting
            && let Err(unresolved) = self.settings.host_map.places(address.host(), 443)
        {
            let (address, source) = (address.to_string(), unresolved.into());
            return XapiError::Unreachable { address, stage, source };
        }
        let (address, source) = (address.to_string(), error.without_url().into());
        match self.tls.take_refused() {
            Some(found) => XapiError::Certificate { address, found, source },
            None => XapiError::Unreachable { address, stage, source },
        }
    }
}

fn header(response: &Response, name: HeaderName) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

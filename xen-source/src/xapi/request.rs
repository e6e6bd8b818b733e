//! What is asked of a host, how hosts are talked to, and what a page of theirs says.

use std::time::Duration;

use super::address::Address;
use super::answer::excerpt;
use super::error::XapiError;
use super::host_map::HostMap;
use super::limits::CONNECT_TIMEOUT;
use super::trust::Trust;
use crate::xva::error_page;

/// How data travels. Passwords always go over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataChannel {
    /// Over TLS.
    Tls,
    /// In the clear. Whoever listens sees the disks *and the session*, and can use it while it
    /// lives; for networks of one's own.
    Plain {
        /// Where hosts listen; 80 unless somebody changed it.
        port: u16,
    },
}

/// How hosts are talked to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which certificates are trusted.
    pub trust: Trust,
    /// Time for a connection to come up.
    pub connect_timeout: Duration,
    /// Longest silence within a stream of data and before it. `None`: for ever, since a host may
    /// take long to attach a disk; a peer that is dead is noticed nevertheless.
    pub stall_timeout: Option<Duration>,
    /// How data travels.
    pub data: DataChannel,
    /// Names that are not looked up.
    pub host_map: HostMap,
}

impl Settings {
    /// What most want: TLS, and no limit on silence.
    pub fn new(trust: Trust) -> Self {
        let (connect_timeout, host_map) = (CONNECT_TIMEOUT, HostMap::default());
        Self { trust, connect_timeout, stall_timeout: None, data: DataChannel::Tls, host_map }
    }
}

/// What every request for a transfer carries.
pub struct Request<'a> {
    /// Which host.
    pub address: &'a Address,
    /// Begins with a slash; has no secrets.
    pub path_and_query: &'a str,
    /// Session and task.
    pub cookie: &'a str,
}

impl Request<'_> {
    /// For messages.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }
}

/// An error page as an error. Hosts end it with the code (contract 1.1).
pub fn refusal(request: &Request<'_>, status: u16, page: &[u8]) -> XapiError {
    let words = error_page::words(&String::from_utf8_lossy(page));
    let telling = words.split_once("Additional information").map_or(&*words, |(_, after)| after);
    XapiError::Status {
        address: request.address.to_string(),
        path: request.path().to_owned(),
        status,
        what: excerpt(telling.trim()),
    }
}

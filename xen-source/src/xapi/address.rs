//! Where hosts are.

use std::fmt;
use std::net::Ipv6Addr;

use super::error::XapiError;

/// A host, and its port if that is not the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: Option<u16>,
}

impl Address {
    /// `host`, `host:port`, `https://host`, an IPv6 address bare or in brackets.
    ///
    /// # Errors
    ///
    /// [`XapiError::Address`].
    pub fn parse(text: &str) -> Result<Self, XapiError> {
        let wrong = || XapiError::Address { text: text.chars().take(100).collect() };
        let trimmed = text.trim();
        let rest = trimmed.strip_prefix("https://").unwrap_or(trimmed);
        let rest = rest.trim_end_matches('/');
        if rest.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: rest.to_owned(), port: None });
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) if host.parse::<Ipv6Addr>().is_ok() => (host, None),
            Some((host, after)) if host.parse::<Ipv6Addr>().is_ok() => {
                (host, Some(after.strip_prefix(':').ok_or_else(wrong)?))
            }
            Some(_) => return Err(wrong()),
            None => {
                let (host, port) =
                    rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
                let allowed = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
                if host.is_empty() || !host.chars().all(allowed) {
                    return Err(wrong());
                }
                (host, port)
            }
        };
        let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
        Ok(Self { host: host.to_owned(), port })
    }

    /// The address in the `Location` of a redirection, and the path and query after it.
    pub fn of_location(location: &str) -> Option<(Self, &str)> {
        let rest = location.strip_prefix("https://").or(location.strip_prefix("http://"))?;
        let slash = rest.find('/')?;
        Some((Self::parse(&rest[..slash]).ok()?, &rest[slash..]))
    }

    /// Name or number.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it is not the usual one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same place as another member of a pool would name it: with our port, if it names none.
    pub fn with_port_of(self, other: &Self) -> Self {
        Self { port: self.port.or(other.port), ..self }
    }

    /// Another door of the same host.
    pub fn at_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port: Some(port) }
    }

    /// Host and port as they stand in a URL.
    pub fn authority(&self, usual_port: u16) -> String {
        let port = self.port.unwrap_or(usual_port);
        let bracketed = self.host.contains(':');
        if bracketed { format!("[{}]:{port}", self.host) } else { format!("{}:{port}", self.host) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.write_str(&self.authority(port)),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: Option<u16>) {
        let address = Address::parse(text).expect("an address");
        assert_eq!((address.host(), address.port()), (host, port));
    }

    #[test]
    fn hosts_are_named_in_many_ways() {
        check("xen1.example", "xen1.example", None);
        check("https://xen1.example/", "xen1.example", None);
        check("10.0.0.1:8443", "10.0.0.1", Some(8443));
        check("fe80::1", "fe80::1", None);
        check("[fe80::1]:444", "fe80::1", Some(444));
        assert_eq!(Address::parse("fe80::1").expect("an address").authority(443), "[fe80::1]:443");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "a b", "http://x", "root@x", "x:y", "x:99999", "x/y", "[x]:1", ":1", "[::1]x"]
        {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn redirections_lead_to_an_address_and_a_path() {
        let (address, path) = Address::of_location("https://10.0.0.2/export?ref=x").expect("both");
        assert_eq!((address.host(), path), ("10.0.0.2", "/export?ref=x"));
        assert_eq!(Address::of_location("/export"), None);
        assert_eq!(Address::of_location("ftp://x/y"), None);
    }
}

//! Where names lead. Members send callers to each other by name (contract 1.4), and not every
//! machine knows these names.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Names that are not looked up, with the addresses that stand for them. Case does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostMap(BTreeMap<String, IpAddr>);

/// A name that leads nowhere on this machine.
#[derive(Debug, thiserror::Error)]
#[error("this machine knows no address of {name}")]
pub struct Unresolved {
    /// Which.
    pub name: String,
    /// What the system said.
    pub source: io::Error,
}

impl HostMap {
    /// What stands for `name`.
    pub fn get(&self, name: &str) -> Option<IpAddr> {
        self.0.get(&name.to_ascii_lowercase()).copied()
    }

    /// All names, in small letters.
    pub fn entries(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.0.iter().map(|(name, ip)| (&**name, *ip))
    }

    /// Puts `more` on top: what both have is as in `more`.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Where `port` of `host`, a name or number, is.
    ///
    /// # Errors
    ///
    /// [`Unresolved`].
    pub fn places(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unresolved> {
        if let Some(ip) = self.get(host) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let failed = |source| Unresolved { name: host.to_owned(), source };
        let places: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
        match places.is_empty() {
            true => Err(failed(io::ErrorKind::NotFound.into())),
            false => Ok(places),
        }
    }
}

impl FromIterator<(String, IpAddr)> for HostMap {
    fn from_iter<I: IntoIterator<Item = (String, IpAddr)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(name, ip)| (name.to_ascii_lowercase(), ip)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, [u8; 4])]) -> HostMap {
        entries.iter().map(|(name, ip)| ((*name).to_owned(), IpAddr::from(*ip))).collect()
    }

    #[test]
    fn a_name_of_the_map_is_not_looked_up() {
        let map = map(&[("XS2.invalid", [10, 0, 0, 2])]);
        let places = map.places("xs2.INVALID", 443).expect("it is in the map");
        assert_eq!(places, [SocketAddr::from(([10, 0, 0, 2], 443))]);
        assert_eq!(map.places("xs3.invalid", 443).expect_err("a dead end").name, "xs3.invalid");
        assert_eq!(map.places("::1", 1).expect("a number").len(), 1);
    }

    #[test]
    fn what_is_on_top_counts() {
        let (below, above) = (map(&[("a", [1; 4]), ("b", [1; 4])]), map(&[("b", [2; 4])]));
        assert_eq!(below.with(above), map(&[("a", [1; 4]), ("b", [2; 4])]));
    }
}

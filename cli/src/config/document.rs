//! What may stand in the configuration file, and what it comes to. Values are parsed where they
//! stand, so that an error knows its line.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use xen_source::xapi::{Address, DataChannel, Fingerprint, HostMap, Trust};

use super::{Config, PoolProfile, RepositoryProfile};
use crate::args::{CompressionLevel, data_channel};
use crate::password::PasswordSource;

/// What is wrong.
type Wrong = String;

/// All of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    pool: BTreeMap<String, PoolTable>,
    repository: BTreeMap<String, RepositoryTable>,
    defaults: DefaultsTable,
}

/// `[pool.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolTable {
    #[serde(deserialize_with = "addresses")]
    url: Vec<Address>,
    user: Option<String>,
    #[serde(default, rename = "password")]
    _password: Nowhere,
    password_file: Option<String>,
    password_command: Option<String>,
    ca_file: Option<String>,
    #[serde(default, alias = "fingerprints", deserialize_with = "fingerprints")]
    fingerprint: Vec<Fingerprint>,
    #[serde(default)]
    insecure: bool,
    #[serde(default, deserialize_with = "transport")]
    transport: Option<DataChannel>,
    #[serde(default, deserialize_with = "seconds")]
    stall_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "host_map")]
    host_map: HostMap,
}

/// `[repository.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryTable {
    path: String,
    #[serde(default, rename = "password")]
    _password: Nowhere,
    password_file: Option<String>,
    password_command: Option<String>,
    cache_dir: Option<String>,
    #[serde(default, deserialize_with = "compression")]
    compression: Option<CompressionLevel>,
}

/// `[defaults]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultsTable {
    pool: Option<String>,
    repository: Option<String>,
}

impl Document {
    /// What it comes to, where `~` is `home`; else a key and what is wrong with it.
    pub fn settle(self, home: Option<&Path>) -> Result<Config, (String, Wrong)> {
        let mut config = Config::default();
        for (name, table) in self.pool {
            let at_key = |what| (format!("pool.{name}"), what);
            pool_name(&name).and_then(|()| table.settle(home)).map_err(at_key).map(|pool| {
                config.pools.insert(name.clone(), pool);
            })?;
        }
        for (name, table) in self.repository {
            let at_key = |what| (format!("repository.{name}"), what);
            let repository = table.settle(home).map_err(at_key)?;
            config.repositories.insert(name, repository);
        }
        let DefaultsTable { pool, repository } = self.defaults;
        config.default_pool = among(&config.pools, "pool", pool)?;
        config.default_repository = among(&config.repositories, "repository", repository)?;
        Ok(config)
    }
}

impl PoolTable {
    fn settle(self, home: Option<&Path>) -> Result<PoolProfile, Wrong> {
        let ca_file = self.ca_file.map(|text| absolute(&text, home)).transpose()?;
        let trust = match (ca_file, self.fingerprint.is_empty(), self.insecure) {
            (None, true, false) => None,
            (Some(path), true, false) => Some(Trust::CaFile(path)),
            (None, false, false) => Some(Trust::Pinned(self.fingerprint)),
            (None, true, true) => Some(Trust::Insecure),
            _ => return Err("only one of ca_file, fingerprint and insecure".to_owned()),
        };
        Ok(PoolProfile {
            addresses: self.url,
            user: self.user,
            password: password(self.password_file, self.password_command, home)?,
            trust,
            data: self.transport,
            stall_timeout: self.stall_timeout,
            host_map: self.host_map,
        })
    }
}

impl RepositoryTable {
    fn settle(self, home: Option<&Path>) -> Result<RepositoryProfile, Wrong> {
        Ok(RepositoryProfile {
            path: absolute(&self.path, home)?,
            password: password(self.password_file, self.password_command, home)?,
            cache_dir: self.cache_dir.map(|text| absolute(&text, home)).transpose()?,
            compression: self.compression,
        })
    }
}

/// A pool's name is typed where an address could stand, so it must look like one.
fn pool_name(name: &str) -> Result<(), Wrong> {
    match Address::parse(name) {
        Ok(address) if address.to_string() == name && address.port().is_none() => Ok(()),
        _ => Err("a name has letters, digits and `-`, `.`, `_`".to_owned()),
    }
}

/// A default must be there.
fn among<T>(
    known: &BTreeMap<String, T>,
    kind: &str,
    name: Option<String>,
) -> Result<Option<String>, (String, Wrong)> {
    match name {
        Some(name) if !known.contains_key(&name) => {
            Err((format!("defaults.{kind}"), format!("there is no [{kind}.{name}]")))
        }
        name => Ok(name),
    }
}

fn password(
    file: Option<String>,
    command: Option<String>,
    home: Option<&Path>,
) -> Result<Option<PasswordSource>, Wrong> {
    match (file, command) {
        (Some(_), Some(_)) => Err("only one of password_file and password_command".to_owned()),
        (Some(file), None) => Ok(Some(PasswordSource::File(absolute(&file, home)?))),
        (None, Some(command)) => Ok(Some(PasswordSource::Command(command))),
        (None, None) => Ok(None),
    }
}

/// A path that means the same wherever the program is started.
fn absolute(text: &str, home: Option<&Path>) -> Result<PathBuf, Wrong> {
    let path = match (text, text.strip_prefix("~/"), home) {
        ("~", _, Some(home)) => home.to_owned(),
        (_, Some(rest), Some(home)) => home.join(rest),
        ("~", _, None) | (_, Some(_), None) => {
            return Err(format!("HOME is not set, which {text} needs"));
        }
        _ => PathBuf::from(text),
    };
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("`{text}` is no path that begins with / or ~/")),
    }
}

/// What must not stand in the file.
#[derive(Debug, Default)]
struct Nowhere;

impl<'de> Deserialize<'de> for Nowhere {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "`password`: passwords do not stand here; name a password_file or a password_command",
        ))
    }
}

/// One text, or a list of them.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    let Texts(texts) = Texts::deserialize(deserializer)?;
    if texts.is_empty() {
        return Err(D::Error::custom("`url` names no member"));
    }
    texts.iter().map(|text| Address::parse(text).map_err(D::Error::custom)).collect()
}

fn fingerprints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Fingerprint>, D::Error> {
    let Texts(texts) = Texts::deserialize(deserializer)?;
    let parse = |text: &String| {
        let wrong = || D::Error::custom(format!("`{text}` has no 64 hexadecimal digits"));
        Fingerprint::parse(text).ok_or_else(wrong)
    };
    texts.iter().map(parse).collect()
}

fn transport<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DataChannel>, D::Error> {
    let text = String::deserialize(deserializer)?;
    data_channel(&text).map(Some).map_err(D::Error::custom)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("`stall_timeout` is a number of seconds, at least 1")),
        seconds => Ok(Some(Duration::from_secs(seconds))),
    }
}

fn host_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HostMap, D::Error> {
    let typed = BTreeMap::<String, IpAddr>::deserialize(deserializer)?;
    Ok(typed.into_iter().collect())
}

fn compression<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CompressionLevel>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| D::Error::custom(format!("`{text}` is not one of off, fast, auto, max"));
    CompressionLevel::from_str(&text, false).map(Some).map_err(wrong)
}

//! The configuration file: pools and repositories by name, so that a line of a crontab is short.
//!
//! It is optional, and what was typed or stands in the environment goes before it. Passwords do not
//! stand in it; it says where they are.

mod document;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use xen_source::xapi::{Address, DataChannel, HostMap, Trust};

use crate::args::CompressionLevel;
use crate::password::PasswordSource;

/// Longest configuration that is read, in bytes.
const LEN_MAX: u64 = 256 << 10;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something in the file makes no sense.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Things in the file do not fit together.
    #[error("{}: {key}: {what}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Such as `pool.prod`.
        key: String,
        /// What is wrong.
        what: String,
    },
}

/// What the file says.
#[derive(Debug, Default)]
pub struct Config {
    pools: BTreeMap<String, PoolProfile>,
    repositories: BTreeMap<String, RepositoryProfile>,
    default_pool: Option<String>,
    default_repository: Option<String>,
}

/// How a pool is reached. What is `None` is as if there were no file.
#[derive(Debug)]
pub struct PoolProfile {
    /// Members, in the order in which they are tried.
    pub addresses: Vec<Address>,
    /// Who logs in.
    pub user: Option<String>,
    /// Where the password is.
    pub password: Option<PasswordSource>,
    /// Which certificates are trusted.
    pub trust: Option<Trust>,
    /// How data travels.
    pub data: Option<DataChannel>,
    /// Longest silence of a transfer.
    pub stall_timeout: Option<Duration>,
    /// Names that this machine does not know.
    pub host_map: HostMap,
}

/// Where a repository is. What is `None` is as if there were no file.
#[derive(Debug)]
pub struct RepositoryProfile {
    /// Its directory.
    pub path: PathBuf,
    /// Where the password is.
    pub password: Option<PasswordSource>,
    /// Where the cache of the index lies.
    pub cache_dir: Option<PathBuf>,
    /// How hard to compress.
    pub compression: Option<CompressionLevel>,
}

impl Config {
    /// Reads the file `named`, else the first that exists of the usual ones, else none.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: a file that exists counts, also if it cannot be read.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let home = directory("HOME");
        let (places, must_exist) = match named {
            Some(path) => (vec![path.to_owned()], true),
            None => (usual_places(directory("XDG_CONFIG_HOME"), home.clone()), false),
        };
        for path in places {
            match read(&path) {
                Ok(text) => return Self::parse(&text, &path, home.as_deref()),
                Err(error) if is_absent(&error) && !must_exist => {}
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        Ok(Self::default())
    }

    /// Takes `text` apart, which stands in the file `path`; `~` is `home`.
    pub fn parse(text: &str, path: &Path, home: Option<&Path>) -> Result<Self, ConfigError> {
        let wrong = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().get(..start).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            // Not all of the message: that quotes the line, and a password may stand there.
            let what = error.message().to_owned();
            ConfigError::Line { path: path.to_owned(), line, what }
        };
        let document: document::Document = toml::from_str(text).map_err(wrong)?;
        let path = path.to_owned();
        document.settle(home).map_err(|(key, what)| ConfigError::Key { path, key, what })
    }

    /// The pool that has this name in the file.
    pub fn pool(&self, name: &str) -> Option<&PoolProfile> {
        self.pools.get(name)
    }

    /// The names of all pools in the file.
    pub fn pool_names(&self) -> impl Iterator<Item = &str> {
        self.pools.keys().map(String::as_str)
    }

    /// The pool that is meant if none is named.
    pub fn default_pool(&self) -> Option<(&str, &PoolProfile)> {
        let name = self.default_pool.as_deref()?;
        Some((name, self.pool(name)?))
    }

    /// The repository that has this name in the file.
    pub fn repository(&self, name: &str) -> Option<&RepositoryProfile> {
        self.repositories.get(name)
    }

    /// The repository that is meant if none is named.
    pub fn default_repository(&self) -> Option<&RepositoryProfile> {
        self.repository(self.default_repository.as_deref()?)
    }
}

/// A directory that the environment names.
fn directory(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where the file is looked for, the first place first.
fn usual_places(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let own = xdg.or_else(|| Some(home?.join(".config")));
    let own = own.map(|folder| folder.join("xenith/config.toml"));
    own.into_iter().chain([PathBuf::from("/etc/xenith/config.toml")]).collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LEN_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 {
        ..=LEN_MAX => Ok(text),
        _ => Err(io::Error::other(format!("it is longer than {LEN_MAX} bytes"))),
    }
}

#[cfg(test)]
mod tests;

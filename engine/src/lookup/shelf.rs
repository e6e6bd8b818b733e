//! The directory in which a cache keeps its layers.
//!
//! Several processes may share it: a layer appears complete, by a rename; what is open stays readable when it is
//! removed; and what is gone or wrong is only made again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use repo_format::id::{parse_hex, to_hex};
use repo_format::object_name::IndexName;

use super::block::LayerId;
use super::layer::{CacheKeys, Layer};
use super::nest::{self, Nest, TEMPORARY, absent_is_fine};

/// What may be done with the directory of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Use layers, make and remove them.
    ReadWrite,
    /// Use layers; make new ones elsewhere.
    Read,
    /// Nothing.
    Ignore,
}

/// The layers of one cache.
pub struct Shelf {
    directory: PathBuf,
    usage: Usage,
}

enum Entry {
    Layer(PathBuf),
    Temporary(PathBuf),
}

impl Shelf {
    /// The layers in `directory`.
    pub const fn new(directory: PathBuf, usage: Usage) -> Self {
        Self { directory, usage }
    }

    /// Layers that together know some of `names`, each name once, largest first. Removes all others.
    pub fn layers(&self, names: &BTreeSet<IndexName>, keys: &CacheKeys) -> Vec<Layer> {
        let mut found = Vec::new();
        for entry in self.entries().unwrap_or_default() {
            match entry {
                Entry::Layer(path) => match Layer::open(&path, keys) {
                    Some(layer) if layer.names.is_subset(names) => found.push(layer),
                    _ => self.remove(&path),
                },
                Entry::Temporary(path) => self.remove_abandoned(&path),
            }
        }
        found.sort_by_key(|layer| std::cmp::Reverse(layer.size()));
        let mut known = BTreeSet::new();
        let mut layers = Vec::new();
        for layer in found {
            match layer.names.is_disjoint(&known) {
                true => {
                    known.extend(&layer.names);
                    layers.push(layer);
                }
                false => self.retire(layer.id),
            }
        }
        layers
    }

    /// A place for a new layer.
    pub fn nest(&self) -> io::Result<Nest> {
        match self.usage {
            Usage::ReadWrite => Nest::in_directory(&self.directory),
            Usage::Read | Usage::Ignore => Ok(Nest::Unlinked),
        }
    }

    /// Removes a layer that is damaged or has become part of another.
    pub fn retire(&self, layer: LayerId) {
        self.remove(&self.directory.join(Layer::directory_name(layer)));
    }

    /// Removes everything that a cache has put there.
    pub fn discard(&self) -> io::Result<()> {
        for entry in self.entries()? {
            match entry {
                Entry::Layer(path) => take_down(&path)?,
                Entry::Temporary(path) => self.remove_abandoned(&path),
            }
        }
        Ok(())
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        if self.usage == Usage::Ignore {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let directory = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            directory => directory?,
        };
        for entry in directory {
            let entry = entry?;
            let name = entry.file_name();
            let Some((kind, id)) = name.to_str().and_then(|name| name.split_once('-')) else {
                continue;
            };
            match (kind, parse_hex::<16>(id)) {
                ("layer", Ok(_)) => entries.push(Entry::Layer(entry.path())),
                ("tmp", Ok(_)) => entries.push(Entry::Temporary(entry.path())),
                _ => {}
            }
        }
        Ok(entries)
    }

    fn remove(&self, path: &Path) {
        if self.usage == Usage::ReadWrite {
            // What cannot be removed is not used either, and is tried again the next time.
            let _ = take_down(path);
        }
    }

    /// Removes what a killed process left: nobody holds the lock of its directory.
    fn remove_abandoned(&self, path: &Path) {
        let locked = File::open(path).is_ok_and(|directory| directory.try_lock().is_ok());
        if locked && self.usage == Usage::ReadWrite {
            let _ = nest::remove(path);
        }
    }
}

/// Removes a layer: first its name, so that nobody finds half of it.
fn take_down(path: &Path) -> io::Result<()> {
    let name = format!("{TEMPORARY}{}", to_hex(&nest::random()?));
    let gone = path.with_file_name(name);
    absent_is_fine(fs::rename(path, &gone))?;
    nest::remove(&gone)
}

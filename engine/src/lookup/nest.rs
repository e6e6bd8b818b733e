//! Where the files of one layer are made: a directory of the cache under a temporary name, or nowhere.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use repo_format::id::to_hex;

/// The files of a layer.
pub const FILES: [&str; 3] = [NAMES, FENCES, BLOCKS];
/// Names of index objects, and how much there is of what.
pub const NAMES: &str = "names";
/// Fences and filters.
pub const FENCES: &str = "fences";
/// Records.
pub const BLOCKS: &str = "blocks";

/// What the name of a directory begins with while it is being made or deleted.
pub const TEMPORARY: &str = "tmp-";

/// A place for the files of one layer; what is not published is gone when it is dropped.
pub enum Nest {
    /// A directory with a temporary name. Its lock is held until it is published, so that others know it is in use.
    Directory {
        /// The directory.
        path: PathBuf,
        /// The open directory, which holds the lock.
        _lock: File,
    },
    /// Files without a name, which vanish with the process.
    Unlinked,
}

impl Nest {
    /// A new directory in `cache`.
    pub fn in_directory(cache: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(cache)?;
        let path = cache.join(format!("{TEMPORARY}{}", to_hex(&random()?)));
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        match lock.try_lock() {
            // Where directories cannot be locked, nobody can take it for abandoned either.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Self::Directory { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// A new empty file, open for reading and writing.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        match self {
            Self::Directory { path, .. } => options.open(path.join(name)),
            Self::Unlinked => {
                let name = format!("xenith-{}", to_hex(&random()?));
                let path = std::env::temp_dir().join(name);
                let file = options.open(&path)?;
                fs::remove_file(&path)?;
                Ok(file)
            }
        }
    }

    /// Whether files keep a name.
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// Gives a complete directory its name. If another process was faster, its files are as good: this one's
    /// are removed, and those who have them open keep them.
    pub fn publish(self, name: &str) {
        if let Self::Directory { path, .. } = &self {
            let _ = fs::rename(path, path.with_file_name(name));
        }
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        if let Self::Directory { path, .. } = self {
            // Published: there is nothing under this name any more. Otherwise the next process tries again.
            let _ = remove(path);
        }
    }
}

/// Removes a directory with the files of a layer. Files of others in it keep it.
pub fn remove(path: &Path) -> io::Result<()> {
    for name in FILES {
        absent_is_fine(fs::remove_file(path.join(name)))?;
    }
    absent_is_fine(fs::remove_dir(path))
}

/// What another process removed first is removed.
pub fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Bytes that nobody else has.
pub fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

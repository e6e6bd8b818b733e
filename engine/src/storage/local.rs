//! A repository in a directory of this machine or of a mounted share.
//!
//! An object is written to a file without a name (or under `tmp/` where the file system has no such
//! files), synced, linked to its name if that is free, and its directory is synced. So it appears
//! whole and durable, and of two writers of one name exactly one wins. Nothing is ever locked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use repo_format::id::to_hex;
use repo_format::object_name::{Directory, ObjectName};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{Creation, Storage, StorageError};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A repository in a directory.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    /// The repository at `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes the directories of a new repository, durable. Refuses a directory that holds other files.
    pub fn prepare(&self) -> Result<(), StorageError> {
        create_durable(&self.root)?;
        let foreign = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let is_ours = |it: Directory| Path::new(&it.path()).starts_with(&name);
            name != "tmp" && !Directory::ALL.into_iter().any(is_ours)
        };
        let entries = fs::read_dir(&self.root).map_err(|e| failed("list", &self.root, e))?;
        if entries.flatten().any(|entry| foreign(&entry)) {
            let source = io::Error::new(io::ErrorKind::DirectoryNotEmpty, "it holds other files");
            return Err(failed("make a repository in", &self.root, source));
        }
        for directory in Directory::ALL {
            create_durable(&self.root.join(directory.path()))?;
        }
        create_durable(&self.root.join("tmp"))
    }

    fn path(&self, name: ObjectName) -> PathBuf {
        self.root.join(name.to_string())
    }

    fn write_and_link(&self, path: &Path, bytes: &[u8]) -> io::Result<Creation> {
        let parent = path.parent().unwrap_or(&self.root);
        let written = match write_nameless(parent, bytes)? {
            Some(file) => link_nameless(&file, path),
            None => self.write_named_and_link(path, bytes),
        };
        let creation = match written {
            Ok(()) => Creation::Created,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Creation::Exists,
            Err(error) => return Err(error),
        };
        sync_directory(parent)?;
        Ok(creation)
    }

    /// For file systems without nameless files, such as NFS.
    fn write_named_and_link(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.write_temporary(bytes)?;
        let linked = match fs::hard_link(&temporary, path) {
            Err(error) if error.raw_os_error().is_some_and(cannot_link) => {
                rename_if_absent(&temporary, path)
            }
            linked => linked,
        };
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => linked.and(Err(error)),
            _ => linked,
        }
    }

    fn write_temporary(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = self.root.join("tmp").join(to_hex(&random));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(path)
    }

    fn list_into(
        &self,
        path: &str,
        objects: &mut Vec<(ObjectName, u64)>,
    ) -> Result<(), StorageError> {
        let full = self.root.join(path);
        let fail = |error| failed("list", &full, error);
        let entries = match fs::read_dir(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.map_err(fail)?,
            };
            if metadata.is_dir() {
                self.list_into(&path, objects)?;
            } else if let Some(name) = ObjectName::parse(&path) {
                objects.push((name, metadata.len()));
            }
        }
        Ok(())
    }
}

impl Storage for LocalStorage {
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError> {
        let path = self.path(name);
        let fail = |error| failed("store", &path, error);
        match self.write_and_link(&path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                create_durable(path.parent().unwrap_or(&self.root))?;
                self.write_and_link(&path, bytes).map_err(fail)
            }
            created => created.map_err(fail),
        }
    }

    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError> {
        let path = self.path(name);
        let temporary = self.write_temporary(bytes).map_err(|e| failed("store", &path, e))?;
        let renamed = fs::rename(&temporary, &path);
        renamed
            .and_then(|()| sync_directory(path.parent().unwrap_or(&self.root)))
            .map_err(|e| failed("store", &path, e))
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        let path = self.path(name);
        let file = open(name, &path)?;
        let len = file.metadata().map_err(|e| failed("read", &path, e))?.len();
        if len > limit_bytes {
            return Err(StorageError::TooLong { name, len });
        }
        read_exactly(name, &path, &file, 0..len)
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let path = self.path(name);
        let file = open(name, &path)?;
        read_exactly(name, &path, &file, range)
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        let mut objects = Vec::new();
        self.list_into(&directory.path(), &mut objects)?;
        objects.sort_unstable();
        Ok(objects)
    }

    fn delete(&self, name: ObjectName) -> Result<(), StorageError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| sync_directory(path.parent().unwrap_or(&self.root)))
                .map_err(|error| failed("remove", &path, error)),
        }
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io { doing, path: path.display().to_string(), source }
}

fn open(name: ObjectName, path: &Path) -> Result<File, StorageError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StorageError::NotFound { name },
        _ => failed("read", path, error),
    })
}

fn read_exactly(
    name: ObjectName,
    path: &Path,
    file: &File,
    range: Range<u64>,
) -> Result<Vec<u8>, StorageError> {
    let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => StorageError::Short { name },
        _ => failed("read", path, error),
    })?;
    Ok(bytes)
}

/// Writes and syncs a file without a name in `directory`; `None` where that is not supported.
fn write_nameless(directory: &Path, bytes: &[u8]) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(directory, flags, Mode::from_bits_truncate(FILE_MODE)) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Err(io::ErrorKind::NotFound.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(Some(file))
}

fn link_nameless(file: &File, path: &Path) -> io::Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// Errors of file systems that have no hard links, such as exFAT and some SMB shares.
fn cannot_link(error: i32) -> bool {
    let errors = [rustix::io::Errno::OPNOTSUPP, rustix::io::Errno::PERM, rustix::io::Errno::NOSYS];
    errors.iter().any(|known| known.raw_os_error() == error)
}

fn rename_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE)?;
    Ok(())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory and those above it; each new entry is synced.
fn create_durable(directory: &Path) -> Result<(), StorageError> {
    let fail = |error| failed("make", directory, error);
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_durable(parent)?;
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
        _ => {}
    }
    sync_directory(parent).map_err(fail)
}

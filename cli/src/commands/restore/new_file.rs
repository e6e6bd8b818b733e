//! A file that appears under its name when it is complete and synced, or not at all.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::advice::Fault;
use crate::interrupt::HalfWritten;

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the restore fails.
    Refuse,
    /// It is replaced.
    Replace,
}

/// A file under another name, beside its place.
pub struct NewFile {
    // First, so that an interruption after it is dropped finds nothing to remove.
    guard: HalfWritten,
    file: NamedTempFile,
}

impl NewFile {
    /// Begins. Only the owner may read it: disks hold secrets.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix: String = format!(".{name}.").chars().take(50).collect();
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        let create = || builder.tempfile_in(directory(path));
        let (guard, file) = HalfWritten::begin(create, NamedTempFile::path)?;
        Ok(Self { guard, file })
    }

    /// The file, new and empty.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Makes it durable; its length in bytes.
    pub fn sync(&self) -> io::Result<u64> {
        self.file().sync_all()?;
        Ok(self.file().metadata()?.len())
    }

    /// Gives it its name, durably.
    pub fn rename(self, path: &Path, existing: Existing) -> Result<(), Fault> {
        let Self { guard, file } = self;
        let renamed = guard.finish(|| match existing {
            Existing::Refuse => file.persist_noclobber(path),
            Existing::Replace => file.persist(path),
        });
        match renamed {
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => exists(),
            Err(error) => Err(Fault::File(error.error)),
            Ok(_) => File::open(directory(path))
                .and_then(|directory| directory.sync_all())
                .map_err(Fault::File),
        }
    }
}

/// Refuses, before anything is read, what could not be written in the end.
pub fn check_free(path: &Path, existing: Existing) -> Result<(), Fault> {
    match (path.symlink_metadata(), existing) {
        (Err(_), _) => Ok(()),
        (Ok(metadata), Existing::Replace) if metadata.is_file() => Ok(()),
        (Ok(metadata), _) if metadata.is_file() => exists(),
        (Ok(_), _) => Err(Fault::Refused {
            what: "it exists and is no regular file".to_owned(),
            hint: "name another file; `xenith dump` writes to devices and pipes".to_owned(),
        }),
    }
}

fn exists<T>() -> Result<T, Fault> {
    Err(Fault::Refused {
        what: "it exists".to_owned(),
        hint: "name another file, or use --force to replace it; nothing was changed".to_owned(),
    })
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

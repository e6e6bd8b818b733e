//! Sources: what the engine reads disks from.
//!
//! [`open`] looks at the first bytes of an input and decides what it is. Compression is seen
//! through only where an XVA is inside; every other file is kept as it is.

mod disks;
mod inspect;
mod plain;
mod recognise;
mod wrapping;
mod xva_source;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use engine::source::{SEGMENT_LEN, Source, SourceError};

use crate::disk::DiskReader;
use crate::raw::RawReader;
use crate::xva::{CHUNK_LEN_MAX, XvaError, error_page};
use disks::DiskContainer;
pub use disks::{is_disk, open_chain, open_disks};
pub use inspect::inspect_xva;
pub use plain::PlainSource;
#[cfg(feature = "xapi")]
pub(crate) use plain::read_error;
pub use recognise::{HEAD_LEN, recognise};
pub use wrapping::{Tap, Unwrapped, Wrapping};
pub use xva_source::XvaSource;
#[cfg(feature = "xapi")]
pub(crate) use xva_source::{Stream, announced, record_stream};

const _: () = assert!(SEGMENT_LEN.is_multiple_of(CHUNK_LEN_MAX), "no chunk crosses a segment");

/// What an input is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A VM as XenServer exports it.
    Xva,
    /// One raw disk.
    Raw,
    /// One disk as VHD.
    Vhd,
    /// One disk as qcow2.
    Qcow2,
    /// A file of any kind.
    File,
}

/// Where bytes come from.
pub enum Input {
    /// A file, device or named pipe.
    Path(PathBuf),
    /// Something open already, such as standard input.
    Stream {
        /// What to call the disk if it is kept as a file.
        name: String,
        /// Its bytes.
        bytes: Box<dyn Read + Send>,
    },
}

/// Opens an input as what it is, or as `kind`.
///
/// # Errors
///
/// [`SourceError::Unrecognised`] if it is not of `kind`, or if a path that ends in `.xva` holds
/// something else. [`SourceError::Damaged`] if a host's error page is all there is.
pub fn open(input: Input, kind: Option<Kind>) -> Result<Box<dyn Source>, SourceError> {
    match input {
        Input::Path(path) if kind == Some(Kind::Raw) => open_disks(&[path], kind, None),
        Input::Path(path) => open_path(&path, kind),
        Input::Stream { name, bytes } => open_stream(&name, bytes, kind),
    }
}

fn open_path(path: &Path, kind: Option<Kind>) -> Result<Box<dyn Source>, SourceError> {
    let failed = |source| io_error(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let file_type = file.metadata().map_err(failed)?.file_type();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if file_type.is_dir() {
        return Err(SourceError::Unrecognised { what: format!("{name} is a directory") });
    }
    if !file_type.is_file() && !file_type.is_block_device() {
        return open_stream(&name, Box::new(file), kind);
    }
    let head = read_head(&mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let is_device = file_type.is_block_device();
    let container = DiskContainer::of_bytes_and_name(&head, path, is_device);
    match choose(&head, kind, container)? {
        Choice::Xva(wrapping) => open_xva(Box::new(file), wrapping),
        Choice::File if kind.is_none() && is_xva_name(&name) => {
            let what = format!("{name} is no XVA; to keep it as it is, say that it is a file");
            Err(SourceError::Unrecognised { what })
        }
        Choice::Disk(container) => {
            let reader = container.open_file(&name, file)?;
            Ok(Box::new(PlainSource::of_disks(container.name(), vec![reader], None)))
        }
        Choice::File => {
            let reader = RawReader::of_file(file).map_err(failed)?;
            Ok(Box::new(PlainSource::of_file(&name, Box::new(reader))))
        }
    }
}

fn open_stream(
    name: &str,
    mut bytes: Box<dyn Read + Send>,
    kind: Option<Kind>,
) -> Result<Box<dyn Source>, SourceError> {
    let head = read_head(&mut bytes).map_err(|source| io_error(Path::new(name), source))?;
    let choice = choose(&head, kind, DiskContainer::of_bytes(&head))?;
    let first = head.clone();
    let whole = Box::new(io::Cursor::new(head).chain(bytes));
    match choice {
        Choice::Xva(wrapping) => open_xva(whole, wrapping),
        Choice::Disk(container) => {
            let reader = container.open_stream(name, &first, whole)?;
            Ok(Box::new(PlainSource::of_disks(container.name(), vec![reader], None)))
        }
        Choice::File => {
            let reader: Box<dyn DiskReader> = Box::new(RawReader::of_stream(whole));
            Ok(Box::new(PlainSource::of_file(name, reader)))
        }
    }
}

fn open_xva(
    bytes: Box<dyn Read + Send>,
    wrapping: Wrapping,
) -> Result<Box<dyn Source>, SourceError> {
    let source = XvaSource::open(bytes, wrapping)?;
    Ok(Box::new(source))
}

/// What an input is opened as.
enum Choice {
    Xva(Wrapping),
    Disk(DiskContainer),
    File,
}

/// Decides what an input is, from its first bytes, what was asked for, and the disk that it is
/// if it is no XVA.
fn choose(
    head: &[u8],
    kind: Option<Kind>,
    container: Option<DiskContainer>,
) -> Result<Choice, SourceError> {
    let found = recognise(head);
    if matches!(kind, None | Some(Kind::Xva))
        && found.is_none()
        && let Some(page) = lone_error_page(head)
    {
        let (place, what) = ("its first bytes".to_owned(), error_page::explanation(&page));
        return Err(SourceError::Damaged { place, what });
    }
    match (kind, found) {
        (None | Some(Kind::Xva), Some(wrapping)) => Ok(Choice::Xva(wrapping)),
        // Not one at first sight; the reader finds out what is wrong and says it better.
        (Some(Kind::Xva), None) => Ok(Choice::Xva(Wrapping::of(head))),
        (None, None) => Ok(container.map_or(Choice::File, Choice::Disk)),
        (Some(kind), _) => Ok(DiskContainer::of_kind(kind).map_or(Choice::File, Choice::Disk)),
    }
}

/// A host's error page that is all there is, or all that follows a few compressed bytes.
fn lone_error_page(head: &[u8]) -> Option<String> {
    let is_all = head.len() < HEAD_LEN && Wrapping::of(head) != Wrapping::Plain;
    let tail = &head[head.len().saturating_sub(error_page::SEARCH_LEN)..];
    if error_page::begins_page(head) || is_all { error_page::find(tail) } else { None }
}

/// The first [`HEAD_LEN`] bytes, or all if there are fewer.
fn read_head(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(HEAD_LEN as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let found = path.extension().unwrap_or_default();
    extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension))
}

fn is_xva_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".xva", ".xva.gz", ".xva.zst"].iter().any(|ending| name.ends_with(ending))
}

fn io_error(path: &Path, source: io::Error) -> SourceError {
    SourceError::Io { place: path.display().to_string(), source }
}

impl From<XvaError> for SourceError {
    fn from(error: XvaError) -> Self {
        match error {
            XvaError::NotXva { what } => Self::Unrecognised { what: format!("not an XVA: {what}") },
            XvaError::Cut { place } => Self::Cut { place },
            XvaError::Damaged { place, what } => Self::Damaged { place, what },
            XvaError::Io { place, source } => Self::Io { place, source },
        }
    }
}

#[cfg(test)]
mod tests;

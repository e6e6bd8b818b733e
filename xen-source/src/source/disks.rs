//! Single disks: raw, VHD or qcow2, from files and pipes.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use engine::source::{Source, SourceError};

use super::plain::read_error;
use super::{Kind, PlainSource, has_extension, io_error, read_head};
use crate::disk::DiskReader;
use crate::qcow2::reader::Qcow2Reader;
use crate::raw::RawReader;
use crate::vhd::piped::FixedStream;
use crate::vhd::reader::VhdReader;
use crate::{qcow2, vhd};

/// What a single disk lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskContainer {
    /// Byte n is byte n.
    Raw,
    /// A VHD.
    Vhd,
    /// A qcow2.
    Qcow2,
}

impl DiskContainer {
    /// What is called so when somebody says it.
    pub(super) const fn of_kind(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Raw => Some(Self::Raw),
            Kind::Vhd => Some(Self::Vhd),
            Kind::Qcow2 => Some(Self::Qcow2),
            Kind::Xva | Kind::File => None,
        }
    }

    /// What first bytes and name tell. A name that ends in `.raw` and a device go before bytes,
    /// which a guest could have written.
    pub(super) fn of_bytes_and_name(head: &[u8], path: &Path, is_device: bool) -> Option<Self> {
        if is_device || has_extension(path, &["raw"]) {
            return Some(Self::Raw);
        }
        let named = [("img", Self::Raw), ("vhd", Self::Vhd), ("qcow2", Self::Qcow2)];
        let named = named.iter().find(|(ending, _)| has_extension(path, &[ending]));
        Self::of_bytes(head).or(named.map(|(_, container)| *container))
    }

    /// What first bytes tell. A fixed VHD and a raw disk begin with anything.
    pub(super) fn of_bytes(head: &[u8]) -> Option<Self> {
        match head {
            _ if head.starts_with(vhd::footer::COOKIE) => Some(Self::Vhd),
            _ if head.starts_with(qcow2::MAGIC) => Some(Self::Qcow2),
            _ => None,
        }
    }

    /// The word for it (SPEC 9.2).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Vhd => "vhd",
            Self::Qcow2 => "qcow2",
        }
    }

    /// Opens a file that can be sought in; raw disks may be pipes, too.
    pub(super) fn open_file(
        self,
        name: &str,
        file: File,
    ) -> Result<Box<dyn DiskReader>, SourceError> {
        let failed = |error| read_error(name, error);
        Ok(match self {
            Self::Raw => {
                Box::new(RawReader::of_file(file).map_err(|e| io_error(Path::new(name), e))?)
            }
            Self::Vhd => Box::new(VhdReader::of_file(file).map_err(failed)?),
            Self::Qcow2 => Box::new(Qcow2Reader::of_file(file).map_err(failed)?),
        })
    }

    /// Opens a pipe that begins with `head`; `bytes` delivers all of it.
    pub(super) fn open_stream(
        self,
        name: &str,
        head: &[u8],
        bytes: Box<dyn Read + Send>,
    ) -> Result<Box<dyn DiskReader>, SourceError> {
        Ok(match self {
            Self::Raw => Box::new(RawReader::of_stream(bytes)),
            Self::Vhd if head.starts_with(vhd::footer::COOKIE) => {
                Box::new(VhdReader::of_stream(bytes).map_err(|error| read_error(name, error))?)
            }
            Self::Vhd => Box::new(FixedStream::new(bytes)),
            Self::Qcow2 => {
                let what = format!(
                    "{name} is a qcow2, which cannot be read from a pipe: its tables may lie \
                     anywhere; name the file"
                );
                return Err(SourceError::Unrecognised { what });
            }
        })
    }
}

/// Opens disks as one VM, in the order given. They are named `xvda`, `xvdb` and so on. Each may
/// be raw, VHD or qcow2, unless `kind` says what all are.
pub fn open_disks(
    paths: &[PathBuf],
    kind: Option<Kind>,
    vm_name: Option<&str>,
) -> Result<Box<dyn Source>, SourceError> {
    let mut readers = Vec::new();
    let mut containers = Vec::new();
    for path in paths {
        let mut file = File::open(path).map_err(|error| io_error(path, error))?;
        let container = match kind.and_then(DiskContainer::of_kind) {
            Some(container) => container,
            None => container_of(path, &mut file)?.unwrap_or(DiskContainer::Raw),
        };
        containers.push(container);
        readers.push(container.open_file(&path.display().to_string(), file)?);
    }
    // Disks of different containers come out raw unless somebody asks for something else.
    let is_mixed = containers.windows(2).any(|pair| pair[0] != pair[1]);
    let container = containers.first().copied().filter(|_| !is_mixed);
    let container = container.unwrap_or(DiskContainer::Raw);
    Ok(Box::new(PlainSource::of_disks(container.name(), readers, vm_name)))
}

/// Opens a chain of VHDs as one disk: the base first, then child after child.
pub fn open_chain(
    paths: &[PathBuf],
    vm_name: Option<&str>,
) -> Result<Box<dyn Source>, SourceError> {
    let open_one = |path: &PathBuf| {
        let file = File::open(path).map_err(|error| io_error(path, error))?;
        Ok((path.display().to_string(), file))
    };
    let files = paths.iter().map(open_one).collect::<Result<Vec<_>, SourceError>>()?;
    let name = paths.last().map(|path| path.display().to_string()).unwrap_or_default();
    let reader = VhdReader::of_chain(files).map_err(|error| read_error(&name, error))?;
    Ok(Box::new(PlainSource::of_disks("vhd", vec![Box::new(reader)], vm_name)))
}

/// Whether a path is that of a disk, by its name and first bytes. What cannot be read is not.
pub fn is_disk(path: &Path) -> bool {
    let opened = path.metadata().ok().filter(|found| {
        let found = found.file_type();
        found.is_file() || found.is_block_device()
    });
    let named = has_extension(path, &["raw", "img", "vhd", "qcow2"]);
    let found = opened.and_then(|_| File::open(path).ok());
    let container = found.and_then(|mut file| container_of(path, &mut file).ok().flatten());
    named || container.is_some()
}

fn container_of(path: &Path, file: &mut File) -> Result<Option<DiskContainer>, SourceError> {
    let failed = |error| io_error(path, error);
    let file_type = file.metadata().map_err(failed)?.file_type();
    if !file_type.is_file() && !file_type.is_block_device() {
        return Ok(Some(DiskContainer::Raw)); // a pipe
    }
    let head = read_head(file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(DiskContainer::of_bytes_and_name(&head, path, file_type.is_block_device()))
}

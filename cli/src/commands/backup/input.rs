//! What is backed up: standard input, a path, several disks together, or a VM of a pool.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use engine::source::{Source, SourceError};
use repo_format::limits::TEXT_MAX;
use xen_source::Kind;

use super::metadata::PoolMetadata;
use super::pool_vm::{PoolVm, Reading, Watch};
use crate::advice::{Failure, refused};
use crate::args::{BackupArgs, InputType};

/// One input: one snapshot.
#[derive(Debug, Clone)]
pub struct Input {
    from: From,
    kind: Option<Kind>,
}

#[derive(Debug, Clone)]
enum From {
    Stdin,
    Path(PathBuf),
    /// Disks of one VM.
    Disks {
        paths: Vec<PathBuf>,
        vm_name: String,
    },
    /// One disk: a VHD and what it builds upon.
    Chain {
        paths: Vec<PathBuf>,
    },
    Vm(Box<PoolVm>),
    Metadata(Box<PoolMetadata>),
}

/// An input that is being read.
pub enum Opened {
    /// A stream, files or devices.
    Source(Box<dyn Source>),
    /// A VM of a pool.
    Vm(Box<Reading>),
}

impl Opened {
    /// What the engine reads.
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Source(source) => &mut **source,
            Self::Vm(reading) => &mut **reading,
        }
    }

    /// There is a snapshot of it in the repository now.
    pub fn keep(self) {
        match self {
            Self::Source(_) => {}
            Self::Vm(reading) => reading.keep(),
        }
    }
}

/// Decides what the inputs are.
pub fn resolve(args: &BackupArgs) -> Result<Vec<Input>, Failure> {
    let kind = args.input_type.map(|input_type| match input_type {
        InputType::Xva => Kind::Xva,
        InputType::Raw => Kind::Raw,
        InputType::Vhd | InputType::VhdChain => Kind::Vhd,
        InputType::Qcow2 => Kind::Qcow2,
        InputType::File => Kind::File,
    });
    let is_dash = |path: &PathBuf| path.as_os_str() == "-";
    if args.stdin || args.paths.iter().any(is_dash) {
        if args.input_type == Some(InputType::VhdChain) {
            return refused(
                "cannot back up standard input as a chain of VHDs",
                "a chain is several files",
                "name the files, the base first",
            );
        }
        if args.paths.len() > 1 {
            return refused(
                "cannot back up standard input and files at once",
                "`-` stands among several inputs",
                "run it twice; --run gives both snapshots the same run name",
            );
        }
        return Ok(vec![Input { from: From::Stdin, kind }]);
    }
    if args.input_type == Some(InputType::VhdChain) {
        return Ok(vec![Input { from: From::Chain { paths: args.paths.clone() }, kind }]);
    }
    let all_disks = match kind {
        None => args.paths.iter().all(|path| xen_source::is_disk(path)),
        Some(kind) => matches!(kind, Kind::Raw | Kind::Vhd | Kind::Qcow2),
    };
    match &args.vm_name {
        Some(vm_name) if all_disks && args.paths.len() > 1 => {
            let from = From::Disks { paths: args.paths.clone(), vm_name: vm_name.clone() };
            Ok(vec![Input { from, kind }])
        }
        Some(vm_name) if args.paths.len() > 1 => refused(
            format!("cannot back up {} inputs as the VM {vm_name}", args.paths.len()),
            "not all of them are disks",
            "name one input, or say what all are with --type raw, vhd or qcow2",
        ),
        _ => {
            let input = |path: &PathBuf| Input { from: From::Path(path.clone()), kind };
            Ok(args.paths.iter().map(input).collect())
        }
    }
}

impl Input {
    /// A VM of a pool.
    pub fn of_vm(vm: PoolVm) -> Self {
        Self { from: From::Vm(Box::new(vm)), kind: Some(Kind::Xva) }
    }

    /// Metadata of a pool.
    pub fn of_metadata(metadata: PoolMetadata) -> Self {
        Self { from: From::Metadata(Box::new(metadata)), kind: Some(Kind::File) }
    }

    /// Somebody to learn what happens to it beside its being read.
    pub fn watch(&self) -> Option<Arc<Watch>> {
        match &self.from {
            From::Vm(vm) => Some(vm.watch()),
            _ => None,
        }
    }

    /// Opens it and finds out what it is.
    pub fn open(&self, watch: Option<&Arc<Watch>>) -> Result<Opened, SourceError> {
        let source = match &self.from {
            From::Vm(vm) => {
                let watch = watch.map_or_else(|| vm.watch(), Arc::clone);
                return vm.open(&watch).map(|reading| Opened::Vm(Box::new(reading)));
            }
            From::Stdin => {
                let bytes = Box::new(stdin(self.kind)?);
                let name = "stdin".to_owned();
                xen_source::open(xen_source::Input::Stream { name, bytes }, self.kind)
            }
            From::Path(path) => xen_source::open(xen_source::Input::Path(path.clone()), self.kind),
            From::Disks { paths, vm_name } => {
                xen_source::open_disks(paths, self.kind, Some(vm_name))
            }
            From::Chain { paths } => xen_source::open_chain(paths, None),
            From::Metadata(metadata) => metadata.open(),
        };
        source.map(Opened::Source)
    }

    /// Whether it is a VM of a pool.
    pub const fn is_vm(&self) -> bool {
        matches!(self.from, From::Vm(_))
    }

    /// What people call it, in a word or two.
    pub fn name(&self) -> String {
        match &self.from {
            From::Vm(vm) => vm.name().to_owned(),
            _ => self.path_text(),
        }
    }

    /// Bytes of its disks, if that is known before it is opened.
    pub fn size(&self) -> u64 {
        match &self.from {
            From::Vm(vm) => vm.size(),
            _ => 0,
        }
    }

    /// Whether it can be read a second time.
    pub fn is_reopenable(&self) -> bool {
        let is_lasting = |path: &PathBuf| {
            path.metadata().is_ok_and(|metadata| metadata.is_file() || is_device(&metadata))
        };
        match &self.from {
            From::Stdin => false,
            From::Vm(_) | From::Metadata(_) => true,
            From::Path(path) => is_lasting(path),
            From::Disks { paths, .. } | From::Chain { paths } => paths.iter().all(is_lasting),
        }
    }

    /// What a snapshot says it came from.
    pub fn path_text(&self) -> String {
        let mut text = match &self.from {
            From::Stdin => "-".to_owned(),
            From::Path(path) => path.display().to_string(),
            From::Vm(vm) => format!("vm:{}", vm.name()),
            From::Metadata(metadata) => metadata.path_text(),
            From::Disks { paths, .. } | From::Chain { paths } => {
                let paths = paths.iter().map(|path| path.display().to_string());
                paths.collect::<Vec<_>>().join(", ")
            }
        };
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            From::Stdin => f.write_str("standard input"),
            From::Path(path) => path.display().fmt(f),
            From::Disks { .. } | From::Chain { .. } => f.write_str(&self.path_text()),
            From::Vm(vm) => write!(f, "VM {}", vm.name()),
            From::Metadata(metadata) => metadata.fmt(f),
        }
    }
}

fn is_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_block_device()
}

/// Standard input, without a buffer: disks are read in large pieces.
///
/// An empty one is what is left of an export that failed, unless somebody says that it is a file.
fn stdin(kind: Option<Kind>) -> Result<impl Read, SourceError> {
    let failed = |source| SourceError::Io { place: "standard input".to_owned(), source };
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(failed(io::Error::other("it is a terminal; pipe an export into it")));
    }
    let mut bytes = File::from(stdin.as_fd().try_clone_to_owned().map_err(failed)?);
    let mut first = Vec::new();
    bytes.by_ref().take(1).read_to_end(&mut first).map_err(failed)?;
    if first.is_empty() && kind != Some(Kind::File) {
        let place = "its first byte".to_owned();
        return Err(SourceError::Damaged { place, what: "standard input is empty".to_owned() });
    }
    Ok(io::Cursor::new(first).chain(bytes))
}

//! `dump`: a snapshot, or a disk of it, to standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use repo_format::snapshot::{DiskRole, Snapshot};
use xen_source::RawOutput;

use super::extraction::{self, Extraction};
use crate::advice::{Doing as _, Failure, Fault, refused};
use crate::args::DumpArgs;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::report::short_id;
use crate::selection::{self, Kind};

/// Writes to standard output.
pub fn run(job: &Job, args: DumpArgs) -> Result<Exit, Failure> {
    let DumpArgs { snapshot: text, mut extract, filter } = args;
    let (_, rest) = Kind::split(&text);
    let (text, disk) = match rest.split_once(':') {
        Some((_, disk)) => (&text[..text.len() - disk.len() - 1], Some(disk)),
        None => (&*text, None),
    };
    extract.disks.extend(disk.map(str::to_owned));
    let repository = job.open(Writes::Kept)?;
    let snapshot = selection::one(&repository, text, &Filter::from(filter))?;
    let extraction = extraction::resolve(extract, &snapshot, None)?;
    to_stdout(job, &repository, &snapshot, &extraction)?;
    Ok(Exit::Done)
}

/// Streams an XVA or one disk.
pub fn to_stdout(
    job: &Job,
    repository: &Repository,
    snapshot: &Snapshot,
    extraction: &Extraction,
) -> Result<(), Failure> {
    let doing = || format!("cannot write snapshot {} to standard output", short_id(&snapshot.id));
    let is_text = match extraction {
        Extraction::Xva(_) => false,
        Extraction::Disks(disks) => match disks.as_slice() {
            [disk] => snapshot.disks[disk.place].role == DiskRole::Record,
            disks => {
                let what = format!("{} disks do not fit into one stream", disks.len());
                return refused(
                    doing(),
                    what,
                    "name one, as in `dump a1c4:xvda`, or use --format xva",
                );
            }
        },
    };
    if io::stdout().is_terminal() && !is_text {
        return refused(doing(), "it is a terminal", "send it to a file or a program");
    }
    let reader = Reader::open(repository).doing(doing)?;
    let workers = job.workers()?;
    let progress = Progress::beside_data(&job.report);
    let content = SnapshotContent::new(&reader, &workers, snapshot, &progress);
    let out = io::stdout().as_fd().try_clone_to_owned();
    // Without the buffer of `Stdout`: disks are written in large pieces.
    let mut out = File::from(out.map_err(Fault::Print).doing(doing)?);
    match extraction {
        Extraction::Xva(options) => {
            xen_source::write_xva(&content, out, options).doing(doing)?;
        }
        Extraction::Disks(disks) => {
            for disk in disks {
                let out = RawOutput::Plain(&mut out);
                xen_source::write_disk(&content, disk.place, disk.form, out).doing(doing)?;
            }
        }
    }
    Ok(())
}

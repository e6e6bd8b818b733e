//! `demo`: everything once, on a small VM made for it.

mod vm;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::backup::{BackupRequest, backup};
use engine::check::{self, Subset};
use engine::observer::Silent;
use engine::packer::{Packing, Threads};
use engine::parallel::Workers;
use engine::reader::Reader;
use engine::repository::{OpenOptions, Repository};
use engine::restore::SnapshotContent;
use engine::session::Who;
use engine::storage::local::LocalStorage;
use engine::surroundings::{RealSurroundings, random};
use repo_format::id::RunId;
use repo_format::slot::KdfCost;
use repo_format::snapshot::Snapshot;
use serde::Serialize;
use tempfile::TempDir;
use xen_source::{Input, Kind, Macs, XvaOptions};

use crate::advice::{Doing as _, Failure, Fault, refused};
use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::job::Job;
use crate::report::short_id;
use crate::size;
use vm::DemoVm;

/// Opens the demo's repository. It protects nothing: the VM is made up.
const PASSWORD: &str = "demo";

/// What was shown, as JSON.
#[derive(Debug, Serialize)]
struct Shown {
    message_type: &'static str,
    repository: Option<String>,
    nights: Vec<Night>,
    elapsed_ms: u64,
}

/// A night: an export, and what it cost.
#[derive(Debug, Serialize)]
struct Night {
    snapshot: String,
    read: u64,
    new: u64,
    added: u64,
    identical: bool,
}

/// Where the repository lies.
enum Place {
    Temporary(TempDir),
    Kept(PathBuf),
}

/// Shows everything once.
pub fn run(job: &Job, args: DemoArgs) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let place = Place::of(args)?;
    let repository = make_repository(place.path())?;
    let (workers, uploaders) = (job.workers()?, job.uploaders()?);
    let threads = Threads { workers: &workers, uploaders: &uploaders };
    let mut demo_vm = DemoVm::new();
    job.report.step(&format!(
        "a VM with 2 disks, {} of data; a new repository at {}\n\n",
        size::bytes(demo_vm.data_bytes()),
        place.path().display(),
    ))?;
    let mut nights = Vec::new();
    for number in 1..=2 {
        if number == 2 {
            let changed = demo_vm.live_a_day();
            job.report.step(&format!(
                "  a day later: {} of the disks changed, and every Ref number of the export\n",
                size::bytes(changed),
            ))?;
        }
        let export =
            demo_vm.export(number).map_err(Fault::File).doing(|| "cannot export".to_owned())?;
        let snapshot = save(job, &repository, threads, &export)?;
        job.report.step(&saved_text(number, &snapshot))?;
        nights.push((export, snapshot));
    }
    let nights = compare_all(job, &repository, &workers, nights)?;
    check_all(job, &repository, &workers)?;
    let shown = Shown {
        message_type: "demo",
        repository: place.kept(),
        nights,
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    job.report.outcome(&shown.text(), &shown)?;
    Ok(Exit::Done)
}

impl Place {
    fn of(args: DemoArgs) -> Result<Self, Failure> {
        match args.target {
            Some(path) => Ok(Self::Kept(path)),
            None => tempfile::Builder::new()
                .prefix("xenith-demo-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(Fault::File)
                .doing(|| "cannot make a temporary directory".to_owned()),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    fn kept(&self) -> Option<String> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(path) => Some(path.display().to_string()),
        }
    }
}

fn make_repository(path: &Path) -> Result<Repository, Failure> {
    let doing = || format!("cannot make a repository at {}", path.display());
    let storage = LocalStorage::new(path);
    storage.prepare().doing(doing)?;
    let options = OpenOptions {
        storage: Arc::new(storage),
        surroundings: Arc::new(RealSurroundings),
        cache: None,
    };
    Repository::create(options, PASSWORD.as_bytes(), KdfCost::DEFAULT, "demo").doing(doing)
}

fn save(
    job: &Job,
    repository: &Repository,
    threads: Threads<'_>,
    export: &[u8],
) -> Result<Snapshot, Failure> {
    let doing = || "cannot back up the export".to_owned();
    let request = BackupRequest {
        who: Who {
            host: "demo".to_owned(),
            process: std::process::id(),
            program: concat!("xenith ", env!("CARGO_PKG_VERSION")).to_owned(),
        },
        run: RunId::from_bytes(random(&RealSurroundings)),
        run_name: "demo".to_owned(),
        tags: vec!["demo".to_owned()],
        path: "-".to_owned(),
        selection: None,
        vm_name: None,
        time: None,
        utc_offset: 0,
        packing: Packing::new(job.compression),
    };
    let bytes = Box::new(Cursor::new(export.to_vec()));
    let input = Input::Stream { name: "demo".to_owned(), bytes };
    let mut source = xen_source::open(input, Some(Kind::Xva)).doing(doing)?;
    backup(repository, threads, &mut *source, &request, &Silent).doing(doing)
}

fn saved_text(number: u32, snapshot: &Snapshot) -> String {
    let statistics = &snapshot.statistics;
    format!(
        "  night {number}  snapshot {}  read {:>8}  new {:>8}  stored {:>8}  {} checksums right\n",
        short_id(&snapshot.id),
        size::bytes(statistics.input_bytes),
        size::bytes(statistics.new_bytes),
        size::bytes(statistics.stored_bytes),
        statistics.checksums_verified,
    )
}

/// Restores each export and compares it byte by byte.
fn compare_all(
    job: &Job,
    repository: &Repository,
    workers: &Workers,
    nights: Vec<(Vec<u8>, Snapshot)>,
) -> Result<Vec<Night>, Failure> {
    let doing = || "cannot restore the export".to_owned();
    let reader = Reader::open(repository).doing(doing)?;
    job.report.step("\n")?;
    let mut compared = Vec::new();
    for (export, snapshot) in nights {
        let content = SnapshotContent::new(&reader, workers, &snapshot, &Silent);
        let mut restored = Vec::with_capacity(export.len());
        xen_source::write_xva(&content, &mut restored, &unchanged()).doing(doing)?;
        let id = short_id(&snapshot.id);
        if restored != export {
            return refused(
                format!("snapshot {id} came back different"),
                "it is not byte by byte what was backed up",
                "this is a fault of xenith or of this machine's memory; please report it",
            );
        }
        let len = size::count(export.len() as u64);
        job.report.step(&format!("  restored {id}  {len} bytes, identical to the export\n"))?;
        compared.push(Night {
            snapshot: snapshot.id.to_string(),
            read: snapshot.statistics.input_bytes,
            new: snapshot.statistics.new_bytes,
            added: snapshot.statistics.stored_bytes,
            identical: true,
        });
    }
    Ok(compared)
}

fn unchanged() -> XvaOptions {
    XvaOptions { checksum: None, name: None, macs: Macs::Keep, disks: None, seed: [0; 32] }
}

fn check_all(job: &Job, repository: &Repository, workers: &Workers) -> Result<(), Failure> {
    let doing = || "cannot check the repository".to_owned();
    let report = check::check(repository, workers, Some(Subset::All), &Silent).doing(doing)?;
    if let Some(finding) = report.findings.iter().find(|finding| finding.is_damage()) {
        return refused(
            "the repository is damaged",
            finding.to_string(),
            "this is a fault of xenith or of this machine; please report it",
        );
    }
    let objects = size::plural(report.checked.objects + report.checked.packs, "object");
    job.report.step(&format!("  checked {objects}, every byte read: no damage\n\n"))
}

impl Shown {
    fn text(&self) -> String {
        let total: u64 = self.nights.iter().map(|night| night.added).sum();
        let read: u64 = self.nights.iter().map(|night| night.read).sum();
        let secs = self.elapsed_ms as f64 / 1000.0;
        let mut text = format!(
            "success: {} of exports are {} in the repository ({secs:.1} s)\n",
            size::bytes(read),
            size::bytes(total),
        );
        if let Some(path) = &self.repository {
            text +=
                &format!("look around: XENITH_PASSWORD={PASSWORD} xenith -r {path} snapshots\n");
        }
        text
    }
}

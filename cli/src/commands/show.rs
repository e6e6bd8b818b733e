//! `show`: a snapshot and the VM in it.

use std::time::Duration;

use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use repo_format::keys::Role;
use repo_format::snapshot::{DiskRole, Snapshot};
use serde::Serialize;

use crate::advice::{Doing as _, Failure};
use crate::args::ShowArgs;
use crate::clock;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::record::VmRecord;
use crate::report::{SnapshotEntry, disk_order, metadata_noun, metadata_use};
use crate::selection;
use crate::size;
use crate::text::{Align, Table};

/// A snapshot and its VM, as JSON.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    snapshot: SnapshotEntry,
    vm: Option<VmRecord>,
    /// Why `vm` is missing, if the snapshot has a VM record.
    vm_unreadable: Option<&'static str>,
}

/// Shows a snapshot.
pub fn run(job: &Job, args: ShowArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    let snapshot = selection::one(&repository, &args.snapshot, &Filter::from(args.filter))?;
    let (vm, vm_unreadable) = match repository.bundle().role {
        Role::Full => (read_record(job, &repository, &snapshot)?, None),
        Role::Backup => {
            (None, Some("this password opens the backup role, which cannot read VM records"))
        }
    };
    let mut text = snapshot_text(&snapshot);
    if let Some(vm) = &vm {
        text += &vm_text(vm);
    }
    if let Some(reason) = vm_unreadable {
        text += &format!("\nwhat is inside is not shown: {reason}\n");
    }
    let snapshot = SnapshotEntry::of(&snapshot);
    job.report.answer(&text, &Shown { snapshot, vm, vm_unreadable })?;
    Ok(Exit::Done)
}

fn read_record(
    job: &Job,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<VmRecord>, Failure> {
    let doing = || format!("cannot read the VM record of snapshot {}", snapshot.id);
    let reader = Reader::open(repository).doing(doing)?;
    let workers = job.workers()?;
    let progress = Progress::beside_data(&job.report);
    let content = SnapshotContent::new(&reader, &workers, snapshot, &progress);
    VmRecord::of(&content, &snapshot.origin.container).doing(doing)
}

fn snapshot_text(snapshot: &Snapshot) -> String {
    let Snapshot { origin, statistics, .. } = snapshot;
    let elapsed = Duration::from_millis(statistics.elapsed_ms);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let noun = metadata_noun(&origin.container).unwrap_or("vm");
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| {
        if !value.trim().is_empty() {
            table.row([name.to_owned(), value]);
        }
    };
    row("snapshot", snapshot.id.to_string());
    row("time", clock::local(snapshot.time));
    row(noun, format!("{} {}", text(&origin.vm_name), text(&origin.vm_uuid)));
    row("container", format!("{} {}", origin.container, origin.compression));
    row("path", origin.path.clone());
    row("made on", format!("{} by {}", snapshot.host, snapshot.program));
    row("tags", snapshot.tags.join(", "));
    row("run", snapshot.run_name.clone());
    row("predecessor", snapshot.predecessor.map(|id| id.to_string()).unwrap_or_default());
    row("read", format!("{} in {}", size::bytes(statistics.input_bytes), size::duration(elapsed)));
    let (new, added) = (size::bytes(statistics.new_bytes), size::bytes(statistics.stored_bytes));
    row("new", format!("{new}, {added} stored"));
    for disk in disk_order(snapshot).into_iter().map(|place| &snapshot.disks[place]) {
        let noun = if disk.role == DiskRole::File { "file" } else { "disk" };
        row(noun, format!("{}  {}  {}", disk.name, size::bytes(disk.size_bytes), disk.key));
    }
    row("to use it", metadata_use(&origin.container).unwrap_or_default().to_owned());
    table.lines("")
}

fn vm_text(vm: &VmRecord) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| {
        if !value.trim().is_empty() {
            table.row([name.to_owned(), value]);
        }
    };
    row("name", vm.name.clone());
    row("description", vm.description.clone());
    row("uuid", vm.uuid.clone());
    row("state", vm.power_state.clone());
    row("memory", vm.memory.map(size::bytes).unwrap_or_default());
    row("vCPUs", vm.vcpus.map(size::count).unwrap_or_default());
    row("tags", vm.tags.join(", "));
    for nic in &vm.nics {
        row("NIC", format!("{}  {}  {}", nic.device, nic.mac, nic.network));
    }
    for disk in &vm.disks {
        let boots = if disk.bootable { "  bootable" } else { "" };
        let size = size::bytes(disk.size);
        row(disk.kind, format!("{}  {size}  {}  {}{boots}", disk.device, disk.uuid, disk.name));
    }
    let from = &vm.exported_by;
    row("exported by", format!("{} {} {}", from.host, from.product, from.version));
    format!("\nVM\n{}", table.lines("  "))
}

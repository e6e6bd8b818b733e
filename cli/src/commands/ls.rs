//! `ls`: the disks of a snapshot.

use engine::snapshots::Filter;

use crate::advice::Failure;
use crate::args::LsArgs;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::report::{DiskEntry, disk_order, role_name};
use crate::selection;
use crate::size;
use crate::text::{Align, Table};

/// Lists the disks of a snapshot.
pub fn run(job: &Job, args: LsArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    let snapshot = selection::one(&repository, &args.snapshot, &Filter::from(args.filter))?;
    let mut table = Table::new(&[
        ("N", Align::Right),
        ("Name", Align::Left),
        ("Role", Align::Left),
        ("Size", Align::Right),
        ("Bytes", Align::Right),
        ("Key", Align::Left),
    ]);
    let order = disk_order(&snapshot);
    let others = (0..snapshot.disks.len()).filter(|place| !order.contains(place));
    for (row, place) in order.iter().copied().chain(others).enumerate() {
        let disk = &snapshot.disks[place];
        table.row([
            if row < order.len() { row.to_string() } else { String::new() },
            disk.name.clone(),
            role_name(disk.role).to_owned(),
            size::bytes(disk.size_bytes),
            disk.size_bytes.to_string(),
            disk.key.clone(),
        ]);
    }
    job.report.answer(&table.lines(""), &DiskEntry::all(&snapshot))?;
    Ok(Exit::Done)
}

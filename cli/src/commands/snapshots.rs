//! `snapshots`: lists them.

use std::collections::BTreeMap;

use engine::snapshots::Filter;
use repo_format::snapshot::Snapshot;

use crate::advice::Failure;
use crate::args::{GroupBy, SnapshotsArgs};
use crate::clock;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::report::{SnapshotEntry, disk_order, short_id, size_bytes, subject};
use crate::selection;
use crate::size;
use crate::text::{Align, Table};

/// What belongs together, and what it is called.
type Group<'s> = (&'s str, Vec<&'s Snapshot>);

/// Lists snapshots.
pub fn run(job: &Job, args: SnapshotsArgs) -> Result<Exit, Failure> {
    let filter = Filter::from(args.filter);
    let repository = job.open(Writes::Kept)?;
    let mut listed = selection::all(&repository)?;
    listed.retain(|snapshot| filter.accepts(snapshot));
    if let Some(count) = args.latest {
        listed = latest(listed, count);
    }
    let groups = match args.group_by {
        None => vec![("", listed.iter().collect())],
        Some(GroupBy::Vm) => by_vm(&listed),
    };
    let entries = groups.iter().flat_map(|(_, group)| group).map(|s| SnapshotEntry::of(s));
    job.report.answer(&text(&groups), &entries.collect::<Vec<_>>())?;
    Ok(Exit::Done)
}

/// What is the same for all snapshots of one VM.
fn vm_key(snapshot: &Snapshot) -> String {
    let origin = &snapshot.origin;
    origin.vm_uuid.clone().unwrap_or_else(|| subject(snapshot).to_owned())
}

/// The newest `count` of each VM.
fn latest(listed: Vec<Snapshot>, count: usize) -> Vec<Snapshot> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<_> = listed
        .into_iter()
        .rev()
        .filter(|snapshot| {
            let seen = seen.entry(vm_key(snapshot)).or_default();
            *seen += 1;
            *seen <= count
        })
        .collect();
    kept.reverse();
    kept
}

/// The snapshots of each VM, called as the newest one calls it.
fn by_vm(listed: &[Snapshot]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<String, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in listed {
        groups.entry(vm_key(snapshot)).or_default().push(snapshot);
    }
    let mut named: Vec<Group<'_>> = Vec::new();
    for group in groups.into_values() {
        named.push((group.last().map_or("", |newest| subject(newest)), group));
    }
    named.sort_by_key(|(name, _)| *name);
    named
}

fn text(groups: &[Group<'_>]) -> String {
    let mut text = String::new();
    for (name, group) in groups {
        if !name.is_empty() {
            text += &format!("{name}: {}\n", size::plural(group.len() as u64, "snapshot"));
        }
        text += &table(group).lines("");
        if !name.is_empty() {
            text.push('\n');
        }
    }
    let total: usize = groups.iter().map(|(_, group)| group.len()).sum();
    text + &size::plural(total as u64, "snapshot") + "\n"
}

fn table(snapshots: &[&Snapshot]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("VM", Align::Left),
        ("Kind", Align::Left),
        ("Disks", Align::Left),
        ("Size", Align::Right),
        ("Added", Align::Right),
        ("Tags", Align::Left),
        ("Run", Align::Left),
    ]);
    for snapshot in snapshots {
        let disks = disk_order(snapshot).into_iter().map(|place| &snapshot.disks[place]);
        table.row([
            short_id(&snapshot.id),
            clock::local(snapshot.time),
            subject(snapshot).to_owned(),
            snapshot.origin.container.clone(),
            shortened(disks.map(|disk| &*disk.name).collect::<Vec<_>>()),
            size::bytes(size_bytes(snapshot)),
            size::bytes(snapshot.statistics.stored_bytes),
            snapshot.tags.join(","),
            snapshot.run_name.clone(),
        ]);
    }
    table
}

/// The first names; `show` has the others.
fn shortened(names: Vec<&str>) -> String {
    const SHOWN: usize = 3;
    match names.len() {
        ..=SHOWN => names.join(" "),
        count => format!("{} +{}", names[..SHOWN].join(" "), count - SHOWN),
    }
}

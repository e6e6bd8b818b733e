//! A run of several VMs as a table: a line for each, in the order in which they were chosen.

use std::time::Duration;

use repo_format::snapshot::{DiskRole, Snapshot};

use super::saved::Saved;
use crate::report::Way;
use crate::size;
use crate::text::{Align, Table};

/// Longest cause of a failure that the table shows, in characters; the error above it shows all.
const CAUSE_MAX: usize = 100;
/// What stands where nothing is known.
const NONE: &str = "-";

/// What became of a VM.
#[derive(Debug)]
pub struct Row {
    cells: [String; 8],
    state: String,
    read: u64,
    added: u64,
}

impl Row {
    /// There is a snapshot.
    pub fn of_saved(saved: &Saved) -> Self {
        let Saved { snapshot, course, .. } = saved;
        let Snapshot { statistics, disks, .. } = snapshot;
        let disks: Vec<_> = disks.iter().filter(|disk| disk.role == DiskRole::Disk).collect();
        let ways: Vec<(&str, &Way)> =
            disks.iter().filter_map(|disk| Some((&*disk.name, saved.way(disk)?))).collect();
        let mut state = ok(&ways);
        for undone in course.notes.iter().filter_map(|note| note.kind.undone()) {
            state += &format!("; {undone}");
        }
        let (read, added) = (statistics.input_bytes, statistics.stored_bytes);
        let elapsed = saved.elapsed();
        let cells = [
            name(&snapshot.origin.path),
            if course.mode.is_empty() { NONE } else { course.mode }.to_owned(),
            disks.len().to_string(),
            size::bytes(read),
            size::bytes(statistics.new_bytes),
            size::bytes(added),
            size::duration(elapsed),
            size::rate(read, elapsed),
        ];
        Self { cells, state, read, added }
    }

    /// There is none.
    pub fn of_lost(path: &str, cause: &str) -> Self {
        let shown: String = cause.chars().take(CAUSE_MAX).collect();
        let dots = if shown.len() < cause.len() { "..." } else { "" };
        Self::without_snapshot(path, format!("FAILED: {shown}{dots}"))
    }

    /// It was not begun.
    pub fn of_skipped(path: &str) -> Self {
        Self::without_snapshot(path, "not begun".to_owned())
    }

    fn without_snapshot(path: &str, state: String) -> Self {
        let mut cells = [NONE; 8].map(str::to_owned);
        cells[0] = name(path);
        Self { cells, state, read: 0, added: 0 }
    }
}

/// The table, and a line for the whole run, which took so long: `counts` says how many were saved.
pub fn text(rows: &[Row], counts: &str, elapsed: Duration) -> String {
    let mut table = Table::new(&[
        ("VM", Align::Left),
        ("Mode", Align::Left),
        ("Disks", Align::Right),
        ("Read", Align::Right),
        ("Changed", Align::Right),
        ("Added", Align::Right),
        ("Time", Align::Right),
        ("Rate", Align::Right),
        ("State", Align::Left),
    ]);
    for Row { cells, state, .. } in rows {
        let [name, mode, disks, read, changed, added, time, rate] = cells.clone();
        table.row([name, mode, disks, read, changed, added, time, rate, state.clone()]);
    }
    let sum = |part: fn(&Row) -> u64| rows.iter().map(part).fold(0, u64::saturating_add);
    let (read, added) = (sum(|row| row.read), sum(|row| row.added));
    format!(
        "{}{counts}; read {} in {} ({}), added {}\n",
        table.lines(""),
        size::bytes(read),
        size::duration(elapsed),
        size::rate(read, elapsed),
        size::bytes(added),
    )
}

/// VMs by their names, all else by the selector.
fn name(path: &str) -> String {
    path.strip_prefix("vm:").unwrap_or(path).to_owned()
}

/// How the disks came: that only changes were read, or why not.
fn ok(ways: &[(&str, &Way)]) -> String {
    let reasons: Vec<String> = ways
        .iter()
        .filter(|(_, way)| !way.reason.is_empty())
        .map(|(name, way)| format!("{name} by {}: {}", way.transfer, way.reason))
        .collect();
    match reasons.as_slice() {
        [] if ways.is_empty() => "ok".to_owned(),
        [] if ways.iter().all(|(_, way)| way.changes_only) => "ok, only changes read".to_owned(),
        [] => "ok".to_owned(),
        _ if same_reason(ways) => format!("ok ({})", ways[0].1.reason),
        reasons => format!("ok ({})", reasons.join("; ")),
    }
}

/// Whether all disks came so for one reason, which then needs no names.
fn same_reason(ways: &[(&str, &Way)]) -> bool {
    ways.windows(2).all(|pair| pair[0].1.reason == pair[1].1.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(transfer: &'static str, changes_only: bool, reason: &str) -> Way {
        Way { uuid: String::new(), transfer, changes_only, reason: reason.to_owned() }
    }

    #[track_caller]
    fn check(ways: &[Way], expected: &str) {
        let names = ["xvda", "xvdb"];
        let ways: Vec<_> = names.into_iter().zip(ways).collect();
        assert_eq!(ok(&ways), expected);
    }

    #[test]
    fn the_state_says_why_more_was_read_than_had_to_be() {
        let off = "tracking was off";
        check(&[], "ok");
        check(&[way("xva", false, "")], "ok");
        check(&[way("nbd", true, ""), way("nbd", true, "")], "ok, only changes read");
        check(&[way("nbd", true, ""), way("nbd", false, "")], "ok");
        check(
            &[way("nbd", true, ""), way("nbd", false, off)],
            "ok (xvdb by nbd: tracking was off)",
        );
        check(&[way("vhd", false, off), way("vhd", false, off)], "ok (tracking was off)");
    }

    #[test]
    fn what_failed_has_its_cause_in_the_table() {
        let rows = [
            Row::of_lost("vm:legacy", "SR_BACKEND_FAILURE_44"),
            Row::of_lost("tag:none", &"x".repeat(200)),
            Row::of_skipped("vm:late"),
        ];
        let text = text(&rows, "0 saved, 3 failed", Duration::from_secs(60));
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("legacy  ") && lines[1].ends_with("FAILED: SR_BACKEND_FAILURE_44")
        );
        assert!(lines[2].ends_with("xx..."), "{}", lines[2]);
        assert!(lines[3].ends_with("  not begun"), "{}", lines[3]);
        assert!(lines[4].starts_with("0 saved, 3 failed; read 0 B in 1:00"), "{}", lines[4]);
    }
}

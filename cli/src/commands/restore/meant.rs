//! Which snapshot is meant when a pool is the destination, and what it becomes there.

use engine::snapshots::{self, Filter};
use repo_format::snapshot::Snapshot;

use crate::advice::{Doing as _, Failure, refused};
use crate::report::short_id;

/// What a snapshot becomes on a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// A VM with its disks.
    Vm,
    /// A VM of which the pool has the disks.
    Record,
    /// The database of the pool.
    Database,
    /// The system of a host.
    Host,
}

/// The snapshot that `text` means, and what becomes of it. Whoever writes `latest` means a VM:
/// nobody replaces the database of a pool by a slip.
pub fn find(
    mut snapshots: Vec<Snapshot>,
    text: &str,
    filter: &Filter,
    only_metadata: bool,
) -> Result<(Snapshot, Becomes), Failure> {
    let doing = || format!("cannot find snapshot {text}");
    let (kind, rest) = match text.split_once(':') {
        Some(("pool", rest)) => (Some(Becomes::Database), rest),
        Some(("host", rest)) => (Some(Becomes::Host), rest),
        Some(("vm", rest)) => (Some(Becomes::Vm), rest),
        _ => (None, text),
    };
    let is_latest = rest.eq_ignore_ascii_case("latest");
    if let Some(kind) = kind.or(is_latest.then_some(Becomes::Vm)) {
        snapshots.retain(|snapshot| match becomes(snapshot, only_metadata) {
            Some(Becomes::Record) => kind == Becomes::Vm && (only_metadata || !is_latest),
            found => found == Some(kind),
        });
    }
    let snapshot = snapshots::find(&snapshots, rest, filter).doing(doing)?.clone();
    match becomes(&snapshot, only_metadata) {
        Some(becomes) => Ok((snapshot, becomes)),
        None => refused(
            format!("cannot make snapshot {} on a pool", short_id(&snapshot.id)),
            "it holds a file, and neither a VM nor metadata of a pool",
            "restore it to a file with --target",
        ),
    }
}

fn becomes(snapshot: &Snapshot, only_metadata: bool) -> Option<Becomes> {
    match &*snapshot.origin.container {
        "pool-db" => Some(Becomes::Database),
        "host" => Some(Becomes::Host),
        "metadata" => Some(Becomes::Record),
        "file" => None,
        _ if only_metadata => Some(Becomes::Record),
        _ => Some(Becomes::Vm),
    }
}

#[cfg(test)]
mod tests {
    use repo_format::id::{RunId, SnapshotId};
    use repo_format::snapshot::{Consistency, Origin, Statistics};

    use super::*;

    fn snapshot(number: u8, container: &str, name: &str) -> Snapshot {
        Snapshot {
            id: SnapshotId::from_bytes([number; 16]),
            time: u64::from(number),
            utc_offset: 0,
            run: RunId::from_bytes([0; 16]),
            run_name: String::new(),
            host: String::new(),
            program: String::new(),
            tags: Vec::new(),
            origin: Origin {
                container: container.to_owned(),
                vm_name: Some(name.to_owned()),
                ..Origin::default()
            },
            disks: Vec::new(),
            consistency: Consistency::Crash,
            statistics: Statistics::default(),
            predecessor: None,
        }
    }

    #[track_caller]
    fn check(text: &str, vm: Option<&str>, only_metadata: bool, expected: Option<(u8, Becomes)>) {
        let nights = vec![
            snapshot(1, "xva", "web"),
            snapshot(2, "host", "xs1"),
            snapshot(3, "metadata", "web"),
            snapshot(4, "host", "xs2"),
            snapshot(5, "pool-db", "prod"),
            snapshot(6, "file", "notes"),
        ];
        let filter =
            Filter { vms: vm.map(str::to_owned).into_iter().collect(), ..Filter::default() };
        let found = find(nights, text, &filter, only_metadata).ok();
        let found = found.map(|(snapshot, becomes)| (snapshot.id.as_bytes()[0], becomes));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_latest_is_a_vm_unless_it_is_said_what_else() {
        check("latest", None, false, Some((1, Becomes::Vm)));
        check("latest", Some("web"), false, Some((1, Becomes::Vm)));
        check("latest", None, true, Some((3, Becomes::Record)));
        check("vm:latest", None, false, Some((1, Becomes::Vm)));
        check("pool:latest", None, false, Some((5, Becomes::Database)));
        check("host:latest", None, false, Some((4, Becomes::Host)));
        check("host:latest", Some("xs1"), false, Some((2, Becomes::Host)));
        check("pool:latest", Some("web"), false, None);
    }

    #[test]
    fn an_id_is_what_it_is() {
        check("05", None, false, Some((5, Becomes::Database)));
        check("pool:05", None, false, Some((5, Becomes::Database)));
        check("pool:01", None, false, None);
        check("host:05", None, false, None);
        check("03", None, false, Some((3, Becomes::Record)));
        check("01", None, true, Some((1, Becomes::Record)));
        check("06", None, false, None);
    }
}

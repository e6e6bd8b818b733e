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

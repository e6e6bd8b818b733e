//! Which snapshot is meant when a pool is the destination, and what it becomes there.

use engine::snapshots::{self, Filter};
use repo_format::snapshot::Snapshot;

use crate::advice::{Doing as _, Failure};
use crate::selection::Kind;

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

impl Becomes {
    /// For people.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Vm => "a VM",
            Self::Record => "a VM without its disks",
            Self::Database => "the database of a pool",
            Self::Host => "the system of a host",
        }
    }
}

/// The snapshot that `text` means, and what becomes of it; nothing of a file. Whoever writes
/// `latest` means a VM: nobody replaces the database of a pool by a slip.
pub fn find(
    mut snapshots: Vec<Snapshot>,
    text: &str,
    filter: &Filter,
    only_metadata: bool,
) -> Result<(Snapshot, Option<Becomes>), Failure> {
    let doing = || format!("cannot find snapshot {text}");
    let (kind, rest) = Kind::split(text);
    let is_latest = rest.eq_ignore_ascii_case("latest");
    if let Some(kind) = kind.or(is_latest.then_some(Kind::Vm)) {
        let is_passed_over = |snapshot: &Snapshot| {
            is_latest && !only_metadata && snapshot.origin.container == "metadata"
        };
        snapshots.retain(|snapshot| Kind::of(snapshot) == Some(kind) && !is_passed_over(snapshot));
    }
    let snapshot = snapshots::find(&snapshots, rest, filter).doing(doing)?.clone();
    let becomes = becomes(&snapshot, only_metadata);
    Ok((snapshot, becomes))
}

fn becomes(snapshot: &Snapshot, only_metadata: bool) -> Option<Becomes> {
    Some(match Kind::of(snapshot)? {
        Kind::Database => Becomes::Database,
        Kind::Host => Becomes::Host,
        Kind::Vm if only_metadata || snapshot.origin.container == "metadata" => Becomes::Record,
        Kind::Vm => Becomes::Vm,
    })
}

#[cfg(test)]
mod tests {
    use repo_format::snapshot::Origin;

    use super::*;
    use crate::selection::sample;

    fn snapshot(number: u8, container: &str, name: &str) -> Snapshot {
        let (container, vm_name) = (container.to_owned(), Some(name.to_owned()));
        let origin = Origin { container, vm_name, ..Origin::default() };
        Snapshot { origin, ..sample::snapshot(number) }
    }

    /// As `find` would be asked; `at` is the time of the newest that may be meant.
    struct Asked<'a> {
        text: &'a str,
        vm: Option<&'a str>,
        at: Option<u64>,
        only_metadata: bool,
    }

    const LATEST: Asked<'_> = Asked { text: "latest", vm: None, at: None, only_metadata: false };

    #[track_caller]
    fn check(asked: Asked<'_>, expected: Option<(u8, Option<Becomes>)>) {
        let nights = vec![
            snapshot(1, "xva", "web"),
            snapshot(2, "host", "xs1"),
            snapshot(3, "metadata", "web"),
            snapshot(4, "host", "xs2"),
            snapshot(5, "pool-db", "prod"),
            snapshot(6, "file", "notes"),
            snapshot(7, "xva", "web"),
        ];
        let Asked { text, vm, at, only_metadata } = asked;
        let vms = vm.map(str::to_owned).into_iter().collect();
        let filter = Filter { vms, until: at, ..Filter::default() };
        let found = find(nights, text, &filter, only_metadata).ok();
        let found = found.map(|(snapshot, becomes)| (snapshot.id.as_bytes()[0], becomes));
        assert_eq!(found, expected, "{text} {vm:?} {at:?}");
    }

    #[track_caller]
    fn check_text(text: &str, expected: Option<(u8, Option<Becomes>)>) {
        check(Asked { text, ..LATEST }, expected);
    }

    #[test]
    fn the_latest_is_a_vm_unless_it_is_said_what_else() {
        let vm = |number| Some((number, Some(Becomes::Vm)));
        let host = |number| Some((number, Some(Becomes::Host)));
        check(LATEST, vm(7));
        check(Asked { vm: Some("web"), ..LATEST }, vm(7));
        check(Asked { only_metadata: true, ..LATEST }, Some((7, Some(Becomes::Record))));
        check_text("vm:latest", vm(7));
        check_text("pool:latest", Some((5, Some(Becomes::Database))));
        check_text("host:latest", host(4));
        check(Asked { text: "host:latest", vm: Some("xs1"), ..LATEST }, host(2));
        check(Asked { text: "pool:latest", vm: Some("web"), ..LATEST }, None);
    }

    #[test]
    fn the_latest_is_not_newer_than_a_time() {
        let vm = |number| Some((number, Some(Becomes::Vm)));
        for (at, expected) in [(0, None), (1, vm(1)), (6, vm(1)), (7, vm(7)), (8, vm(7))] {
            check(Asked { at: Some(at), ..LATEST }, expected);
        }
        let host = Asked { text: "host:latest", at: Some(3), ..LATEST };
        check(host, Some((2, Some(Becomes::Host))));
        check(Asked { text: "07", at: Some(6), ..LATEST }, None);
    }

    #[test]
    fn an_id_is_what_it_is() {
        check_text("05", Some((5, Some(Becomes::Database))));
        check_text("pool:05", Some((5, Some(Becomes::Database))));
        check_text("pool:01", None);
        check_text("host:05", None);
        check_text("03", Some((3, Some(Becomes::Record))));
        let record = Some((1, Some(Becomes::Record)));
        check(Asked { text: "01", only_metadata: true, ..LATEST }, record);
        check_text("06", Some((6, None)));
    }
}

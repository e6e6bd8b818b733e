//! Which snapshots are meant.

#[cfg(test)]
pub mod sample;

use engine::catalog::{Audience, Catalog};
use engine::repository::Repository;
use engine::snapshots::{self, Filter};
use repo_format::snapshot::Snapshot;

use crate::advice::{Doing as _, Failure};
use crate::args::FilterArgs;
use crate::clock;

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        let until = args.at.map(|at| at.secs);
        Self { vms: args.vms, tags: args.tags, run: args.run, until }
    }
}

/// Every snapshot that is not forgotten, oldest first. Those that are damaged are told of and left out.
pub fn all(repository: &Repository) -> Result<Vec<Snapshot>, Failure> {
    let doing = || format!("cannot list the snapshots of {}", repository.storage().location());
    let catalog = Catalog::load(repository, Audience::Reader).doing(doing)?;
    let listing = snapshots::list(repository, &catalog).doing(doing)?;
    for damaged in listing.damaged {
        eprintln!(
            "warning: {damaged} and is left out; the others can be restored, see `xenith check`"
        );
    }
    Ok(listing.snapshots)
}

/// What kind of snapshot is meant, as in `pool:latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `vm:`, a VM or records of one.
    Vm,
    /// `pool:`, the database of a pool.
    Database,
    /// `host:`, the system of a host.
    Host,
}

impl Kind {
    /// The kind that `text` begins with, if it names one, and what follows.
    pub fn split(text: &str) -> (Option<Self>, &str) {
        match text.split_once(':') {
            Some(("vm", rest)) => (Some(Self::Vm), rest),
            Some(("pool", rest)) => (Some(Self::Database), rest),
            Some(("host", rest)) => (Some(Self::Host), rest),
            _ => (None, text),
        }
    }

    /// What `snapshot` is; `None` of a file.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        match &*snapshot.origin.container {
            "pool-db" => Some(Self::Database),
            "host" => Some(Self::Host),
            "file" => None,
            _ => Some(Self::Vm),
        }
    }
}

/// The snapshot that `text` means: an id, the beginning of one, or `latest`; a kind can stand
/// before it.
pub fn one(repository: &Repository, text: &str, filter: &Filter) -> Result<Snapshot, Failure> {
    among(&all(repository)?, text, filter).cloned()
}

/// The snapshot that `text` means among `snapshots`, which are sorted by time. The latest one is a
/// whole one: records without disks are not what somebody means who wants a VM back.
pub fn among<'s>(
    snapshots: &'s [Snapshot],
    text: &str,
    filter: &Filter,
) -> Result<&'s Snapshot, Failure> {
    let (kind, rest) = Kind::split(text);
    let is_meant = |snapshot: &&Snapshot| kind.is_none() || Kind::of(snapshot) == kind;
    let is_whole = |snapshot: &&Snapshot| snapshot.origin.container != "metadata";
    let doing = || format!("cannot find snapshot {text}{}", among_which(filter));
    let meant: Vec<&Snapshot> = snapshots.iter().filter(is_meant).collect();
    let newest = meant.iter().rev().copied().filter(is_whole).find(|it| filter.accepts(it));
    match newest.filter(|_| rest.eq_ignore_ascii_case("latest")) {
        Some(newest) => Ok(newest),
        None => snapshots::find(meant, rest, filter).doing(doing),
    }
}

/// What was typed to choose, in words behind "snapshot ID"; empty if nothing was.
fn among_which(filter: &Filter) -> String {
    let Filter { vms, tags, run, until } = filter;
    let list = |words: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("{words} {}", names.join(", ")),
    };
    let run = list(" of run", run.as_slice());
    let until = until.map(|secs| format!(" not newer than {}", clock::local(secs)));
    list(" of VM", vms) + &list(" with tag", tags) + &run + &until.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use repo_format::snapshot::Origin;

    use super::*;

    #[track_caller]
    fn check(text: &str, until: Option<u64>, expected: Option<u8>) {
        let kinds = ["xva", "host", "metadata", "pool-db", "file", "raw", "metadata"];
        let nights = (1..).zip(kinds).map(|(number, container)| Snapshot {
            origin: Origin { container: container.to_owned(), ..Origin::default() },
            ..sample::snapshot(number)
        });
        let nights: Vec<Snapshot> = nights.collect();
        let filter = Filter { until, ..Filter::default() };
        let found = among(&nights, text, &filter).ok().map(|found| found.id.as_bytes()[0]);
        assert_eq!(found, expected, "{text} {until:?}");
    }

    #[test]
    fn the_latest_is_whole_and_of_the_kind_that_is_named() {
        check("latest", None, Some(6));
        check("LATEST", Some(5), Some(5));
        check("vm:latest", None, Some(6));
        check("vm:latest", Some(5), Some(1));
        check("pool:latest", None, Some(4));
        check("pool:latest", Some(3), None);
        check("host:latest", None, Some(2));
        check("latest", Some(0), None);
    }

    #[test]
    fn what_is_not_found_is_told_with_all_that_was_typed() {
        assert_eq!(among_which(&Filter::default()), "");
        let filter = Filter {
            vms: vec!["web01".to_owned(), "db01".to_owned()],
            tags: vec!["prod".to_owned()],
            run: Some("nightly".to_owned()),
            until: Some(0),
        };
        let before = format!(" not newer than {}", clock::local(0));
        let expected = " of VM web01, db01 with tag prod of run nightly".to_owned() + &before;
        assert_eq!(among_which(&filter), expected);
    }

    #[test]
    fn an_id_is_of_the_kind_that_is_named() {
        check("07", None, Some(7));
        check("vm:07", None, Some(7));
        check("host:07", None, None);
        check("host:02", None, Some(2));
        check("disk:02", None, None);
        check("02", Some(1), None);
    }
}

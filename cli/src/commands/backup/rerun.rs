//! `--retry-failed`: what an earlier run chose and did not save.

use std::collections::BTreeSet;

use repo_format::id::RunId;
use repo_format::snapshot::Snapshot;

use super::choice::Choice;
use crate::advice::{Failure, refused};

/// Fewest digits of a run's id that name it.
const PREFIX_MIN: usize = 4;

/// An earlier run.
#[derive(Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Its id.
    pub run: RunId,
    /// Its name; may be empty.
    pub run_name: String,
    /// The tags of its snapshots.
    pub tags: Vec<String>,
    /// How its VMs were chosen, if it says so.
    pub selection: Option<String>,
    /// Uuids of what it has saved.
    pub saved: BTreeSet<String>,
}

impl Earlier {
    /// The newest run that `text` names, by its name or the first digits of its id, and that has
    /// saved something of this pool: what `is_here` knows by its uuid. `snapshots` are the oldest first.
    pub fn find(
        snapshots: &[Snapshot],
        text: &str,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let uuid = |snapshot: &Snapshot| snapshot.origin.vm_uuid.clone();
        let is_meant = |snapshot: &&Snapshot| {
            (snapshot.run_name == text || begins_with(snapshot.run, text))
                && uuid(snapshot).is_some_and(|uuid| is_here(&uuid))
        };
        let Some(newest) = snapshots.iter().rev().find(is_meant) else {
            return Err(unknown(text));
        };
        let of_run = || snapshots.iter().filter(|snapshot| snapshot.run == newest.run);
        Ok(Self {
            run: newest.run,
            run_name: newest.run_name.clone(),
            tags: newest.tags.clone(),
            // The first: later ones may be of a retry with selectors of its own.
            selection: of_run().find_map(|snapshot| snapshot.origin.selection.clone()),
            saved: of_run().filter_map(uuid).collect(),
        })
    }

    /// How it chose, or why that has to be typed.
    pub fn choice(&self, text: &str) -> Result<Choice, Failure> {
        match &self.selection {
            Some(selection) => Choice::parse_text(selection),
            None => refused(
                format!("cannot retry the run {text}"),
                "its snapshots do not say how it chose",
                "write the selectors, too; nothing was done",
            ),
        }
    }
}

fn begins_with(run: RunId, text: &str) -> bool {
    text.len() >= PREFIX_MIN && run.to_string().starts_with(&text.to_ascii_lowercase())
}

fn unknown(text: &str) -> Failure {
    Failure::refusal(
        format!("cannot retry the run {text}"),
        "no run of this name, or with this id, has saved anything of this pool",
        "`xenith snapshots` lists runs. One that has saved nothing left no trace: run it as at \
         first, with --run and selectors. Nothing was done",
    )
}

#[cfg(test)]
mod tests {
    use repo_format::id::SnapshotId;
    use repo_format::snapshot::{Consistency, Origin, Statistics};

    use super::*;

    fn snapshot(run: u8, run_name: &str, vm: &str, selection: &str) -> Snapshot {
        Snapshot {
            id: SnapshotId::from_bytes([run; 16]),
            time: u64::from(run),
            utc_offset: 0,
            run: RunId::from_bytes([run; 16]),
            run_name: run_name.to_owned(),
            host: String::new(),
            program: String::new(),
            tags: vec!["prod".to_owned()],
            origin: Origin {
                vm_uuid: Some(vm.to_owned()),
                selection: Some(selection.to_owned()).filter(|text| !text.is_empty()),
                ..Origin::default()
            },
            disks: Vec::new(),
            consistency: Consistency::Crash,
            statistics: Statistics::default(),
            predecessor: None,
        }
    }

    fn nights() -> Vec<Snapshot> {
        vec![
            snapshot(1, "nightly", "a", "all"),
            snapshot(0xab, "nightly", "a", "tag:prod"),
            snapshot(0xab, "nightly", "b", "vm:b"),
            snapshot(3, "nightly", "elsewhere", "all"),
            snapshot(4, "old", "a", ""),
        ]
    }

    #[track_caller]
    fn check(text: &str, expected: Option<(u8, &[&str])>) {
        let found = Earlier::find(&nights(), text, |uuid| ["a", "b", "c"].contains(&uuid));
        let found = found.ok().map(|run| (run.run, run.saved.into_iter().collect::<Vec<_>>()));
        let expected = expected.map(|(run, saved)| {
            (RunId::from_bytes([run; 16]), saved.iter().map(|vm| (*vm).to_owned()).collect())
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_newest_run_of_this_pool_is_meant() {
        check("nightly", Some((0xab, &["a", "b"])));
        check("abab", Some((0xab, &["a", "b"])));
        check("ABABAB", Some((0xab, &["a", "b"])));
        check("0101", Some((1, &["a"])));
        check("aba", None);
        check("0303", None);
        check("night", None);
        check("", None);
    }

    #[test]
    fn a_run_is_chosen_again_as_at_first() {
        let found = |text| Earlier::find(&nights(), text, |_| true).expect("it is there");
        let choice = found("abab").choice("abab").expect("it says so");
        assert_eq!((choice.text(), found("abab").tags), ("tag:prod".into(), vec!["prod".into()]));
        assert!(found("old").choice("old").is_err());
    }
}

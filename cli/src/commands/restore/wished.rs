//! What is wanted of a restore into a pool, from what was typed.

use repo_format::snapshot::Snapshot;
use xen_source::Macs;
use xen_source::xapi::destination::{After, Overwrite, Scope, Wish};

use crate::args::{DestinationArgs, ExtractArgs};
use crate::report::disk_order;

/// The wish of `extract` and `to` for this snapshot. `seed` is random.
pub fn wish(
    snapshot: &Snapshot,
    extract: &ExtractArgs,
    to: &DestinationArgs,
    force: bool,
    seed: [u8; 32],
) -> Wish {
    let disks = extract.disks.iter().chain(&to.chosen_disks);
    let disks: Vec<_> = disks.map(|typed| disk_name(snapshot, typed)).collect();
    let disk_srs = to.disk_srs.iter();
    Wish {
        name: extract.name.clone(),
        sr: to.sr.clone(),
        disk_srs: disk_srs.map(|(disk, sr)| (disk_name(snapshot, disk), sr.clone())).collect(),
        disks: (!disks.is_empty()).then_some(disks),
        scope: if to.disks_only { Scope::DisksOnly } else { Scope::Vm },
        networks: to.networks.clone(),
        macs: match (extract.new_mac, extract.keep_mac) {
            (true, _) => Some(Macs::Replace),
            (false, true) => Some(Macs::Keep),
            (false, false) => None,
        },
        keep_uuid: to.keep_uuid,
        overwrite: match (to.overwrite, to.destroy_old) {
            (false, _) => Overwrite::No,
            (true, false) => Overwrite::Keep,
            (true, true) => Overwrite::Destroy,
        },
        shutdown_first: to.shutdown_first,
        after: match to {
            DestinationArgs { start: true, .. } => After::Start,
            DestinationArgs { start_paused: true, .. } => After::StartPaused,
            DestinationArgs { keep_power_state: true, .. } => After::AsBefore,
            _ => After::Off,
        },
        force,
        verify: to.verify,
        ..Wish::new(seed)
    }
}

/// The disk that is meant, by a name or by its number among those of the snapshot.
fn disk_name(snapshot: &Snapshot, typed: &str) -> String {
    let is_name = snapshot.disks.iter().any(|disk| disk.name == typed);
    let numbered = || disk_order(snapshot).get(typed.parse::<usize>().ok()?).copied();
    match numbered().filter(|_| !is_name) {
        Some(place) => snapshot.disks[place].name.clone(),
        None => typed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use repo_format::id::{DiskId, RunId, SnapshotId};
    use repo_format::snapshot::{Consistency, DiskRole, Origin, SnapshotDisk, Statistics};

    use super::*;
    use crate::args::{Args, Command};

    fn disk(role: DiskRole, name: &str) -> SnapshotDisk {
        let id = DiskId::from_bytes([0; 32]);
        SnapshotDisk {
            role,
            name: name.to_owned(),
            key: String::new(),
            size_bytes: 1,
            id,
            version: None,
        }
    }

    /// As an export comes: its disks in any order, and a record before them.
    fn snapshot() -> Snapshot {
        Snapshot {
            id: SnapshotId::from_bytes([0; 16]),
            time: 0,
            utc_offset: 0,
            run: RunId::from_bytes([0; 16]),
            run_name: String::new(),
            host: String::new(),
            program: String::new(),
            tags: Vec::new(),
            origin: Origin::default(),
            disks: vec![
                disk(DiskRole::Record, "ova.xml"),
                disk(DiskRole::Disk, "xvdb"),
                disk(DiskRole::Disk, "xvda"),
            ],
            consistency: Consistency::Crash,
            statistics: Statistics::default(),
            predecessor: None,
        }
    }

    fn wished(typed: &str) -> Wish {
        let words = ["xenith", "restore", "a1c4", "--to-pool", "prod"];
        let words = words.into_iter().chain(typed.split_whitespace());
        match Args::try_parse_from(words).expect("it is typed well").command {
            Command::Restore(args) => {
                wish(&snapshot(), &args.extract, &args.to, args.force, [7; 32])
            }
            _ => panic!("it is a restore"),
        }
    }

    #[test]
    fn without_a_word_a_new_vm_stands_beside_the_old_one_and_is_off() {
        let wish = wished("");
        assert_eq!(
            (wish.overwrite, wish.after, wish.scope),
            (Overwrite::No, After::Off, Scope::Vm)
        );
        assert_eq!((wish.macs, wish.name, wish.sr, wish.disks), (None, None, None, None));
        assert!(!wish.force && !wish.verify && !wish.keep_uuid && !wish.shutdown_first);
        assert_eq!(wish.seed, [7; 32]);
    }

    #[test]
    fn disks_are_meant_by_name_or_number() {
        let disks = |typed| wished(typed).disks.unwrap_or_default().join(" ");
        assert_eq!(disks("--disks 0,xvdb"), "xvda xvdb");
        assert_eq!(disks("--disk 1"), "xvdb");
        assert_eq!(disks("--disks 7"), "7", "that there is none, the plan says");
        let srs = wished("--disk-sr 1=bulk --disk-sr xvda=fast").disk_srs;
        let pair = |disk: &str, sr: &str| (disk.to_owned(), sr.to_owned());
        assert_eq!(srs, [pair("xvdb", "bulk"), pair("xvda", "fast")]);
    }

    #[test]
    fn what_becomes_of_a_vm_is_what_was_typed() {
        let after = ["--start", "--start-paused", "--keep-power-state"].map(|it| wished(it).after);
        assert_eq!(after, [After::Start, After::StartPaused, After::AsBefore]);
        let old = ["--overwrite", "--overwrite --destroy-old"].map(|it| wished(it).overwrite);
        assert_eq!(old, [Overwrite::Keep, Overwrite::Destroy]);
        assert!(wished("--overwrite --shutdown-first").shutdown_first);
        assert_eq!(wished("--new-mac").macs, Some(Macs::Replace));
        assert_eq!(wished("--keep-mac").macs, Some(Macs::Keep));
        assert_eq!(wished("--disks-only").scope, Scope::DisksOnly);
        assert!(
            wished("--force").force && wished("--verify").verify && wished("--keep-uuid").keep_uuid
        );
    }
}

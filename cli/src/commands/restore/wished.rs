//! What is wanted of a restore into a pool, from what was typed.

use repo_format::snapshot::Snapshot;
use xen_source::Macs;
use xen_source::xapi::destination::{After, Overwrite, Scope, Wish, WishedForm};

use super::meant::Becomes;
use crate::advice::{Failure, refused};
use crate::args::{DestinationArgs, ExtractArgs, Format};
use crate::report::disk_order;

/// The wish of `extract` and `to` for this snapshot. `seed` is random.
///
/// # Errors
///
/// If it is about files.
pub fn wish(
    snapshot: &Snapshot,
    extract: &ExtractArgs,
    to: &DestinationArgs,
    force: bool,
    seed: [u8; 32],
) -> Result<Wish, Failure> {
    let disks = extract.disks.iter().chain(&to.chosen_disks);
    let disks: Vec<_> = disks.map(|typed| disk_name(snapshot, typed)).collect();
    let disk_srs = to.disk_srs.iter();
    Ok(Wish {
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
        form: form(extract)?,
        ..Wish::new(seed)
    })
}

/// The first argument that has no meaning for what the snapshot becomes.
pub fn idle(becomes: Becomes, extract: &ExtractArgs, to: &DestinationArgs) -> Option<&'static str> {
    let of_disks = [
        ("--name", extract.name.is_some()),
        ("--format", extract.format.is_some()),
        ("--disk", !extract.disks.is_empty()),
        ("--new-mac", extract.new_mac),
        ("--keep-mac", extract.keep_mac),
        ("--sr", to.sr.is_some()),
        ("--disk-sr", !to.disk_srs.is_empty()),
        ("--disks", !to.chosen_disks.is_empty()),
        ("--disks-only", to.disks_only),
        ("--network", !to.networks.is_empty()),
        ("--overwrite", to.overwrite),
        ("--start", to.start),
        ("--start-paused", to.start_paused),
        ("--keep-power-state", to.keep_power_state),
        ("--verify", to.verify),
    ];
    let of_vm = [("--keep-uuid", to.keep_uuid)];
    let of_record = [("--vdi", !to.vdis.is_empty())];
    let idle: Vec<_> = match becomes {
        Becomes::Vm => of_record.to_vec(),
        Becomes::Record => of_disks.to_vec(),
        Becomes::Database | Becomes::Host => [&of_disks[..], &of_vm[..], &of_record[..]].concat(),
    };
    idle.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
}

/// How disks are sent, if that was said.
fn form(extract: &ExtractArgs) -> Result<WishedForm, Failure> {
    match (extract.format, extract.checksum) {
        (None, None) => Ok(WishedForm::Auto),
        (Some(Format::Raw), None) => Ok(WishedForm::Raw),
        (Some(Format::Vhd), None) => Ok(WishedForm::Vhd),
        _ => refused(
            "cannot restore to a pool in a form of files",
            "a pool takes disks one by one as raw or vhd, and else an XVA with the checksums that \
             it knows",
            "use --format raw or --format vhd, or leave --format and --checksum out; nothing was \
             done",
        ),
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
    use repo_format::snapshot::DiskRole;

    use super::*;
    use crate::args::{Args, Command, RestoreArgs};
    use crate::selection::sample::{self, disk};

    /// As an export comes: its disks in any order, and a record before them.
    fn snapshot() -> Snapshot {
        let disks = vec![
            disk(DiskRole::Record, "ova.xml"),
            disk(DiskRole::Disk, "xvdb"),
            disk(DiskRole::Disk, "xvda"),
        ];
        Snapshot { disks, ..sample::snapshot(0) }
    }

    fn parsed(typed: &str) -> RestoreArgs {
        let words = ["xenith", "restore", "a1c4", "--to-pool", "prod"];
        let words = words.into_iter().chain(typed.split_whitespace());
        match Args::try_parse_from(words).expect("it is typed well").command {
            Command::Restore(args) => *args,
            _ => panic!("it is a restore"),
        }
    }

    fn wished(typed: &str) -> Wish {
        let args = parsed(typed);
        wish(&snapshot(), &args.extract, &args.to, args.force, [7; 32]).expect("a wish")
    }

    #[track_caller]
    fn check_idle(typed: &str, expected: [Option<&str>; 4]) {
        let args = parsed(typed);
        let all = [Becomes::Vm, Becomes::Record, Becomes::Database, Becomes::Host];
        assert_eq!(all.map(|it| idle(it, &args.extract, &args.to)), expected, "{typed}");
    }

    #[test]
    fn what_has_no_meaning_is_told() {
        check_idle("--force --dry-run --yes --allow-duplicate-uuid", [None; 4]);
        for flag in ["--name", "--sr", "--disks", "--disk", "--format"] {
            let value = if flag == "--format" { "raw" } else { "x" };
            check_idle(&format!("{flag} {value}"), [None, Some(flag), Some(flag), Some(flag)]);
        }
        for flag in ["--overwrite", "--start", "--verify", "--disks-only", "--new-mac"] {
            check_idle(flag, [None, Some(flag), Some(flag), Some(flag)]);
        }
        check_idle("--keep-uuid", [None, None, Some("--keep-uuid"), Some("--keep-uuid")]);
        check_idle("--vdi a=b", [Some("--vdi"), None, Some("--vdi"), Some("--vdi")]);
    }

    #[test]
    fn disks_go_in_the_form_that_was_said_if_a_pool_takes_it() {
        let rows = [
            ("", Some(WishedForm::Auto)),
            ("--format raw", Some(WishedForm::Raw)),
            ("--format vhd", Some(WishedForm::Vhd)),
            ("--format qcow2", None),
            ("--format xva", None),
            ("--checksum sha1", None),
        ];
        for (typed, expected) in rows {
            let args = parsed(typed);
            let wish = wish(&snapshot(), &args.extract, &args.to, args.force, [7; 32]);
            assert_eq!(wish.ok().map(|wish| wish.form), expected, "{typed}");
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

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
    let disks: Vec<_> = extract.disks.iter().chain(&to.chosen_disks).collect();
    let disks: Vec<_> = disks.into_iter().map(|typed| disk_name(snapshot, typed)).collect();
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

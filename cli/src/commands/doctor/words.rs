//! What findings mean: how bad they are, how they read, and what to do.

use std::time::Duration;

use serde::Serialize;
use xen_source::xapi::probe::Right;

use super::finding::{Finding, Level, MemberFact, StorageFact};
use crate::size::{self, plural};

/// A connection that takes longer points to a fault of the network: a lost packet is sent again
/// after one second, and then after three.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// What half of the connections may take.
const CONNECT_MEDIAN_MAX: Duration = Duration::from_millis(200);
/// Seconds that a clock may be wrong by.
const SKEW_MAX: i64 = 30;
/// Days that a certificate should last yet.
const DAYS_MIN: i64 = 30;
/// Percent of a storage repository that should be free.
const FREE_MIN: u64 = 10;
/// Snapshots of one disk; at about 30 hosts refuse another.
const CHAIN_MAX: usize = 20;
/// Names that are listed.
const NAMES_MAX: usize = 10;

/// A finding as it is told, and as JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Words {
    /// Which check it is of.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do; empty if it is as it should be.
    pub hint: String,
}

impl Words {
    fn ok(check: &'static str, message: String) -> Self {
        Self { check, level: Level::Ok, message, hint: String::new() }
    }

    fn warn(check: &'static str, message: String, hint: &str) -> Self {
        Self { check, level: Level::Warn, message, hint: hint.to_owned() }
    }

    fn fail(check: &'static str, message: String, hint: &str) -> Self {
        Self { check, level: Level::Fail, message, hint: hint.to_owned() }
    }
}

impl Finding {
    /// How it is told.
    pub fn words(&self) -> Words {
        match self {
            Self::Member { member, fact } => of_member(member, fact),
            Self::Login { user, pool, coordinator } => {
                Words::ok("login", format!("{user} at pool {pool}, led by {coordinator}"))
            }
            Self::Versions(versions) => of_versions(versions),
            Self::Right(right) => of_right(*right),
            Self::Storage { sr, fact } => of_storage(sr, fact),
            Self::DefaultStorage(Some(name)) => Words::ok("storage", format!("default: {name}")),
            Self::DefaultStorage(None) => Words::warn(
                "storage",
                "the pool has no default storage".to_owned(),
                "set one, or name the storage with every import (`xe pool-param-set default-SR=`)",
            ),
            Self::Chain { disk, snapshots } => of_chain(disk, *snapshots),
            Self::Leftovers { count, busy } => of_leftovers(*count, *busy),
            Self::Tracking { disks, able, enabled } => of_tracking(*disks, *able, *enabled),
            Self::Nbd { secure, insecure, ways } => of_nbd(secure, insecure, *ways),
            Self::Coverage { vms, missing, has_system } => of_coverage(*vms, missing, *has_system),
            Self::Failed { check, message, hint } => Words::fail(check, message.clone(), hint),
        }
    }
}

fn of_member(member: &str, fact: &MemberFact) -> Words {
    match fact {
        MemberFact::Nameless(cause) => Words::fail(
            "name",
            format!("{member}: {cause}"),
            "members send callers to each other by name: put it into DNS or /etc/hosts, or give \
             --host-map NAME=IP (host_map in the configuration)",
        ),
        MemberFact::Named(count) => {
            let places = if *count == 1 { "address" } else { "addresses" };
            Words::ok("name", format!("{member}: {count} {places}"))
        }
        MemberFact::Connects { times, failed } => of_connects(member, times, *failed),
        MemberFact::Trusted("") => Words::warn(
            "tls",
            format!("{member}: any certificate is trusted, so anybody can stand in for it"),
            "pin the members with --tls-fingerprint, or name their authority with --cacert",
        ),
        MemberFact::Trusted(how) => Words::ok("tls", format!("{member}: trusted by {how}")),
        MemberFact::Certificate(None) => {
            Words::ok("certificate", format!("{member}: its end is not known"))
        }
        MemberFact::Certificate(Some(days)) if *days < DAYS_MIN => Words::warn(
            "certificate",
            match days {
                0.. => format!("{member}: ends in {}", plural(days.unsigned_abs(), "day")),
                _ => format!("{member}: ended {} ago", plural(days.unsigned_abs(), "day")),
            },
            "renew it on the host in time; whoever pinned it must pin the new one",
        ),
        MemberFact::Certificate(Some(days)) => {
            Words::ok("certificate", format!("{member}: ends in {days} days"))
        }
        MemberFact::Clock(skew) if skew.abs() > SKEW_MAX => Words::warn(
            "clock",
            format!("{member}: {} s {}", skew.abs(), if *skew > 0 { "ahead" } else { "behind" }),
            "set the time by NTP on the host, or here; certificates and sessions depend on it",
        ),
        MemberFact::Clock(skew) => Words::ok("clock", format!("{member}: {skew:+} s")),
    }
}

fn of_connects(member: &str, times: &[Duration], failed: usize) -> Words {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let tries = times.len() + failed;
    let (Some(slowest), Some(median)) = (times.last(), times.get(times.len() / 2)) else {
        return Words::fail(
            "connect",
            format!("{member}: no connection comes up"),
            "check address, port and firewall, and whether the host runs",
        );
    };
    let shown = format!("median {}, slowest {}", millis(*median), millis(*slowest));
    let network = "look at the network: bonds whose ends disagree, duplex, a full switch, DNS";
    if failed > 0 {
        let message = format!("{member}: {failed} of {tries} did not come up; {shown}");
        Words::fail("connect", message, network)
    } else if *slowest > CONNECT_MAX || *median > CONNECT_MEDIAN_MAX {
        Words::warn("connect", format!("{member}: {tries} times, {shown}"), network)
    } else {
        Words::ok("connect", format!("{member}: {tries} times, {shown}"))
    }
}

fn of_versions(versions: &[String]) -> Words {
    match versions {
        [_, _, ..] => Words::warn(
            "version",
            format!("members differ: {}", versions.join("; ")),
            "finish the upgrade of the pool; some things are refused meanwhile",
        ),
        _ => Words::ok("version", versions.concat()),
    }
}

fn of_right(right: Right) -> Words {
    match right {
        Right::Look => Words::fail(
            "rights",
            "the user may look, and take no snapshot".to_owned(),
            "`backup` needs the role vm-power-admin, `cleanup` vm-admin, or a higher one",
        ),
        Right::Snapshot => Words::warn(
            "rights",
            "the user may back up VMs; not the pool's database and hosts".to_owned(),
            "--with-pool-db and host: need the role pool-admin",
        ),
        Right::Administer => Words::ok("rights", "the user may do everything".to_owned()),
    }
}

fn of_storage(sr: &str, fact: &StorageFact) -> Words {
    match fact {
        StorageFact::Space { free, size, needed } => {
            let percent = u128::from(*free) * 100 / u128::from(*size).max(1);
            let room = format!(
                "{sr}: {} of {} free ({percent} %)",
                size::bytes(*free),
                size::bytes(*size)
            );
            if free < needed {
                let message = format!("{room}; a snapshot may take {}", size::bytes(*needed));
                Words::warn("storage", message, "make room, or snapshots will be refused")
            } else if percent < u128::from(FREE_MIN) {
                Words::warn("storage", room, "make room: snapshots and running VMs need some")
            } else {
                Words::ok("storage", room)
            }
        }
        StorageFact::Detached { everywhere: true, disks, .. } => {
            let message = format!("{sr}: attached to no host, with {disks} disks of VMs");
            let hint = "attach it (`xe pbd-plug`), or forget it if it is gone";
            match disks {
                0 => Words::warn("storage", message, hint),
                _ => Words::fail("storage", message, hint),
            }
        }
        StorageFact::Detached { hosts, .. } => Words::warn(
            "storage",
            format!("{sr}: not attached to {}", hosts.join(", ")),
            "attach it (`xe pbd-plug`); transfers are led to the hosts that have it",
        ),
    }
}

fn of_chain(disk: &str, snapshots: usize) -> Words {
    let message = match snapshots {
        0 => "no disk has a snapshot".to_owned(),
        _ => format!("{disk} has {}", plural(snapshots as u64, "snapshot")),
    };
    match snapshots {
        ..=CHAIN_MAX => Words::ok("snapshots", message),
        _ => Words::warn(
            "snapshots",
            message,
            "remove old ones: at about 30 the host refuses another (SR_BACKEND_FAILURE_109)",
        ),
    }
}

fn of_leftovers(count: usize, busy: usize) -> Words {
    let idle = count.saturating_sub(busy);
    let shown = plural(idle as u64, "snapshot");
    match idle {
        0 => Words::ok("leftovers", "none".to_owned()),
        _ => Words::warn(
            "leftovers",
            format!("{shown} of a backup that was killed, or is just beginning"),
            "when no backup is at work, `xenith cleanup` removes them",
        ),
    }
}

fn of_tracking(disks: usize, able: Option<usize>, enabled: usize) -> Words {
    let able_text = able.map_or_else(
        || "; which storage can is not known".to_owned(),
        |able| format!("; the storage of {able} can"),
    );
    let message = format!("changes are tracked on {enabled} of {disks} disks{able_text}");
    match enabled < able.unwrap_or(disks) {
        false => Words::ok("cbt", message),
        true => Words::warn(
            "cbt",
            message,
            "without it every backup reads whole disks; `xe vdi-enable-cbt uuid=` switches it on \
             (XenServer: by licence)",
        ),
    }
}

fn of_nbd(secure: &[String], insecure: &[String], ways: Option<usize>) -> Words {
    let networks = [secure, insecure].concat().join(", ");
    match (secure, insecure, ways) {
        ([], [], _) => Words::warn(
            "nbd",
            "no network is for NBD".to_owned(),
            "blocks that changed can be read by NBD alone: `xe network-param-add uuid= \
             param-name=purpose param-key=nbd`",
        ),
        ([_, ..], [_, ..], _) => Words::fail(
            "nbd",
            format!("networks with TLS and without: {networks}"),
            "hosts serve neither then; take the purpose insecure_nbd away",
        ),
        (_, _, Some(0)) => Words::warn(
            "nbd",
            format!("{networks}: no host serves the first disk there"),
            "the hosts that have its storage need an address on that network",
        ),
        ([], [_, ..], _) => Words::warn(
            "nbd",
            format!("{networks}: without TLS"),
            "whoever listens sees the disks; take the purpose nbd instead",
        ),
        _ => Words::ok("nbd", format!("{networks}: with TLS")),
    }
}

fn of_coverage(vms: usize, missing: &[String], has_system: bool) -> Words {
    if missing.is_empty() {
        return Words::ok("coverage", format!("all {vms} VMs are in the repository"));
    }
    let mut names = missing.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if missing.len() > NAMES_MAX {
        names += &format!(" and {} more", missing.len() - NAMES_MAX);
    }
    let system = match has_system {
        true => "; the pool's database or hosts are there, which hold no disk of a VM",
        false => "",
    };
    let message = format!("{} of {vms} VMs were never backed up: {names}{system}", missing.len());
    Words::warn("coverage", message, "back them up, or be sure that nobody will miss them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(finding: Finding, level: Level, message: &str) {
        let words = finding.words();
        assert_eq!((words.level, &*words.message), (level, message));
        assert_eq!(words.hint.is_empty(), level == Level::Ok, "{words:?}");
    }

    fn connects(millis: &[u64], failed: usize) -> Finding {
        let times = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
        Finding::of_member("x", MemberFact::Connects { times, failed })
    }

    #[test]
    fn connections_are_judged_by_the_median_and_the_slowest() {
        let row = "x: 3 times, median 2.0 ms, slowest 3.0 ms";
        check(connects(&[1, 2, 3], 0), Level::Ok, row);
        let row = "x: 3 times, median 2.0 ms, slowest 3000.0 ms";
        check(connects(&[1, 2, 3000], 0), Level::Warn, row);
        let row = "x: 3 times, median 201.0 ms, slowest 202.0 ms";
        check(connects(&[1, 201, 202], 0), Level::Warn, row);
        let row = "x: 2 of 3 did not come up; median 1.0 ms, slowest 1.0 ms";
        check(connects(&[1], 2), Level::Fail, row);
        check(connects(&[], 2), Level::Fail, "x: no connection comes up");
    }

    #[test]
    fn members_are_judged_one_by_one() {
        let of = |fact| Finding::of_member("x", fact);
        check(of(MemberFact::Nameless("no".into())), Level::Fail, "x: no");
        check(of(MemberFact::Clock(30)), Level::Ok, "x: +30 s");
        check(of(MemberFact::Clock(-31)), Level::Warn, "x: 31 s behind");
        check(of(MemberFact::Certificate(Some(30))), Level::Ok, "x: ends in 30 days");
        check(of(MemberFact::Certificate(Some(29))), Level::Warn, "x: ends in 29 days");
        check(of(MemberFact::Certificate(Some(-1))), Level::Warn, "x: ended 1 day ago");
        let row = "x: any certificate is trusted, so anybody can stand in for it";
        check(of(MemberFact::Trusted("")), Level::Warn, row);
        let both = vec!["a".to_owned(), "b".to_owned()];
        check(Finding::Versions(both), Level::Warn, "members differ: a; b");
    }

    #[test]
    fn storage_is_judged_by_room_and_attachment() {
        let of = |fact| Finding::Storage { sr: "x".into(), fact };
        let space = |free, size, needed| of(StorageFact::Space { free, size, needed });
        check(space(10, 100, 0), Level::Ok, "x: 10 B of 100 B free (10 %)");
        check(space(9, 100, 0), Level::Warn, "x: 9 B of 100 B free (9 %)");
        let row = "x: 50 B of 100 B free (50 %); a snapshot may take 51 B";
        check(space(50, 100, 51), Level::Warn, row);
        let detached = |everywhere, disks| {
            of(StorageFact::Detached { hosts: vec!["h".into()], everywhere, disks })
        };
        check(detached(false, 3), Level::Warn, "x: not attached to h");
        check(detached(true, 0), Level::Warn, "x: attached to no host, with 0 disks of VMs");
        check(detached(true, 3), Level::Fail, "x: attached to no host, with 3 disks of VMs");
        check(Finding::DefaultStorage(None), Level::Warn, "the pool has no default storage");
        let chain = |snapshots| Finding::Chain { disk: "d".into(), snapshots };
        check(chain(20), Level::Ok, "d has 20 snapshots");
        check(chain(21), Level::Warn, "d has 21 snapshots");
        check(Finding::Leftovers { count: 1, busy: 1 }, Level::Ok, "none");
    }

    #[test]
    fn ways_to_read_less_are_judged_by_what_is_there() {
        let nbd = |secure: &[&str], insecure: &[&str], ways| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Finding::Nbd { secure: names(secure), insecure: names(insecure), ways }
        };
        check(nbd(&[], &[], None), Level::Warn, "no network is for NBD");
        check(nbd(&["a"], &[], Some(2)), Level::Ok, "a: with TLS");
        check(nbd(&["a"], &[], Some(0)), Level::Warn, "a: no host serves the first disk there");
        check(nbd(&[], &["b"], Some(2)), Level::Warn, "b: without TLS");
        check(nbd(&["a"], &["b"], Some(0)), Level::Fail, "networks with TLS and without: a, b");
        let cbt = |able, enabled| Finding::Tracking { disks: 3, able, enabled };
        let row = "changes are tracked on 2 of 3 disks; the storage of 2 can";
        check(cbt(Some(2), 2), Level::Ok, row);
        let row = "changes are tracked on 2 of 3 disks; which storage can is not known";
        check(cbt(None, 2), Level::Warn, row);
    }

    #[test]
    fn vms_that_nobody_backed_up_are_named() {
        let missing = |count: usize| (0..count).map(|number| format!("v{number}")).collect();
        let coverage =
            |count, has_system| Finding::Coverage { vms: 12, missing: missing(count), has_system };
        check(coverage(0, true), Level::Ok, "all 12 VMs are in the repository");
        let row = "1 of 12 VMs were never backed up: v0; the pool's database or hosts are there, \
                   which hold no disk of a VM";
        check(coverage(1, true), Level::Warn, row);
        let row =
            "11 of 12 VMs were never backed up: v0, v1, v2, v3, v4, v5, v6, v7, v8, v9 and 1 more";
        check(coverage(11, false), Level::Warn, row);
    }

    #[test]
    fn rights_are_judged_by_what_a_backup_needs() {
        for (right, level) in [
            (Right::Look, Level::Fail),
            (Right::Snapshot, Level::Warn),
            (Right::Administer, Level::Ok),
        ] {
            assert_eq!(Finding::Right(right).words().level, level);
        }
    }
}

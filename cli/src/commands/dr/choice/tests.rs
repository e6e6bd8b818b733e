//! Which snapshot of which VM is taken.

use repo_format::snapshot::Origin;

use super::*;
use crate::selection::sample;

/// `id time container uuid name`.
pub fn snapshot(row: &str) -> Snapshot {
    let [id, time, container, uuid, name] =
        <[&str; 5]>::try_from(row.split_whitespace().collect::<Vec<_>>()).expect("five words");
    let role = if container == "xva" { DiskRole::Record } else { DiskRole::File };
    let known = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
    Snapshot {
        time: time.parse().expect("a number"),
        origin: Origin {
            container: container.to_owned(),
            vm_uuid: known(uuid),
            vm_name: known(name),
            ..Origin::default()
        },
        disks: vec![sample::disk(role, "ova.xml")],
        ..sample::snapshot(id.parse().expect("a number"))
    }
}

#[track_caller]
fn check_newest(rows: &[&str], at: Option<u64>, expected: &[u8]) {
    let snapshots: Vec<_> = rows.iter().map(|row| snapshot(row)).collect();
    let vms = newest_first(&[&snapshots], Kind::Vm, at);
    let ids: Vec<u8> = vms.iter().map(|stored| stored[0].1.id.as_bytes()[0]).collect();
    assert_eq!(ids, expected, "{rows:?}, {at:?}");
}

#[test]
fn the_newest_whole_snapshot_of_each_vm_is_taken() {
    check_newest(&[], None, &[]);
    check_newest(&["1 10 xva u web", "2 20 xva u web", "3 15 xva v db"], None, &[3, 2]);
    // A VM that got another name is the same VM, and another of its name is another.
    check_newest(&["1 10 xva u old", "2 20 xva u web", "3 30 xva v old"], None, &[3, 2]);
    check_newest(&["1 10 xva - web", "2 20 xva - web"], None, &[2]);
}

#[test]
fn what_has_no_disks_or_no_record_brings_no_vm_back() {
    let rows = [
        "1 10 xva u web",
        "2 20 metadata u web",
        "3 30 raw u web",
        "4 40 pool-db p pool",
        "5 50 host h xs1",
    ];
    check_newest(&rows, None, &[1]);
}

#[test]
fn a_time_passes_over_what_is_newer() {
    let rows = ["1 10 xva u web", "2 20 xva u web", "3 30 xva v db"];
    check_newest(&rows, Some(20), &[2]);
    check_newest(&rows, Some(19), &[1]);
    check_newest(&rows, Some(9), &[]);
}

/// `expected`: of each VM the repository and the id of each snapshot, in the order in which they are tried.
#[track_caller]
fn check_by_vm(repositories: &[&[&str]], expected: &[&str]) {
    let repositories: Vec<Vec<_>> =
        repositories.iter().map(|rows| rows.iter().map(|row| snapshot(row)).collect()).collect();
    let borrowed: Vec<&[Snapshot]> = repositories.iter().map(|snapshots| &**snapshots).collect();
    let text = |(place, snapshot): &Stored<'_>| format!("{place}:{}", snapshot.id.as_bytes()[0]);
    let found: Vec<_> = newest_first(&borrowed, Kind::Vm, None)
        .iter()
        .map(|stored| stored.iter().map(text).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(found, expected, "{repositories:?}");
}

#[test]
fn the_newest_of_several_repositories_is_taken_and_the_others_stand_behind_it() {
    check_by_vm(&[&["1 10 xva u web"], &["2 20 xva u web"]], &["1:2 0:1"]);
    check_by_vm(&[&["1 30 xva u web"], &["2 20 xva u web", "3 9 xva v db"]], &["1:3", "0:1 1:2"]);
    // A copy stands behind its original, and before what is older.
    let copied = ["1 10 xva u web", "2 20 xva u web"];
    check_by_vm(&[&copied, &copied], &["0:2 1:2 0:1 1:1"]);
    check_by_vm(&[&["1 10 xva u web", "2 10 xva u web"], &[]], &["0:2 0:1"]);
    check_by_vm(&[&[], &[]], &[]);
}

fn facts(name: &str, tags: &[&str], app: &str) -> Facts {
    let app =
        Some((app.to_owned(), format!("OpaqueRef:{app}"))).filter(|(name, _)| !name.is_empty());
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Facts { name: name.to_owned(), uuid: format!("uuid-{name}"), tags, app }
}

fn all() -> [Facts; 3] {
    [
        facts("web01", &["prod", "web"], "shop"),
        facts("db01", &["prod"], "shop"),
        facts("lab", &[], ""),
    ]
}

fn parse(selectors: &str, apps: &str) -> Choice {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Choice::parse(&words(selectors), &words(apps)).expect("selectors")
}

#[track_caller]
fn check_chosen(selectors: &str, apps: &str, expected: &str) {
    let choice = parse(selectors, apps);
    let chosen: Vec<_> =
        all().into_iter().filter(|vm| choice.chooses(vm)).map(|vm| vm.name).collect();
    assert_eq!(chosen.join(" "), expected, "{selectors}, {apps}");
    assert!(choice.check(&all()).is_ok(), "{selectors}, {apps}");
}

#[test]
fn selectors_add_up_and_vapps_limit_them() {
    check_chosen("", "", "web01 db01 lab");
    check_chosen("all", "", "web01 db01 lab");
    check_chosen("tag:web vm:lab", "", "web01 lab");
    check_chosen("vm:UUID-db01", "", "db01");
    check_chosen("name:*01", "", "web01 db01");
    check_chosen("name~^l", "", "lab");
    check_chosen("", "shop", "web01 db01");
    check_chosen("", "OpaqueRef:shop", "web01 db01");
    check_chosen("tag:web vm:lab", "shop", "web01");
}

#[test]
fn what_chooses_nothing_is_refused() {
    for (selectors, apps) in
        [("vm:gone", ""), ("all tag:none", ""), ("", "mail"), ("", "shop mail")]
    {
        assert!(parse(selectors, apps).check(&all()).is_err(), "{selectors}, {apps}");
    }
    for text in ["web01", "power:running", "name~(", ""] {
        assert!(Choice::parse(&[text.to_owned()], &[]).is_err(), "{text}");
    }
}

#[test]
fn everything_has_its_turn_in_a_sample() {
    assert_eq!(sample(5, 2, 0), [0, 1]);
    assert_eq!(sample(5, 2, 1), [2, 3]);
    assert_eq!(sample(5, 2, 2), [0, 4]);
    assert_eq!(sample(2, 3, 7), [0, 1]);
    assert_eq!(sample(0, 3, 7), [0; 0]);
    for (all, count) in [(7, 3), (12, 5), (40, 1)] {
        let seen = (20_000..20_000 + all as u64).flat_map(|day| sample(all, count, day));
        let seen: std::collections::BTreeSet<usize> = seen.collect();
        assert_eq!(seen.len(), all, "{count} of {all}");
    }
}

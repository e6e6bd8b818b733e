//! What is chosen, line by line.

use xen_source::xapi::Disk;
use xen_source::xapi::objects::{Record, VdiRecord, VmRecord};
use xen_source::xapi::value::Value;

use super::*;

/// A record with these texts; `true` is a flag.
fn record<R: Record>(name: &str, fields: &[(&str, &str)]) -> R {
    let value = |text: &str| match text {
        "true" => Value::Bool(true),
        text => Value::from(text),
    };
    let mut all: Vec<(String, Value)> =
        fields.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    all.push(("uuid".to_owned(), Value::from(format!("uuid-of-{name}"))));
    all.push(("name_label".to_owned(), Value::from(name)));
    R::of(name, &Value::Struct(all.into_iter().collect())).expect("a record")
}

fn vm(name: &str, state: &str, tags: &[&str]) -> Vm {
    let mut record: VmRecord = record(name, &[("power_state", state)]);
    record.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Vm { record, disks: Vec::new() }
}

/// Disks called so, in this order.
fn vm_with_disks(names: &[&str]) -> Vm {
    let disk = |(place, name): (usize, &&str)| Disk {
        record: record::<VdiRecord>(name, &[]),
        userdevice: place.to_string(),
        sr: None,
    };
    Vm { disks: names.iter().enumerate().map(disk).collect(), ..vm("web", "Running", &[]) }
}

fn pool() -> (Vec<Vm>, Vec<HostRecord>) {
    let mut twin = vm("twin", "Halted", &[]);
    twin.record.uuid = "uuid-of-other-twin".to_owned();
    let mut template = vm("golden", "Halted", &["prod"]);
    template.record.is_a_template = true;
    let vms = vec![
        vm("db01", "Running", &["prod", "sql"]),
        template,
        twin,
        vm("twin", "Halted", &[]),
        vm("web01", "Halted", &["prod"]),
        vm("web02", "Running", &[]),
    ];
    (vms, ["xs1", "xs2"].map(|name| record(name, &[])).into())
}

/// As typed: the first words are selectors, flags come behind them.
fn choice(typed: &str) -> Choice {
    Choice::parse_text(typed).expect("a choice")
}

/// Names of what is chosen, and the selectors that choose nothing behind a `-`.
#[track_caller]
fn check(typed: &str, expected: &[&str]) {
    let (vms, hosts) = pool();
    let chosen = choice(typed).among(vms, hosts);
    let mut found: Vec<String> = chosen.vms.iter().map(|vm| vm.vm.record.name.clone()).collect();
    found.extend(chosen.database.then(|| "pool-db".to_owned()));
    found.extend(chosen.hosts.iter().map(|host| format!("host {}", host.name)));
    found.extend(chosen.missing.iter().map(|(selector, _)| format!("- {selector}")));
    assert_eq!(found, expected, "{typed}");
}

#[test]
fn selectors_add_up_and_states_and_exclusions_take_away() {
    check("all", &["db01", "twin", "twin", "web01", "web02"]);
    check("tag:prod", &["db01", "web01"]);
    check("tag:sql vm:web02", &["db01", "web02"]);
    check("name:web*", &["web01", "web02"]);
    check("'name~^(db|web)01$'", &["db01", "web01"]);
    check("power:running", &["db01", "web02"]);
    check("tag:prod power:running", &["db01"]);
    check("all power:running power:halted --exclude-tag=prod", &["twin", "twin", "web02"]);
    check("name:web* --exclude-vm=web01", &["web02"]);
    check("name:web* --exclude-vm=UUID-OF-WEB01", &["web02"]);
    check("vm:UUID-of-web01", &["web01"]);
}

#[test]
fn what_chooses_nothing_or_not_one_is_told() {
    check("vm:web03 vm:web01", &["web01", "- vm:web03"]);
    check("vm:twin", &["- vm:twin"]);
    check("name:twin", &["twin", "twin"]);
    check("vm:uuid-of-other-twin", &["twin"]);
    check("tag:none", &["- tag:none"]);
    check("tag:sql power:halted", &["- tag:sql"]);
    check("host:xs3 host:xs1", &["host xs1", "- host:xs3"]);
}

#[test]
fn templates_are_chosen_only_if_asked_for() {
    check("vm:golden", &["- vm:golden"]);
    check("vm:golden --include-templates", &["golden"]);
    check("tag:prod --include-templates", &["db01", "golden", "web01"]);
}

#[test]
fn the_database_and_hosts_come_alone_or_along() {
    check("pool-db", &["pool-db"]);
    check("host:xs2", &["host xs2"]);
    check("pool-db host:UUID-of-xs1", &["pool-db", "host xs1"]);
    check("tag:sql --with-pool-db", &["db01", "pool-db"]);
    check("power:running --with-pool-db", &["db01", "web02", "pool-db"]);
    check("tag:sql --with-hosts", &["db01", "host xs1", "host xs2"]);
    let everything =
        ["db01", "golden", "twin", "twin", "web01", "web02", "pool-db", "host xs1", "host xs2"];
    check("--everything", &everything);
    check(
        "--everything --exclude-vm=twin --exclude-tag=prod",
        &["web02", "pool-db", "host xs1", "host xs2"],
    );
}

/// Devices of the disks that are left out, and why.
#[track_caller]
fn check_disks(typed: &str, names: &[&str], expected: &[(usize, &str)]) {
    let chosen = choice(typed).among(vec![vm_with_disks(names)], Vec::new());
    let vm = &chosen.vms[0];
    let reasons = vm.left_out.iter().enumerate();
    let found: Vec<(usize, String)> =
        reasons.filter_map(|(place, reason)| Some((place, reason.as_ref()?.text()))).collect();
    let expected: Vec<(usize, String)> =
        expected.iter().map(|(place, text)| (*place, (*text).to_owned())).collect();
    assert_eq!(found, expected, "{typed}");
    let uuids: Vec<String> =
        expected.iter().map(|(place, _)| format!("uuid-of-{}", names[*place])).collect();
    assert_eq!(vm.left_out_uuids(), uuids);
}

#[test]
fn disks_are_left_out_by_device_uuid_name_or_mark() {
    let names = ["root", "swap", "scratch [nobak]"];
    let mark = (2, "[NOBAK] in its name");
    check_disks("all", &names, &[mark]);
    check_disks("all --ignore-nobak", &names, &[]);
    check_disks("all --exclude-disk=xvdb", &names, &[(1, "--exclude-disk xvdb"), mark]);
    check_disks(
        "all --exclude-disk=UUID-of-root",
        &names,
        &[(0, "--exclude-disk UUID-of-root"), mark],
    );
    check_disks("all --exclude-disk=swap", &names, &[(1, "--exclude-disk swap"), mark]);
    check_disks(
        "all --exclude-disk=name:s*",
        &names,
        &[(1, "--exclude-disk name:s*"), (2, "--exclude-disk name:s*")],
    );
    check_disks(
        "all --ignore-nobak '--exclude-disk=name~^s.a'",
        &["swap", "root"],
        &[(0, "--exclude-disk name~^s.a")],
    );
    check_disks("all --exclude-disk=xvdz", &names, &[mark]);
}

#[test]
fn a_vm_without_any_disk_left_is_chosen_nevertheless() {
    check_disks("all", &["a [NOBAK]"], &[(0, "[NOBAK] in its name")]);
    check_disks("all", &[], &[]);
}

#[test]
fn the_text_of_a_choice_chooses_the_same() {
    for text in [
        "all",
        "tag:prod power:running --exclude-tag=xo:no-bak --with-pool-db",
        "'vm:my web' 'name~^a b$' --exclude-vm=x --exclude-disk=xvdb '--exclude-disk=name:t*'",
        "--ignore-nobak --include-templates --metadata-only --with-pool-db --with-hosts --everything",
        "pool-db host:xs1",
        "",
    ] {
        assert_eq!(choice(text).text(), text);
    }
    assert!(choice("all --metadata-only").among(Vec::new(), Vec::new()).part == Part::Metadata);
}

#[test]
fn a_text_that_is_no_choice_is_refused() {
    for text in ["web01", "all --exclude-everything", "'all", "--exclude-tag"] {
        assert!(Choice::parse_text(text).is_err(), "{text}");
    }
}

//! What is read of a dump, however it is cut, and what is refused.

use super::*;

const DUMP: &str = r#"<?xml version="1.0" encoding="UTF-8"?><database><manifest>
<pair key="schema_major_vsn" value="5"/><pair key="schema_minor_vsn" value="790"/>
<pair key="generation_count" value="12"/></manifest>
<table name="PIF"><row ref="P1" host="H2" device="eth0" MAC="00:16:3e:00:00:01" physical="true" management="true"/>
<row ref="P2" host="H2" device="eth0" physical="false" management="false"/></table>
<table name="SR"><row ref="S" uuid="s-uuid" name__label="fast%.and%%cheap%_&lt;1&gt;" type="nfs" shared="true"/></table>
<table name="VM"><row ref="V1" uuid="v1" name__label="a > b" power__state="Suspended" appliance="A"/>
<row ref="V2" uuid="v2" is_a_snapshot="true"/><row ref="V3" uuid="v3" is_control_domain="true"/></table>
<table name="host"><row ref="H1" uuid="h1" name_label="b" address="10.0.0.1"/>
<row ref="H2" uuid="h2" name_label="c"/><row ref="H3" uuid="h3" name_label="a"/></table>
<table name="pool"><row ref="P" uuid="pool-uuid" name_label="lab" master="H2"/></table>
<table name="VM_appliance"><row ref="B" uuid="b" name__label="none"/>
<row ref="A" uuid="a" name__label="the%.shop" name__description="sells"/></table>
<table name="secret"><row ref="X" uuid="x" value="hunter2"/></table></database>"#;

fn read(text: &str, piece: usize) -> Result<PoolDump, DumpError> {
    let mut reader = DumpReader::default();
    for piece in text.as_bytes().chunks(piece) {
        reader.take(piece)?;
    }
    reader.end()
}

#[test]
fn a_dump_says_the_same_in_pieces_of_any_size() {
    let whole = read(DUMP, usize::MAX).expect("a dump");
    for piece in [1, 7, 64] {
        assert_eq!(read(DUMP, piece).expect("a dump"), whole);
    }
}

#[test]
fn what_a_restore_depends_on_is_found() {
    let dump = read(DUMP, 100).expect("a dump");
    assert_eq!((dump.schema, &*dump.uuid, &*dump.name), (Some((5, 790)), "pool-uuid", "lab"));
    let hosts: Vec<_> = dump.hosts.iter().map(|host| &*host.uuid).collect();
    assert_eq!(hosts, ["h2", "h3", "h1"], "the coordinator, and the others by name");
    let coordinator = dump.coordinator().expect("a coordinator");
    let cards: Vec<_> = dump.cards(coordinator).map(|card| &*card.device).collect();
    assert_eq!(cards, ["eth0"]);
    assert_eq!(dump.srs[0].name, "fast and%cheap  <1>");
    assert_eq!(dump.vms.len(), 1);
    assert!(dump.vms[0].is_suspended && dump.vms[0].name == "a > b", "{:?}", dump.vms);
    assert!(!format!("{dump:?}").contains("hunter2"), "secrets are passed over");
}

#[test]
fn vapps_are_found_with_their_vms() {
    let dump = read(DUMP, 100).expect("a dump");
    let told: Vec<_> =
        dump.vapps.iter().map(|it| (&*it.reference, &*it.name, &*it.description)).collect();
    assert_eq!(told, [("B", "none", ""), ("A", "the shop", "sells")]);
    let members: Vec<_> = dump.vapps[1].members.iter().collect();
    assert_eq!(members, ["v1"]);
    assert!(dump.vapps[0].members.is_empty());
}

#[track_caller]
fn check_refused(text: &str, part: &str) {
    let error = read(text, 50).expect_err("no dump");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn what_is_no_dump_of_a_pool_is_refused() {
    check_refused(&DUMP[..DUMP.len() - 1], "ends before its end");
    check_refused("", "ends before its end");
    check_refused("<database></database>", "names no pool");
    check_refused(&DUMP.replace("ref=\"H1\"", "ref=H1"), "malformed");
    let endless = format!("<database><row x=\"{}", "y".repeat(TAG_LEN_MAX + 1));
    check_refused(&endless, "too long");
}

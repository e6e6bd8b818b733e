//! Records in both encodings, and with fields that are wrong.

use super::*;
use crate::xapi::json;

#[test]
fn records_of_either_encoding_give_the_same() {
    let of_json = r#"{"uuid":"u","virtual_size":5,"is_a_snapshot":true,"VBDs":["a"],"new":{}}"#;
    let of_xml = r#"{"uuid":"u","virtual_size":"5","is_a_snapshot":true,"VBDs":["a"],
        "snapshot_of":"OpaqueRef:NULL","SR":""}"#;
    let record =
        |text: &str| VdiRecord::of("r", &json::parse_value(text.as_bytes()).expect("a record"));
    let found = record(of_json).expect("a disk");
    assert_eq!(
        (found.size_bytes, found.is_a_snapshot, found.snapshot_of.as_ref()),
        (5, true, None)
    );
    assert_eq!(found, record(of_xml).expect("a disk"));
}

#[test]
fn fields_of_wrong_kinds_are_taken_for_absent() {
    let text = r#"{"uuid":"u","tags":7,"other_config":["x"],"power_state":[],"VBDs":[1,"v"]}"#;
    let vm = VmRecord::of("r", &json::parse_value(text.as_bytes()).expect("a record"));
    let vm = vm.expect("a VM");
    assert_eq!((vm.tags.len(), vm.other_config.len(), vm.vbds), (0, 0, vec!["v".to_owned()]));
    assert_eq!(vm.power_state, PowerState::Other);
}

#[test]
fn a_record_without_uuid_is_none() {
    assert!(VmRecord::of("r", &Value::Nil).is_err());
    assert!(records::<VmRecord>(&Value::from("x")).is_err());
}

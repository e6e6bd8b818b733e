//! Metadata back into a pool: what is asked for, what is sent, and what is left alone.

use std::io::Write;

use serde_json::json;

use super::host::Host;
use super::maker::Archive;
use super::world::{Outcome, Shared, VM, connect};
use crate::xapi::import::{Identity, Import};
use crate::xapi::recovery::{self, RecordsOptions, Rehearsal, suspended};
use crate::xapi::{Pool, XapiError};
use crate::xva::ova::OvaXml;

const BODY: &[u8] = b"<?xml version=\"1.0\"?><database></database>";

fn world(outcome: Outcome) -> (Shared, Host, Pool) {
    let world = Shared::new();
    let host = world.host();
    world.get().outcome = outcome;
    let (pool, _) = connect(&[&host]).expect("a session");
    (world, host, pool)
}

fn send(import: Result<Import, XapiError>) -> Result<(), XapiError> {
    let mut import = import?;
    import.write_all(BODY).expect("it is taken");
    import.finish().map(drop)
}

#[track_caller]
fn check(begin: impl FnOnce(&Pool) -> Result<Import, XapiError>, path: &str) {
    let (world, _host, pool) = world(Outcome::Success);
    send(begin(&pool)).expect("a success");
    let world = world.get();
    assert_eq!(
        world.calls.iter().filter(|call| call.starts_with("PUT ")).collect::<Vec<_>>(),
        [path]
    );
    assert_eq!(world.uploaded.as_deref(), Some(BODY));
    assert_eq!(world.tasks.len(), 0, "tasks");
}

#[test]
fn each_goes_to_the_handler_that_gave_it_out() {
    let length = BODY.len() as u64;
    let dry = |pool: &Pool| recovery::database(pool, length, Rehearsal::Dry);
    check(dry, "PUT /pool/xmldbdump?dry_run=true");
    check(|pool| recovery::database(pool, length, Rehearsal::Real), "PUT /pool/xmldbdump");
    let host = |pool: &Pool| recovery::host(pool, &pool.hosts()?.remove(0), length);
    check(host, "PUT /host_restore");
}

#[test]
fn records_say_what_took_the_place_of_disks() {
    let records = |rehearsal, identity, vdis: &[(&str, &str)]| {
        let vdis = vdis.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
        let options = RecordsOptions { rehearsal, identity, vdis };
        move |pool: &Pool| recovery::records(pool, "web", BODY.len() as u64, &options)
    };
    check(records(Rehearsal::Real, Identity::New, &[]), "PUT /import_metadata");
    check(
        records(Rehearsal::Dry, Identity::Same, &[("a", "b"), ("c", "d")]),
        "PUT /import_metadata?dry_run=true&restore=true&vdi:a=b&vdi:c=d",
    );
}

#[test]
fn disks_of_a_snapshot_are_those_that_were_saved_in_the_order_of_the_archive() {
    let archive = Archive::sample();
    let record = OvaXml::parse(archive.record()).expect("a record");
    let mut keys: Vec<String> = archive.order().into_iter().map(Archive::vdi_uuid).collect();
    let pairs = |keys: &[String]| {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        recovery::snapshot_disks(&record, &keys)
    };
    assert_eq!(pairs(&keys), Some(vec![]), "they are the VM's own");
    let last = keys.pop().expect("a disk");
    assert_eq!(pairs(&keys), None);
    keys.push("live".to_owned());
    assert_eq!(pairs(&keys), Some(vec![(last, "live".to_owned())]));
}

#[test]
fn what_the_pool_thinks_of_a_database_is_its_task_to_say() {
    let (world, _host, pool) = world(Outcome::Failure("RESTORE_INCOMPATIBLE_VERSION"));
    let tried = recovery::database(&pool, BODY.len() as u64, Rehearsal::Dry);
    let error = send(tried).expect_err("a refusal");
    assert!(error.has_code("RESTORE_INCOMPATIBLE_VERSION"), "{error:?}");
    assert_eq!(world.get().tasks.len(), 0, "tasks");
}

#[test]
fn only_a_vm_without_memory_is_reset() {
    let (world, _host, pool) = world(Outcome::Success);
    assert_eq!(suspended::find(&pool).expect("a list").len(), 0, "it runs");
    world.get().change("VM", VM, "power_state", json!("Suspended"));
    world.get().change("VM", VM, "suspend_VDI", json!("OpaqueRef:vdi"));
    assert_eq!(suspended::find(&pool).expect("a list").len(), 0, "its memory is there");
    world.get().change("VDI", "OpaqueRef:vdi", "missing", json!(true));
    let found = suspended::find(&pool).expect("a list").remove(0);
    suspended::reset(&pool, &found).expect("a reset");
    assert_eq!(world.get().record("VM", VM)["power_state"], "Halted");
    let again = suspended::reset(&pool, &found).expect_err("it is none any more");
    assert!(matches!(again, XapiError::NoVm { .. }), "{again:?}");
    assert_eq!(world.get().has_called("VM.hard_shutdown"), 1);
}

//! Sessions: who is found, what is survived.

use std::net::TcpListener;
use std::time::Duration;

use super::host::{Host, Reply};
use super::world::{Pauses, Shared, connect, login, names, settings};
use crate::xapi::{Address, PowerState, XapiError, connect_with};

/// An address at which nobody listens.
fn nobody() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    Address::parse(&listener.local_addr().expect("an address").to_string()).expect("an address")
}

#[test]
fn vms_are_listed_in_both_encodings() {
    for speaks_json in [true, false] {
        let world = Shared::new();
        world.get().speaks_json = speaks_json;
        let host = world.host();
        let (pool, _) = connect(&[&host]).expect("a session");
        let vms = pool.vms().expect("VMs");
        let [vm] = &vms[..] else { panic!("one VM") };
        assert_eq!((vm.record.name.as_str(), vm.record.power_state), ("web", PowerState::Running));
        assert_eq!(vm.record.tags, ["prod"]);
        let [disk] = &vm.disks[..] else { panic!("one disk") };
        assert_eq!((disk.record.size_bytes, disk.userdevice.as_str()), (5_241_856, "0"));
        assert_eq!(disk.sr.as_ref().map(|sr| sr.name.as_str()), Some("local"));
        assert_eq!(pool.record().name, "lab");
    }
}

#[test]
fn a_session_is_logged_out_with_its_last_clone() {
    let world = Shared::new();
    let host = world.host();
    let (pool, _) = connect(&[&host]).expect("a session");
    let clone = pool.clone();
    drop(pool);
    assert_eq!(world.get().sessions.len(), 1);
    drop(clone);
    assert_eq!(world.get().sessions.len(), 0);
}

#[test]
fn any_member_leads_to_the_coordinator() {
    let world = Shared::new();
    let (coordinator, other) = (world.host(), world.host());
    let (pool, _) = connect(&[&other]).expect("a session");
    assert_eq!(pool.session().coordinator(), coordinator.address);
}

#[test]
fn members_that_do_not_answer_are_passed_over() {
    let world = Shared::new();
    let host = world.host();
    let login = login(vec![nobody(), host.address.clone()], "secret");
    connect_with(login, settings(), Box::new(Pauses::default())).expect("a session");
}

#[test]
fn a_wrong_password_is_tried_once() {
    let world = Shared::new();
    let (one, two) = (world.host(), world.host());
    let login = login(vec![one.address.clone(), two.address.clone()], "wrong");
    let error = connect_with(login, settings(), Box::new(Pauses::default())).expect_err("refused");
    assert!(error.has_code("SESSION_AUTHENTICATION_FAILED"), "{error}");
    assert_eq!(world.get().has_called("session.login"), 1);
    assert!(!format!("{error:?}").contains("wrong"));
}

#[test]
fn hosts_that_name_each_other_are_left() {
    let (one, two) = (Shared::new(), Shared::new());
    let (first, second) = (one.host(), two.host());
    one.get().coordinator = second.address.to_string();
    two.get().coordinator = first.address.to_string();
    let error = connect(&[&first]).expect_err("no coordinator");
    assert!(matches!(error, XapiError::NoCoordinator { .. }), "{error}");
}

#[test]
fn an_ended_session_is_renewed_once() {
    let world = Shared::new();
    let host = world.host();
    let (pool, _) = connect(&[&host]).expect("a session");
    world.get().sessions.clear();
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
    let twice = vec!["SESSION_INVALID", "x"];
    world.get().refusals =
        [("VM.get_all_records", twice.clone()), ("VM.get_all_records", twice)].into();
    assert!(names(&pool).expect_err("refused").has_code("SESSION_INVALID"));
}

#[test]
fn a_session_that_ends_inside_a_login_is_begun_again() {
    for method in ["pool.get_all_records", "host.get_all_records"] {
        let world = Shared::new();
        let host = world.host();
        let ended = (method, vec!["SESSION_INVALID", "x"]);
        world.get().refusals = [ended.clone()].into();
        let (pool, _) = connect(&[&host]).expect("a session");
        world.get().sessions.clear();
        world.get().refusals = [ended.clone()].into();
        assert_eq!(names(&pool).expect("VMs"), ["web"]);
        assert_eq!(world.get().sessions.len(), 1, "no session is forgotten");
        world.get().sessions.clear();
        world.get().refusals = [ended.clone(), ended].into();
        assert!(names(&pool).expect_err("refused").has_code("SESSION_INVALID"));
    }
}

#[test]
fn a_coordinator_that_changes_inside_a_login_is_followed() {
    let world = Shared::new();
    let host = world.host();
    let address: &'static str = host.address.to_string().leak();
    world.get().refusals = [("host.get_all_records", vec!["HOST_IS_SLAVE", address])].into();
    connect(&[&host]).expect("a session");
    let slave = ("pool.get_all_records", vec!["HOST_IS_SLAVE", address]);
    world.get().refusals = std::iter::repeat_n(slave, 3).collect();
    let error = connect(&[&host]).expect_err("no coordinator");
    assert!(matches!(error, XapiError::NoCoordinator { .. }), "{error}");
}

#[test]
fn a_new_coordinator_is_found_when_it_is_named() {
    let world = Shared::new();
    let (old, new) = (world.host(), world.host());
    let (pool, _) = connect(&[&old]).expect("a session");
    world.get().coordinator = new.address.to_string();
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
    assert_eq!(pool.session().coordinator(), new.address);
}

#[test]
fn a_new_coordinator_is_found_when_the_old_one_is_silent() {
    let world = Shared::new();
    let (old, new) = (world.host(), world.host());
    let (pool, pauses) = connect(&[&old]).expect("a session");
    // What was remembered as the coordinator is gone.
    let gone = nobody();
    pool.session().set_coordinator(gone);
    world.get().coordinator = new.address.to_string();
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
    assert_eq!(pool.session().coordinator(), new.address);
    assert_eq!(*pauses.0.lock().expect("a lock"), [Duration::from_secs(1); 3]);
}

#[test]
fn a_pool_that_is_choosing_its_coordinator_is_waited_for() {
    let world = Shared::new();
    let host = world.host();
    let (pool, pauses) = connect(&[&host]).expect("a session");
    world.get().sessions.clear();
    let booting = ("session.login_with_password", vec!["HOST_STILL_BOOTING"]);
    world.get().refusals = std::iter::repeat_n(booting, 3).collect();
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
    assert_eq!(*pauses.0.lock().expect("a lock"), [Duration::from_secs(1); 3]);
}

#[test]
fn a_member_that_was_ejected_is_not_taken_for_the_pool() {
    let (world, other) = (Shared::new(), Shared::new());
    let host = world.host();
    let (pool, _) = connect(&[&host]).expect("a session");
    other.get().pool_uuid = "another".to_owned();
    let ejected = other.host();
    pool.session().set_coordinator(ejected.address.clone());
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
    assert_eq!(pool.session().coordinator(), host.address);
    assert_eq!(other.get().sessions.len(), 0);
}

#[test]
fn a_busy_pool_is_waited_for() {
    let world = Shared::new();
    let host = world.host();
    let (pool, pauses) = connect(&[&host]).expect("a session");
    let busy = ("VM.get_all_records", vec!["TOO_MANY_PENDING_TASKS"]);
    world.get().refusals = std::iter::repeat_n(busy, 9).collect();
    assert_eq!(names(&pool).expect("VMs"), ["web"]);
    assert_eq!(*pauses.0.lock().expect("a lock"), [Duration::from_secs(5); 9]);
}

#[test]
fn refusals_that_no_try_helps_are_reported_at_once() {
    let world = Shared::new();
    let host = world.host();
    let (pool, pauses) = connect(&[&host]).expect("a session");
    world.get().refusals = [("VM.get_all_records", vec!["RBAC_PERMISSION_DENIED", "x"])].into();
    let error = names(&pool).expect_err("refused");
    assert_eq!(error.to_string(), "VM.get_all_records failed: RBAC_PERMISSION_DENIED(x)");
    assert!(pauses.0.lock().expect("a lock").is_empty());
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let deep = format!("{{\"result\":{}", "[".repeat(100_000));
    let wrong_type = r#"{"jsonrpc":"2.0","id":1,"result":{"session":["x"]}}"#.to_owned();
    let injected = r#"{"jsonrpc":"2.0","id":1,"result":"x\r\nHost: y"}"#.to_owned();
    for body in [String::new(), "<html>".into(), deep, wrong_type, injected, "\u{0}".into()] {
        let host = Host::start(move |_| Reply::http("200 OK", "", body.as_bytes()));
        let error = connect(&[&host]).expect_err("nonsense");
        assert!(matches!(error, XapiError::Answer { .. } | XapiError::Record { .. }), "{error:?}");
    }
}

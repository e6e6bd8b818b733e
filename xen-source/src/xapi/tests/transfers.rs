//! Transfers: what ends well, what is noticed, and that no task stays.

use std::io::{Read, Write};
use std::time::Duration;

use super::host::Host;
use super::world::{Outcome, Pauses, Shared, VM, connect, login, settings};
use crate::xapi::export::{self, Compression, Memory, VdiFormat};
use crate::xapi::import::{self, Identity};
use crate::xapi::request::Request;
use crate::xapi::upload::PutAnswer;
use crate::xapi::{Address, Pool, Settings, XapiError, connect_with};

/// Exports the VM of a world and reads it to its end.
fn read_vm(pool: &Pool) -> Result<Vec<u8>, String> {
    let session = pool.session();
    let download = export::vm(session, "web", VM, Compression::Off, Memory::Leave);
    let mut bytes = Vec::new();
    let mut download = download.map_err(|error| error.to_string())?;
    download.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn world_of(bytes: &[u8], outcome: Outcome) -> (Shared, Host, Pool) {
    let world = Shared::new();
    let host = world.host();
    (world.get().export, world.get().outcome) = (bytes.to_vec(), outcome);
    let (pool, _) = connect(&[&host]).expect("a session");
    (world, host, pool)
}

#[track_caller]
fn check(outcome: Outcome, expected: Result<&str, &str>) {
    let (world, _host, pool) = world_of(b"disks", outcome);
    let found = read_vm(&pool);
    let expected = expected.map(|bytes| bytes.as_bytes().to_vec()).map_err(str::to_owned);
    match (found, expected) {
        (Err(found), Err(expected)) => assert!(found.contains(&expected), "{found}"),
        (found, expected) => assert_eq!(found, expected),
    }
    assert_eq!(world.get().tasks.len(), 0, "tasks stay");
}

#[test]
fn a_stream_is_whole_when_its_task_says_so() {
    check(Outcome::Success, Ok("disks"));
}

#[test]
fn a_task_that_failed_is_an_error_although_the_stream_ended() {
    check(Outcome::Failure("VDI_IO_ERROR"), Err("export of web failed: VDI_IO_ERROR(why)"));
}

#[test]
fn a_lost_task_leaves_it_to_the_form_of_the_stream() {
    check(Outcome::Lost, Ok("disks"));
}

#[test]
fn a_stream_that_breaks_is_an_error() {
    check(Outcome::Broken, Err("export of web broke off after 5 bytes"));
}

#[test]
fn a_refusal_says_why_and_ends_the_task() {
    let page = "<html><h1> Additional information </h1>UUID_INVALID: [ VM; x ]</html>";
    let expected = "answered 500 to /export: UUID_INVALID: [ VM; x ]";
    check(Outcome::Refusal("500 Internal Error", page), Err(expected));
    check(Outcome::Refusal("403 Forbidden", ""), Err("answered 403 to /export"));
}

#[test]
fn redirections_leave_the_pool_never() {
    let place = "203.0.113.7:1".to_owned();
    check(Outcome::Elsewhere(place), Err("which is not followed"));
}

#[test]
fn redirections_to_members_are_followed() {
    let (world, _host, pool) = world_of(b"disks", Outcome::Success);
    let other = world.host();
    world.get().outcome = Outcome::Elsewhere(other.address.to_string());
    assert_eq!(read_vm(&pool).as_deref(), Ok(&b"disks"[..]));
    let asked = format!("GET /export?ref={VM}&use_compression=false at {}", other.address);
    assert_eq!(world.get().has_called(&asked), 1);
}

#[test]
fn an_error_page_at_the_end_counts_when_the_task_is_lost() {
    let page = b"disksHTTP/1.1 500 Internal Error\r\n\r\n<html>SR_FULL</html>";
    let (_world, _host, pool) = world_of(page, Outcome::Lost);
    let error = read_vm(&pool).expect_err("a page");
    assert!(error.contains("500 Internal Error SR_FULL"), "{error}");
}

#[test]
fn raw_disks_have_to_be_long_enough() {
    for (size_bytes, is_whole) in [(5, true), (4, true), (6, false)] {
        let (_world, _host, pool) = world_of(b"disks", Outcome::Lost);
        let (session, format) = (pool.session(), VdiFormat::Raw);
        let disk = export::vdi(session, "x", "OpaqueRef:vdi", format, None, size_bytes);
        let read = disk.expect("a stream").read_to_end(&mut Vec::new());
        assert_eq!(read.is_ok(), is_whole, "{size_bytes}");
    }
}

#[test]
fn databases_need_their_task() {
    let (world, _host, pool) = world_of(b"<database/>", Outcome::Success);
    let read = |pool: &Pool| pool.database().expect("a stream").read_to_end(&mut Vec::new());
    assert!(read(&pool).is_ok());
    world.get().outcome = Outcome::Lost;
    assert!(read(&pool).is_err());
}

#[test]
fn silence_is_an_error_only_when_it_has_a_limit() {
    let world = Shared::new();
    let host = world.host();
    (world.get().export, world.get().outcome) = (b"disks".to_vec(), Outcome::Silence);
    let stall_timeout = Some(Duration::from_millis(300));
    let settings = Settings { stall_timeout, ..settings() };
    let login = login(vec![host.address.clone()], "secret");
    let pool = connect_with(login, settings, Box::new(Pauses::default())).expect("a session");
    let error = read_vm(&pool).expect_err("silence");
    assert!(error.contains("broke off after 5 bytes"), "{error}");
    assert_eq!(world.get().has_called("task.cancel"), 1);
    assert_eq!(world.get().tasks.len(), 0);
}

#[test]
fn a_stream_that_is_dropped_ends_its_task() {
    let (world, _host, pool) = world_of(b"disks", Outcome::Silence);
    let session = pool.session();
    let download = export::vm(session, "web", VM, Compression::Off, Memory::Leave);
    drop(download.expect("a stream"));
    assert_eq!(world.get().has_called("task.cancel"), 1);
    assert_eq!(world.get().tasks.len(), 0);
}

#[test]
fn a_session_that_ended_before_a_transfer_is_renewed() {
    let (world, _host, pool) = world_of(b"disks", Outcome::Success);
    world.get().sessions.clear();
    assert_eq!(read_vm(&pool).as_deref(), Ok(&b"disks"[..]));
    world.get().refusals = [("GET", vec![])].into();
    assert_eq!(read_vm(&pool).as_deref(), Ok(&b"disks"[..]));
    assert_eq!(world.get().has_called("session.login"), 3);
    assert_eq!(world.get().tasks.len(), 0);
}

#[test]
fn tasks_are_tidied_up_under_a_new_coordinator() {
    let (world, _host, pool) = world_of(b"disks", Outcome::Silence);
    let new = world.host();
    let session = pool.session();
    let download = export::vm(session, "web", VM, Compression::Off, Memory::Leave);
    let download = download.expect("a stream");
    world.get().coordinator = new.address.to_string();
    world.get().sessions.clear();
    drop(download);
    assert_eq!(world.get().tasks.len(), 0);
}

fn put(pool: &Pool, address: &Address) -> Result<PutAnswer, XapiError> {
    let cookie = pool.session().cookie("OpaqueRef:task");
    let request = Request { address, path_and_query: "/import?sr_uuid=x", cookie: &cookie };
    pool.session().transport().put(&request, Some(5))
}

#[test]
fn uploads_are_answered_before_they_send() {
    let (world, host, pool) = world_of(b"", Outcome::Success);
    let Ok(PutAnswer::Ready(mut upload)) = put(&pool, &host.address) else {
        panic!("the host is ready");
    };
    upload.write_all(b"disks").expect("a socket");
    upload.finish().expect("a socket");
    let mut looks = 0;
    while world.get().uploaded.is_none() && looks < 500 {
        std::thread::sleep(Duration::from_millis(10));
        looks += 1;
    }
    assert_eq!(world.get().uploaded.as_deref(), Some(&b"disks"[..]));
}

#[test]
fn uploads_learn_of_redirections_and_refusals_before_they_send() {
    let (world, host, pool) = world_of(b"", Outcome::Elsewhere("10.0.0.2".into()));
    let Ok(PutAnswer::Elsewhere(location)) = put(&pool, &host.address) else {
        panic!("it is elsewhere");
    };
    assert_eq!(location, "https://10.0.0.2/import?sr_uuid=x");
    world.get().outcome = Outcome::Refusal("403 Forbidden", "no");
    let Err(error) = put(&pool, &host.address) else { panic!("it is refused") };
    assert!(matches!(error, XapiError::Status { status: 403, .. }), "{error}");
}

#[test]
fn an_import_is_what_its_task_says() {
    let (world, _host, pool) = world_of(b"", Outcome::Success);
    let import = import::vm(pool.session(), "web", Some("sr-uuid"), Identity::New);
    let mut import = import.expect("the host is ready");
    import.write_all(b"disks").expect("a socket");
    let result = import.finish().expect("it is in");
    assert_eq!(result.items().first().and_then(|vm| vm.text()), Some("OpaqueRef:new"));
    assert_eq!(world.get().uploaded.as_deref(), Some(&b"disks"[..]));
    assert_eq!(world.get().has_called("PUT /import?sr_uuid=sr-uuid"), 1);

    world.get().outcome = Outcome::Failure("SR_FULL");
    let import = import::vm(pool.session(), "web", None, Identity::Same);
    let mut import = import.expect("the host is ready");
    import.write_all(b"disks").expect("a socket");
    assert!(import.finish().expect_err("it is full").has_code("SR_FULL"));
    assert_eq!(world.get().has_called("PUT /import?restore=true"), 1);
    assert_eq!(world.get().tasks.len(), 0);
}

#[test]
fn a_host_that_stops_reading_has_enough_or_failed() {
    for (outcome, is_good) in [(Outcome::Enough, true), (Outcome::TooMuch, false)] {
        let (world, _host, pool) = world_of(b"", outcome);
        let import = import::vhd(pool.session(), "x", "OpaqueRef:vdi", 1 << 30);
        let mut import = import.expect("the host is ready");
        let sent = (0..10_000).try_for_each(|_| import.write_all(&[0; 1 << 16]));
        let result = sent
            .map_err(|error| error.to_string())
            .and_then(|()| import.finish().map(drop).map_err(|error| error.to_string()));
        match result {
            Ok(()) => assert!(is_good),
            Err(error) => assert!(!is_good && error.contains("VDI_IO_ERROR"), "{error}"),
        }
        assert_eq!(world.get().tasks.len(), 0);
    }
}

//! NBD against a small host: greetings, reads, and what becomes of both when the host is bad.

#![allow(clippy::single_range_in_vec_init, reason = "some tests read one range only")]

pub mod server;
mod tls;

use std::error::Error;
use std::net::TcpListener;
use std::ops::Range;
use std::time::Duration;

use server::{Fault, OnTls, SESSION, Script, Server, UUID, disk, export, in_clear, option_reply};

use super::{NbdDisk, NbdInfo};
use crate::xapi::value::Value;
use crate::xapi::{DataChannel, Settings, XapiError};

const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// What the reader of messages sees.
fn words(error: &XapiError) -> String {
    let mut words = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(" {error}"));
        cause = error.source();
    }
    words
}

fn read(disk: &mut NbdDisk, ranges: &[Range<usize>]) -> Result<Vec<Vec<u8>>, XapiError> {
    for range in ranges {
        disk.ask(range.start as u64, range.len())?;
    }
    let take = |range: &Range<usize>| {
        let mut buffer = vec![0; range.len()];
        disk.take(&mut buffer).map(|()| buffer)
    };
    ranges.iter().map(take).collect()
}

/// Reads `ranges` from a host that follows `script`.
#[track_caller]
fn check_read(script: Script, ranges: &[Range<usize>], pauses_due: usize) -> Server {
    let content = script.disk.clone();
    let server = Server::start(script);
    let (mut disk, pauses) = server.connect().expect("a disk");
    let found = read(&mut disk, ranges).expect("data");
    for (range, found) in ranges.iter().zip(found) {
        assert!(found == content[range.clone()], "{range:?} is wrong");
    }
    assert_eq!(pauses.made(), vec![SECOND / 20; pauses_due]);
    assert_eq!(disk.asked(), 0);
    server
}

/// Reads the first 4 MiB and meets an error.
#[track_caller]
fn failure_of_read(faults: impl IntoIterator<Item = (usize, Fault)>) -> (XapiError, usize) {
    let mut script = Script::new(disk(4 * MIB));
    script.faults = faults.into_iter().collect();
    let server = Server::start(script);
    let (mut disk, pauses) = server.connect().expect("a disk");
    let error = read(&mut disk, &[0..4 * MIB]).expect_err("a bad host");
    assert_eq!(disk.asked(), 4 * MIB);
    (error, pauses.made().len())
}

#[test]
fn ranges_come_in_the_order_in_which_they_were_asked_for() {
    let ranges = [4 * MIB..8 * MIB, 0..4 * MIB, 3..3, 511..1025, 8 * MIB - 1..8 * MIB, 7..8];
    let server = check_read(Script::new(disk(8 * MIB)), &ranges, 0);
    assert_eq!(server.script().names, [format!("/{UUID}?session_id={SESSION}")]);
    let whole = |(offset, len): &(u64, u32)| offset.is_multiple_of(512) && len.is_multiple_of(512);
    assert!(server.script().reads.iter().all(whole));
    assert_eq!(server.script().reads.len(), 2 + 2 + 1 + 1 + 1);
}

#[test]
fn requests_go_out_before_answers_are_taken() {
    let script = Script { gather: 6, ..Script::new(disk(12 * MIB)) };
    let server = Server::start(script);
    let (mut disk, _) = server.connect().expect("a disk");
    for segment in 0..3 {
        disk.ask(segment * 4 * MIB as u64, 4 * MIB).expect("a good range");
    }
    assert_eq!(disk.asked(), 12 * MIB);
    disk.take(&mut vec![0; 4 * MIB]).expect("an answer after six requests");
    assert_eq!((disk.asked(), disk.bytes_read()), (8 * MIB, 4 << 20));
}

/// Their requests alone would fill the buffers on the way.
#[test]
fn very_many_ranges_may_be_asked_for() {
    let ranges: Vec<_> = (0..100_000).map(|at| at % 512..at % 512 + 1).collect();
    check_read(Script::new(disk(1024)), &ranges, 0);
}

#[test]
fn a_lost_connection_is_made_again_and_what_was_not_taken_is_asked_for_again() {
    let ranges = [0..4 * MIB, 4 * MIB..8 * MIB, 1..2];
    for read in 0..5 {
        let mut script = Script::new(disk(8 * MIB));
        script.faults.insert(read, Fault::HangUp);
        check_read(script, &ranges, 1);
    }
}

#[test]
fn a_host_may_fail_often_if_data_comes_in_between() {
    let mut script = Script::new(disk(16 * MIB));
    script.faults = (0..12).map(|read| (2 * read, Fault::HangUp)).collect();
    check_read(script, &[0..16 * MIB], 8);
}

#[test]
fn a_host_that_gives_nothing_is_given_up_after_five_connections() {
    let (error, pauses) = failure_of_read((0..100).map(|read| (read, Fault::HangUp)));
    assert!(matches!(error, XapiError::Stream { bytes: 0, .. }), "{error:?}");
    assert_eq!(pauses, 5);
}

#[test]
fn a_range_can_be_taken_again_after_a_failure() {
    let mut script = Script::new(disk(4 * MIB));
    script.faults = (1..7).map(|read| (read, Fault::HangUp)).collect();
    let content = script.disk.clone();
    let server = Server::start(script);
    let (mut disk, _) = server.connect().expect("a disk");
    let mut buffer = vec![0; 4 * MIB];
    disk.ask(0, buffer.len()).expect("a good range");
    disk.take(&mut buffer).expect_err("six connections without data");
    disk.take(&mut buffer).expect("data");
    assert!(buffer == content);
}

#[test]
fn silence_counts_as_a_lost_connection() {
    let mut script = Script::new(disk(MIB));
    script.faults.insert(0, Fault::Silence);
    let server = Server::start(script);
    let settings = Settings { stall_timeout: Some(SECOND / 10), ..in_clear() };
    let pauses = server::Pauses::default();
    let disk = NbdDisk::connect_with(&[server.info()], &settings, Box::new(pauses.clone()));
    read(&mut disk.expect("a disk"), &[0..MIB]).expect("data");
    assert_eq!(pauses.made(), [SECOND / 20]);
}

#[test]
fn a_read_that_is_refused_is_not_asked_for_again() {
    for code in [5, 22] {
        let (error, pauses) = failure_of_read([(1, Fault::Refuse(code))]);
        let XapiError::NbdRead { vdi, offset: 0x20_0000, code: found, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((&*vdi, found, pauses), (UUID, code, 0));
    }
}

#[test]
fn answers_that_make_no_sense_are_an_error() {
    for fault in [Fault::Magic, Fault::Cookie] {
        let (error, pauses) = failure_of_read([(1, fault)]);
        assert!(matches!(error, XapiError::Answer { .. }), "{error:?}");
        assert_eq!(pauses, 0);
    }
}

#[test]
fn a_disk_that_changes_its_size_is_another_disk() {
    let (error, _) = failure_of_read([(1, Fault::Resize)]);
    assert!(matches!(error, XapiError::Length { found: 512, .. }), "{error:?}");
}

#[test]
fn what_cannot_be_asked_for_is_not_asked_for() {
    let server = Server::start(Script::new(disk(2 * MIB)));
    let (mut disk, _) = server.connect().expect("a disk");
    assert_eq!(disk.size_bytes(), 2 << 20);
    for (offset, len) in [(1, 2 * MIB), (2 << 20, 1), (u64::MAX, 2)] {
        let error = disk.ask(offset, len).expect_err("beyond the end");
        assert!(matches!(error, XapiError::Length { found: 0x20_0000, .. }), "{error:?}");
    }
    for _time in 0..128 {
        disk.ask(0, 2 * MIB).expect("less than 256 MiB");
    }
    assert!(matches!(disk.ask(0, 1), Err(XapiError::Stream { .. })));
    let wrong = disk.take(&mut [0; 100]);
    assert!(matches!(wrong, Err(XapiError::Length { found: 0x20_0000, expected: 100, .. })));
}

#[test]
fn a_host_is_left_with_a_word() {
    let server = check_read(Script::new(disk(512)), &[0..512], 0);
    for _look in 0..500 {
        if server.script().leaves > 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it was not");
}

#[test]
fn in_the_clear_only_if_that_is_wanted() {
    let server = Server::start(Script::new(disk(512)));
    let settings = Settings { data: DataChannel::Tls, ..in_clear() };
    let error = NbdDisk::connect(&[server.info()], &settings).expect_err("not wanted");
    assert!(matches!(&error, XapiError::NbdClear { vdi, .. } if vdi == UUID), "{error:?}");
    assert_eq!(server.script().names.len(), 0, "the session was sent");
}

/// Connects to a bad host.
#[track_caller]
fn failure_of(change: impl FnOnce(&mut Script)) -> XapiError {
    let mut script = Script::new(disk(512));
    change(&mut script);
    let error = Server::start(script).connect().err().expect("a bad host");
    assert!(!words(&error).contains(SESSION), "the session is in the message");
    error
}

#[test]
fn greetings_that_make_no_sense_are_an_error() {
    let bad: [fn(&mut Script); 8] = [
        |script| script.greeting = b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
        |script| script.greeting = b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0".to_vec(),
        |script| script.greeting = b"NBDMAGICIHAVEOPT\0\x02".to_vec(),
        |script| script.on_tls = OnTls::Say(option_reply(1, 1, 0)),
        |script| script.on_tls = OnTls::Say(option_reply(5, 1, 9)),
        |script| script.on_tls = OnTls::Say(option_reply(5, 0x8000_0001, u32::MAX)),
        |script| script.export = Some(export(512, 0)),
        |script| script.export = Some(export(u64::MAX, 3)),
    ];
    for (number, change) in bad.into_iter().enumerate() {
        let error = failure_of(change);
        assert!(matches!(error, XapiError::Answer { .. }), "{number}: {error:?}");
    }
}

#[test]
fn a_host_that_hangs_up_refuses_wherever_it_does() {
    let error = failure_of(|script| script.export = None);
    assert!(words(&error).contains(UUID));
    let greetings = 18 + 20 + 6 + 134;
    for cut in [0, 1, 17, 18, 37, 38, 43, 44, 45, greetings - 1] {
        let error = failure_of(|script| script.cut = Some(cut));
        assert!(matches!(error, XapiError::NbdRefused { .. }), "{cut}: {error:?}");
    }
}

#[test]
fn the_first_host_that_gives_out_the_disk_is_taken() {
    let away = Server::start(Script { export: None, ..Script::new(Vec::new()) });
    let server = Server::start(Script::new(disk(512)));
    let nobody = NbdInfo { port: 1, ..server.info() };
    let infos = [nobody.clone(), away.info(), server.info()];
    let disk = NbdDisk::connect(&infos, &in_clear()).expect("the third");
    assert_eq!(disk.size_bytes(), 512);
    let error = NbdDisk::connect(&[nobody], &in_clear()).expect_err("nobody listens");
    assert!(matches!(error, XapiError::Unreachable { .. }), "{error:?}");
    assert!(matches!(NbdDisk::connect(&[], &in_clear()), Err(XapiError::NbdAbsent)));
}

/// A host that lets us in, and says nothing.
fn silent_host(of: &Server) -> (TcpListener, NbdInfo) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, NbdInfo { port, ..of.info() })
}

#[test]
fn one_silent_host_is_passed_over_and_behind_two_nobody_is_asked() {
    let server = Server::start(Script::new(disk(512)));
    let (_first, first) = silent_host(&server);
    let (_second, second) = silent_host(&server);
    let settings = Settings { connect_timeout: SECOND / 10, ..in_clear() };
    let disk = NbdDisk::connect(&[first.clone(), server.info()], &settings).expect("the second");
    assert_eq!(disk.size_bytes(), 512);
    let before = server.script().names.len();
    let error = NbdDisk::connect(&[first, second, server.info()], &settings).expect_err("silence");
    assert!(matches!(error, XapiError::NbdRefused { .. }), "{error:?}");
    assert_eq!(server.script().names.len(), before);
}

#[test]
fn a_host_that_has_become_silent_is_not_tried_again() {
    let mut script = Script::new(disk(MIB));
    script.faults.insert(0, Fault::HangUp);
    let server = Server::start(script);
    let (_listener, silent) = silent_host(&server);
    let settings = Settings { connect_timeout: SECOND / 10, ..in_clear() };
    let pauses = server::Pauses::default();
    let disk = NbdDisk::connect_with(&[server.info()], &settings, Box::new(pauses.clone()));
    let mut disk = disk.expect("a disk");
    disk.infos = vec![silent];
    read(&mut disk, &[0..MIB]).expect_err("silence");
    assert_eq!(pauses.made(), [SECOND / 20]);
}

fn entry(leave_out: &str, port: Value) -> Value {
    let name = format!("/{UUID}?session_id={SESSION}");
    let texts = [("exportname", &*name), ("address", "10.0.0.1"), ("cert", ""), ("subject", "x")];
    let members = texts.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text)));
    let members = members.chain([("port".to_owned(), port)]);
    Value::Struct(members.filter(|(key, _)| key != leave_out).collect())
}

#[test]
fn infos_of_either_encoding_are_read() {
    for port in [Value::Int(10809), Value::from("10809")] {
        let info = NbdInfo::of(&entry("", port)).expect("an info");
        assert_eq!((&*info.address, info.port), ("10.0.0.1", 10809));
        assert_eq!(format!("{info:?}"), format!("NbdInfo({UUID} at 10.0.0.1:10809)"));
    }
    for key in ["exportname", "address", "port", "cert", "subject"] {
        assert!(NbdInfo::of(&entry(key, Value::Int(1))).is_err(), "{key}");
    }
    assert!(NbdInfo::of(&entry("", Value::Int(65536))).is_err());
}

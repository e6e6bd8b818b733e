//! What is found in archives of hosts, and what is refused.

use std::io::Read as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::xva::tar::{set_sum, v7_header};

/// A database in which `name` stands, so that it is not that of another.
fn dump(name: &str) -> Vec<u8> {
    let vms = "<table name=\"VM\"><row ref=\"a\"/></table>";
    format!("<?xml version=\"1.0\"?><database>{vms}<x name=\"{name}\"/></database>").into_bytes()
}

/// A member of a type, of the age of `modified`.
fn member(name: &[u8], kind: u8, modified: u8, data: &[u8]) -> Vec<u8> {
    let mut block = v7_header(name, data.len() as u64);
    (block[156], block[146]) = (kind, b'0' + modified);
    set_sum(&mut block);
    let mut member = [&block[..], data].concat();
    member.resize(member.len().next_multiple_of(BLOCK_LEN), 0);
    member
}

fn file(name: &str, modified: u8, data: &[u8]) -> Vec<u8> {
    member(name.as_bytes(), b'0', modified, data)
}

fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [&members.concat()[..], &[0; 2 * BLOCK_LEN]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// As a host would have it: the database is one of many things.
fn archive() -> Vec<u8> {
    tar(&[
        member(b"./etc/", b'5', 1, b""),
        file("./etc/hostname", 1, b"xs1"),
        member(b"./etc/link", b'2', 1, b""),
        file("./var/backup/pool-database-20261122", 2, &dump("new")),
        file("./var/log/messages", 3, &[7; 70_000]),
    ])
}

/// Name and content of what is found, in pieces of several lengths.
#[track_caller]
fn found(archive: &[u8]) -> Result<(String, Vec<u8>), String> {
    let results = [2, 513, 4096, 1 << 20].map(|piece| {
        let mut out = tempfile::tempfile().expect("a file");
        let mut passing = HostArchive::new(&out);
        for (number, bytes) in archive.chunks(piece).enumerate() {
            // Zeros do not come.
            if bytes.iter().any(|byte| *byte != 0) {
                let taken = passing.segment((number * piece) as u64, bytes);
                taken.map_err(|error| told(&error))?;
            }
        }
        let found = passing.end(archive.len() as u64).map_err(|error| told(&error))?;
        let mut content = Vec::new();
        out.rewind().and_then(|()| out.read_to_end(&mut content)).expect("a file");
        assert_eq!(content.len() as u64, found.size_bytes);
        Ok((found.name, content))
    });
    let [first, rest @ ..] = results;
    assert!(rest.iter().all(|other| *other == first), "{first:?} {rest:?}");
    first
}

/// An error and all that is behind it.
fn told(error: &dyn std::error::Error) -> String {
    let behind = error.source().map(|source| format!(": {}", told(source)));
    format!("{error}{}", behind.unwrap_or_default())
}

#[track_caller]
fn check_found(archive: &[u8], name: &str, expected: &str) {
    assert_eq!(found(archive), Ok((name.to_owned(), dump(expected))));
    assert_eq!(found(&gzip(archive)), Ok((name.to_owned(), dump(expected))), "packed");
}

#[track_caller]
fn check_refused(archive: &[u8], expected: &str) {
    let error = found(archive).expect_err(expected);
    assert!(error.contains(expected), "{error}");
}

const NAME: &str = "var/backup/pool-database-20261122";

#[test]
fn the_database_comes_out_packed_or_not() {
    check_found(&archive(), NAME, "new");
    check_found(
        &tar(&[file("var/backup/pool-database-x", 0, &dump("a"))]),
        &NAME.replace("20261122", "x"),
        "a",
    );
    let padded = [archive(), vec![0; 10_240]].concat();
    check_found(&padded, NAME, "new");
    let two_parts = archive();
    let (first, second) = two_parts.split_at(3000);
    let packed = [gzip(first), gzip(second), vec![0; 512]].concat();
    assert_eq!(found(&packed), Ok((NAME.to_owned(), dump("new"))));
}

#[test]
fn of_several_the_newest_counts() {
    let (old, new) = (dump("old, and much longer than the other"), dump("new"));
    let newer = file("/var/backup/pool-database-20261122", 5, &new);
    let older = file("/var/backup/pool-database-20261121", 4, &old);
    check_found(&tar(&[older.clone(), newer.clone()]), NAME, "new");
    check_found(&tar(&[newer, older]), NAME, "new");
}

#[test]
fn extended_headers_name_it_too() {
    let records = format!("{} path={NAME}\n", NAME.len() + 9);
    let pax = [member(b"x", b'x', 0, records.as_bytes()), file("cut", 0, &dump("new"))];
    check_found(&tar(&pax), NAME, "new");
    let long = [member(b"././@LongLink", b'L', 0, NAME.as_bytes()), file("cut", 0, &dump("new"))];
    check_found(&tar(&long), NAME, "new");
    // It names one member, and a directory counts as one.
    let spent = [
        member(b"././@LongLink", b'L', 0, NAME.as_bytes()),
        member(b"cut", b'5', 0, b""),
        file("other", 0, &dump("new")),
    ];
    check_refused(&tar(&spent), "there is no var/backup/pool-database-DATE");
}

#[test]
fn an_archive_without_one_is_told() {
    let without = tar(&[file("etc/hostname", 0, b"xs1"), file("pool-database-1", 0, &dump("x"))]);
    check_refused(&without, "there is no var/backup/pool-database-DATE");
    check_refused(&gzip(&without), "there is no var/backup/pool-database-DATE");
}

#[test]
fn what_is_not_whole_is_refused() {
    let (whole, packed) = (archive(), gzip(&archive()));
    check_refused(b"", "ends before its end");
    check_refused(&whole[..whole.len() - 2 * BLOCK_LEN], "ends before its end");
    check_refused(&whole[..3000], "ends before its end");
    check_refused(&packed[..packed.len() - 1], "no whole gzip file");
    check_refused(&packed[..1], "ends before its end");
    let mut wrong = whole.clone();
    wrong[1] ^= 1;
    check_refused(&wrong, "the checksum of the tar header is wrong");
    check_refused(b"<html>Internal Error</html>".repeat(40).as_slice(), "checksum");
    let cut = tar(&[file(NAME, 0, &dump("new")[..60])]);
    check_refused(&cut, "is damaged: it ends before its end");
    let frame = tar(&[file(NAME, 0, b"<?xml version=\"1.0\"?><database></database>")]);
    check_refused(&frame, "it has no VMs in it");
    let long = tar(&[member(b"x", b'x', 0, &vec![b'1'; PRELUDE_LEN_MAX + 1])]);
    check_refused(&long, "an extended header is too long");
}

#[test]
fn an_older_one_that_is_damaged_does_no_harm() {
    let damaged = file("var/backup/pool-database-20261121", 1, b"no database");
    check_found(&tar(&[damaged, file(NAME, 2, &dump("new"))]), NAME, "new");
}

//! Metadata as sources: one file each, and an error unless both task and form say that it is whole.

use engine::source::{NextSegment, Role, SEGMENT_LEN, Source, SourceError, SourceFacts};

use super::host::Host;
use super::world::{Outcome, Shared, connect};
use crate::xapi::{MetadataSource, Pool, metadata};

const FRAME: &[u8] = b"<?xml version=\"1.0\"?><database><manifest/></database>";

/// A database of more than a segment.
fn dump() -> Vec<u8> {
    let rows = "<row ref=\"OpaqueRef:vm\" name__label=\"web\"/>".repeat(SEGMENT_LEN / 30);
    format!("<?xml version=\"1.0\"?><database><table name=\"VM\">{rows}</table></database>").into()
}

fn world(body: &[u8], outcome: Outcome) -> (Shared, Host, Pool) {
    let world = Shared::new();
    let host = world.host();
    world.get().export = body.to_vec();
    world.get().outcome = outcome;
    let (pool, _) = connect(&[&host]).expect("a session");
    (world, host, pool)
}

/// The bytes of its only file, and the facts.
fn read(mut source: MetadataSource) -> Result<(Vec<u8>, SourceFacts), SourceError> {
    let mut buffer = vec![0; SEGMENT_LEN];
    let mut bytes = Vec::new();
    let file = source.next_disk()?.expect("a file");
    assert_eq!(file.role, Role::File);
    loop {
        match source.next_segment(&mut buffer)? {
            NextSegment::Filled { .. } => bytes.extend_from_slice(&buffer),
            NextSegment::End { size_bytes } => {
                bytes.truncate(size_bytes as usize);
                assert_eq!(source.next_disk()?, None);
                return Ok((bytes, source.facts()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_database_comes_as_it_is_under_the_name_of_its_pool() {
    let dump = dump();
    let (world, _host, pool) = world(&dump, Outcome::Success);
    let (bytes, facts) = read(metadata::database(&pool).expect("a stream")).expect("a database");
    assert!(bytes == dump);
    assert_eq!(facts.container, "pool-db");
    assert_eq!(facts.vm_uuid.as_deref(), Some("pool-uuid"));
    assert_eq!(facts.vm_name.as_deref(), Some("lab"));
    assert_eq!(facts.bytes_read, dump.len() as u64);
    let world = world.get();
    assert_eq!(world.has_called("GET /pool/xmldbdump"), 1);
    assert_eq!(world.tasks.len(), 0, "tasks");
}

/// What the error says; nothing is left behind.
#[track_caller]
fn check_fails(body: &[u8], outcome: Outcome, part: &str) {
    let (world, _host, pool) = world(body, outcome);
    let error = metadata::database(&pool).and_then(read).expect_err("no database");
    let text = format!("{error:?}");
    assert!(text.contains(part), "{text}");
    assert_eq!(world.get().tasks.len(), 0, "tasks");
}

#[test]
fn a_database_whose_task_fails_is_none() {
    check_fails(&dump(), Outcome::Failure("INTERNAL_ERROR"), "INTERNAL_ERROR");
    check_fails(&dump(), Outcome::Lost, "TaskLost");
}

#[test]
fn a_success_without_vms_or_without_an_end_is_none() {
    check_fails(FRAME, Outcome::Success, "being upgraded");
    let dump = dump();
    check_fails(&dump[..dump.len() - 1], Outcome::Success, "ends before its end");
    check_fails(b"", Outcome::Success, "ends before its end");
}

#[test]
fn a_task_says_better_than_a_page_what_is_wrong() {
    let page =
        b"HTTP/1.1 500 Internal Error\r\n\r\n<html><body><h1> Internal Error </h1></body></html>";
    check_fails(page, Outcome::Failure("BACKUP_SCRIPT_FAILED"), "BACKUP_SCRIPT_FAILED");
    check_fails(page, Outcome::Success, "does not begin");
}

#[test]
fn the_system_of_a_host_is_asked_of_itself_and_has_to_be_gzip() {
    let (world, _host, pool) = world(FRAME, Outcome::Success);
    let host = pool.hosts().expect("hosts").remove(0);
    let source = metadata::host(&pool, &host).expect("a stream");
    assert_eq!(source.facts().vm_uuid, Some(host.uuid));
    let error = read(source).expect_err("no gzip file");
    assert!(matches!(error, SourceError::Damaged { .. }), "{error:?}");
    assert_eq!(world.get().has_called("GET /host_backup"), 1);
}

//! What is recognised, and what is refused.

use std::fs;

use engine::source::Role;

use super::*;

/// What a file of this name and content is taken for.
fn opened(name: &str, bytes: &[u8], kind: Option<Kind>) -> Result<(Role, String), SourceError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    let mut source = open(Input::Path(path), kind)?;
    let disk = source.next_disk()?.expect("a disk");
    Ok((disk.role, disk.name))
}

#[track_caller]
fn check(name: &str, kind: Option<Kind>, role: Role, disk: &str) {
    let found = opened(name, b"some bytes", kind).expect("opened");
    assert_eq!(found, (role, disk.to_owned()));
}

#[test]
fn names_and_wishes_decide_where_bytes_do_not() {
    check("disk.raw", None, Role::Disk, "xvda");
    check("disk.IMG", None, Role::Disk, "xvda");
    check("notes.txt", None, Role::File, "notes.txt");
    check("disk.raw", Some(Kind::File), Role::File, "disk.raw");
    check("notes.txt", Some(Kind::Raw), Role::Disk, "xvda");
    check("web.xva", Some(Kind::File), Role::File, "web.xva");
}

#[test]
fn an_xva_that_is_none_is_not_kept_in_silence() {
    for (name, kind) in [("web.xva", None), ("web.xva.gz", None), ("notes.txt", Some(Kind::Xva))] {
        let refused = opened(name, &[b'x'; 2000], kind);
        assert!(matches!(refused, Err(SourceError::Unrecognised { .. })), "{name}");
    }
}

#[test]
fn folders_and_absent_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = open(Input::Path(folder.path().to_owned()), None);
    assert!(matches!(refused, Err(SourceError::Unrecognised { .. })));
    let refused = open(Input::Path(folder.path().join("absent")), None);
    assert!(matches!(refused, Err(SourceError::Io { .. })));
}

#[test]
fn tap_keeps_the_latest_bytes() {
    let bytes: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
    let mut reader = Wrapping::Plain.reader(&bytes[..]).expect("a reader");
    let mut buffer = vec![0; 30_000];
    while reader.read(&mut buffer).expect("memory") > 0 {}
    assert_eq!(reader.tap().bytes_read(), 100_000);
    assert_eq!(reader.tap_mut().find_error_page(), None);
}

//! SPEC 3: objects, their names and how they begin and end.

use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::header::{Kind, SealedHeader, Suite, claimed_kind, read_clear, write_clear};
use repo_format::id::{IndexHash, PackId, RepositoryId, SlotId, SnapshotId, parse_hex, to_hex};
use repo_format::object_name::{Directory, IndexName, ObjectName};
use repo_format::void::{self, VOID_LEN};
use repo_format::wire::{Reader, Writer, strip_final_hash, with_final_hash};
use repo_tests::fixed::{array, full_keys, noise, repository, secret};
use repo_tests::hostile::{
    Verdict, check_any_bytes, check_codec, check_every_cut, check_every_flip_is_refused,
    with_hash_repaired,
};

const ID: &str = "000102030405060708090a0b0c0d0e0f";
const HASH: &str = "ab0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn id() -> SnapshotId {
    SnapshotId::parse_hex(ID).expect("a valid id")
}

#[track_caller]
fn check_name(name: ObjectName, path: &str) {
    assert_eq!(name.to_string(), path);
    assert_eq!(ObjectName::parse(path), Some(name));
}

#[track_caller]
fn check_no_object(path: &str) {
    assert_eq!(ObjectName::parse(path), None, "{path}");
}

#[test]
fn s3_every_object_has_its_name() {
    let slot = SlotId::parse_hex(ID).unwrap();
    let hash = IndexHash::parse_hex(&HASH[..40]).unwrap();
    for copy in [1, 2, 3] {
        check_name(ObjectName::Config { copy, number: 0 }, &format!("roots/{copy}/config/0"));
        check_name(ObjectName::KeySlot { copy, id: slot }, &format!("roots/{copy}/keys/{ID}"));
    }
    check_name(ObjectName::Config { copy: 1, number: 10 }, "roots/1/config/10");
    check_name(ObjectName::Pack(PackId::parse_hex(HASH).unwrap()), &format!("packs/ab/{HASH}"));
    check_name(
        ObjectName::Index(IndexName { owner: id(), hash }),
        &format!("index/{ID}-{}", &HASH[..40]),
    );
    check_name(
        ObjectName::Prints(IndexName { owner: id(), hash }),
        &format!("prints/{ID}-{}", &HASH[..40]),
    );
    check_name(ObjectName::Snapshot(id()), &format!("snapshots/{ID}"));
    check_name(ObjectName::Marker(id()), &format!("snapshots/{ID}.void"));
    check_name(ObjectName::Session(id()), &format!("sessions/{ID}"));
    check_name(ObjectName::State(0), "state/0");
    check_name(ObjectName::State(u64::MAX), "state/18446744073709551615");
}

#[test]
fn s3_everything_else_is_ignored() {
    for path in ["", "/", "tmp/x", "README", "packs", "state/", "/state/1", "state/1/", "state//1"]
    {
        check_no_object(path);
    }
    for number in ["00", "01", "+1", "-1", "1 ", "0x1", "1e3", "18446744073709551616", "\u{664}"] {
        check_no_object(&format!("state/{number}"));
        check_no_object(&format!("roots/1/config/{number}"));
    }
    for root in ["0", "4", "01", "", "a"] {
        check_no_object(&format!("roots/{root}/config/0"));
        check_no_object(&format!("roots/{root}/keys/{ID}"));
    }
    check_no_object("roots/1/config/0/0");
    check_no_object(&format!("packs/{HASH}"));
    check_no_object(&format!("packs/ac/{HASH}"));
    check_no_object(&format!("packs/AB/{}", HASH.to_uppercase()));
    check_no_object(&format!("snapshots/{}", ID.to_uppercase()));
    check_no_object(&format!("snapshots/{}", &ID[1..]));
    check_no_object(&format!("snapshots/{ID}0"));
    check_no_object(&format!("snapshots/{ID}.void.void"));
    check_no_object(&format!("snapshots/{ID}.VOID"));
    check_no_object(&format!("sessions/{ID}.void"));
    check_no_object(&format!("index/{ID}"));
    check_no_object(&format!("index/{ID}-{}", &HASH[..39]));
    check_no_object(&format!("index/{ID}-{HASH}"));
    check_no_object(&format!("prints/{ID}"));
    check_no_object(&format!("prints/{ID}-{HASH}"));
}

fn any_name() -> impl Strategy<Value = ObjectName> {
    let id = || any::<[u8; 16]>().prop_map(SnapshotId::from_bytes);
    prop_oneof![
        (1..=3u8, any::<u64>()).prop_map(|(copy, number)| ObjectName::Config { copy, number }),
        (1..=3u8, any::<[u8; 16]>()).prop_map(|(copy, id)| {
            let id = SlotId::from_bytes(id);
            ObjectName::KeySlot { copy, id }
        }),
        any::<[u8; 32]>().prop_map(|id| ObjectName::Pack(PackId::from_bytes(id))),
        (id(), any::<[u8; 20]>(), any::<bool>()).prop_map(|(owner, hash, prints)| {
            let name = IndexName { owner, hash: IndexHash::from_bytes(hash) };
            if prints { ObjectName::Prints(name) } else { ObjectName::Index(name) }
        }),
        id().prop_map(ObjectName::Snapshot),
        id().prop_map(ObjectName::Marker),
        id().prop_map(ObjectName::Session),
        any::<u64>().prop_map(ObjectName::State),
    ]
}

proptest! {
    #[test]
    fn s3_names_are_short_plain_and_read_back(name in any_name()) {
        let path = name.to_string();
        prop_assert!(path.len() <= 80);
        prop_assert!(path.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.' | b'/')));
        prop_assert_eq!(ObjectName::parse(&path), Some(name));
    }

    #[test]
    fn s3_any_path_gets_a_verdict_and_a_name_has_one_spelling(
        path in "((roots|packs|index|prints|snapshots|sessions|state|ab)/)?([1-4]/)?((config|keys)/)?[0-9a-f+.-]{0,70}|\\PC*"
    ) {
        if let Some(name) = ObjectName::parse(&path) {
            prop_assert_eq!(name.to_string(), path);
        }
    }

    #[test]
    fn s3_every_name_lies_in_a_directory_that_check_goes_through(name in any_name()) {
        let path = name.to_string();
        let home = |directory: &&Directory| path.starts_with(&format!("{}/", directory.path()));
        prop_assert_eq!(Directory::ALL.iter().filter(home).count(), 1);
    }

    #[test]
    fn s3_ids_have_one_hex_form(bytes: [u8; 20], text in "[0-9a-fA-F]{38,42}|\\PC{0,45}") {
        prop_assert_eq!(parse_hex::<20>(&to_hex(&bytes)), Ok(bytes));
        if let Ok(found) = parse_hex::<20>(&text) {
            prop_assert_eq!(to_hex(&found), text);
        }
    }
}

#[test]
fn s3_packs_and_index_objects_are_named_by_their_bytes() {
    let hash = blake3::hash(b"stored bytes");
    assert_eq!(PackId::of(b"stored bytes").as_bytes(), hash.as_bytes());
    assert_eq!(IndexHash::of(b"stored bytes").as_bytes(), &hash.as_bytes()[..20]);
}

#[test]
fn s3_every_other_object_ends_with_the_hash_of_what_stands_before() {
    for len in [0, 1, 31, 32, 100] {
        let body = noise("body", len);
        let object = with_final_hash(body.clone());
        assert_eq!(object, [&body[..], blake3::hash(&body).as_bytes()].concat());
        check_codec(&object, |bytes| {
            strip_final_hash("object", bytes).ok().map(|body| with_final_hash(body.to_vec()))
        });
        check_every_flip_is_refused(&object, |bytes| strip_final_hash("object", bytes).is_ok());
    }
}

// 3.1 Clear header

fn clear_verdict(kind: Kind) -> impl Fn(&[u8]) -> Verdict {
    move |bytes| {
        let mut r = Reader::new("header", bytes);
        let (epoch, repository) = read_clear(&mut r, kind).ok()?;
        r.end().ok()?;
        let mut w = Writer::default();
        write_clear(&mut w, kind, epoch, repository);
        Some(w.finish())
    }
}

fn clear(kind: Kind) -> Vec<u8> {
    let mut w = Writer::default();
    let epoch = if kind == Kind::KeySlot { 0x0403_0201 } else { 0 };
    write_clear(&mut w, kind, epoch, repository());
    w.finish()
}

#[test]
fn s3_1_a_clear_header_is_32_bytes() {
    let wanted =
        [&b"XNTH"[..], &[1, 0, 2, 0], &[1, 2, 3, 4], &[0; 4], repository().as_bytes()].concat();
    assert_eq!(clear(Kind::KeySlot), wanted);
    assert_eq!(clear(Kind::KeySlot).len(), 32);
}

#[test]
fn s3_1_clear_headers_withstand_hostile_bytes() {
    for kind in [Kind::Config, Kind::KeySlot, Kind::Tombstone, Kind::Marker] {
        check_codec(&clear(kind), clear_verdict(kind));
    }
}

/// Overwrites one byte of a valid header of `kind` and reads it.
#[track_caller]
fn check_clear(place: usize, value: u8, wanted: FormatError) {
    let mut bytes = clear(Kind::Config);
    bytes[place] = value;
    let found = read_clear(&mut Reader::new("header", &bytes), Kind::Config);
    assert_eq!(found, Err(wanted), "byte {place} = {value}");
}

#[test]
fn s3_1_what_is_not_of_this_format_is_refused() {
    check_clear(0, b'x', FormatError::Invalid { what: "magic" });
    check_clear(4, 2, FormatError::TooNew { found: 2 });
    check_clear(5, 1, FormatError::TooNew { found: 257 });
    check_clear(4, 0, FormatError::Invalid { what: "format version" });
    check_clear(6, 2, FormatError::Invalid { what: "kind of object" });
    check_clear(6, 0, FormatError::Invalid { what: "kind of object" });
    check_clear(6, 14, FormatError::Invalid { what: "kind of object" });
    check_clear(7, 1, FormatError::Invalid { what: "suite" });
    check_clear(7, 3, FormatError::Invalid { what: "suite" });
    check_clear(8, 1, FormatError::Invalid { what: "epoch of a clear header" });
    check_clear(12, 1, FormatError::Invalid { what: "header" });
}

// 3.2 Sealed header

const SEALED_KINDS: [Kind; 9] = [
    Kind::DataPack,
    Kind::MapPack,
    Kind::PrintPack,
    Kind::SegmentIndex,
    Kind::ChunkIndex,
    Kind::PrintIndex,
    Kind::Snapshot,
    Kind::Session,
    Kind::State,
];

fn sealed(kind: Kind) -> SealedHeader {
    SealedHeader {
        kind,
        suite: if kind == Kind::DataPack { Suite::Hpke } else { Suite::Catalog },
        epoch: 0x0403_0201,
        repository: repository(),
        salt: array("salt"),
        commitment: array("commitment"),
    }
}

/// Headers are read at the start of longer objects, so the verdict is about the first 96 bytes.
fn sealed_verdict(bytes: &[u8]) -> Verdict {
    let header = SealedHeader::parse(bytes).ok()?;
    Some([&header.encode()[..], &bytes[96..]].concat())
}

#[test]
fn s3_2_a_sealed_header_is_96_bytes() {
    let start = |kind, suite| [&b"XNTH"[..], &[1, 0, kind, suite], &[1, 2, 3, 4], &[0; 4]].concat();
    let rest =
        [&repository().as_bytes()[..], &array::<32>("salt"), &array::<32>("commitment")].concat();
    for (kind, number, suite) in
        [(Kind::DataPack, 3, 2), (Kind::PrintPack, 5, 1), (Kind::State, 11, 1)]
    {
        let encoded = sealed(kind).encode();
        assert_eq!(encoded[..], [start(number, suite), rest.clone()].concat());
        assert_eq!(SealedHeader::parse(&encoded), Ok(sealed(kind)));
        assert_eq!(claimed_kind(&encoded), Ok(kind));
    }
}

#[test]
fn s3_2_sealed_headers_withstand_hostile_bytes() {
    for kind in SEALED_KINDS {
        let valid = sealed(kind).encode();
        repo_tests::hostile::check_accepted(&valid, sealed_verdict);
        repo_tests::hostile::check_every_flip(&valid, sealed_verdict);
        check_every_cut(&valid, sealed_verdict);
        check_any_bytes(&valid, sealed_verdict);
    }
}

#[test]
fn s3_2_each_kind_has_one_suite() {
    for kind in 0..=255u8 {
        for suite in 0..=255u8 {
            let mut bytes = sealed(Kind::State).encode();
            (bytes[6], bytes[7]) = (kind, suite);
            let wanted = match kind {
                3 => suite == 2,
                4..=11 => suite == 1,
                _ => false,
            };
            assert_eq!(SealedHeader::parse(&bytes).is_ok(), wanted, "kind {kind}, suite {suite}");
        }
    }
}

#[test]
fn s3_2_another_repository_or_kind_is_refused() {
    let bytes = sealed(Kind::Snapshot).encode();
    let other = RepositoryId::from_bytes([0; 16]);
    assert!(SealedHeader::parse_as(&bytes, Kind::Snapshot, repository()).is_ok());
    assert_eq!(
        SealedHeader::parse_as(&bytes, Kind::Snapshot, other),
        Err(FormatError::Invalid { what: "repository id" })
    );
    assert_eq!(
        SealedHeader::parse_as(&bytes, Kind::Session, repository()),
        Err(FormatError::Invalid { what: "kind of object" })
    );
}

// 3.3 Tombstones and markers

#[test]
fn s3_3_tombstones_and_markers_are_96_bytes() {
    for (kind, number) in [(Kind::Tombstone, 12), (Kind::Marker, 13)] {
        let body = [
            &b"XNTH"[..],
            &[1, 0, number, 0],
            &[0; 8],
            repository().as_bytes(),
            id().as_bytes(),
            &[1, 2, 3, 4, 5, 0, 0, 0],
            &[0; 8],
        ]
        .concat();
        let object = void::encode(kind, repository(), id(), 0x05_0403_0201);
        assert_eq!(object, with_final_hash(body));
        assert_eq!(object.len(), VOID_LEN);
        assert_eq!(void::parse(kind, repository(), id(), &object), Ok(()));
        assert_eq!(claimed_kind(&object), Ok(kind));
    }
}

#[test]
fn s3_3_a_tombstone_stands_for_one_session_of_one_repository() {
    let object = void::encode(Kind::Tombstone, repository(), id(), 0);
    let other = SnapshotId::from_bytes([7; 16]);
    assert!(void::parse(Kind::Marker, repository(), id(), &object).is_err());
    assert!(
        void::parse(Kind::Tombstone, RepositoryId::from_bytes([7; 16]), id(), &object).is_err()
    );
    assert!(void::parse(Kind::Tombstone, repository(), other, &object).is_err());
}

#[test]
fn s3_3_tombstones_withstand_hostile_bytes() {
    let valid = void::encode(Kind::Tombstone, repository(), id(), 1_700_000_000);
    let accepts = |bytes: &[u8]| void::parse(Kind::Tombstone, repository(), id(), bytes).is_ok();
    check_every_flip_is_refused(&valid, accepts);
    check_every_cut(&valid, |bytes| accepts(bytes).then(|| bytes.to_vec()));
    check_any_bytes(&valid, |bytes| accepts(bytes).then(|| bytes.to_vec()));
    for (bit, flipped) in repo_tests::hostile::flips(&valid[..64]) {
        let object = with_hash_repaired(&[&flipped[..], &[0; 32]].concat());
        let time = (48 * 8..56 * 8).contains(&bit);
        assert_eq!(accepts(&object), time, "bit {bit} flipped and the hash made right");
    }
}

#[test]
fn s3_3_a_snapshot_is_never_as_short_as_a_tombstone() {
    let snapshot =
        repo_format::seal::seal_catalog(&full_keys(), Kind::Snapshot, &secret("seed"), &[]);
    assert!(snapshot.len() > VOID_LEN);
    assert_eq!(claimed_kind(&snapshot), Ok(Kind::Snapshot));
}

//! SPEC 9: config, snapshots, sessions and states.

use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::cbor;
use repo_format::config::Config;
use repo_format::header::Kind;
use repo_format::id::{Digest, DiskId, IndexHash, PackId, RunId, SnapshotId};
use repo_format::object_name::IndexName;
use repo_format::seal::{open_catalog, seal_catalog};
use repo_format::session::SessionRecord;
use repo_format::snapshot::{Consistency, DiskRole, Origin, Snapshot, SnapshotDisk, Statistics};
use repo_format::state::{Phase, State};
use repo_format::wire::with_final_hash;
use repo_tests::fixed::{array, backup_keys, full_keys, repository, secret};
use repo_tests::hostile::{Verdict, check_codec, check_every_flip_is_refused, with_hash_repaired};
use repo_tests::loose_cbor::other_encodings;

#[track_caller]
fn check_one_form(cbor: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    check_codec(cbor, &verdict);
    for (what, other) in other_encodings(cbor) {
        assert_eq!(verdict(&other), None, "{what}");
    }
}

// 9.1 Config

fn config() -> Config {
    Config::new(repository(), 1_700_000_000)
}

fn config_cbor() -> Vec<u8> {
    let mut cbor = vec![0xa7, 0, 1, 1, 0x50];
    cbor.extend(repository().as_bytes());
    cbor.extend([
        2, 0xa5, 0, 1, 1, 0x1a, 0, 1, 0, 0, 2, 0x1a, 0, 4, 0, 0, 3, 0x1a, 0, 16, 0, 0, 4, 1,
    ]);
    cbor.extend([3, 0x1a, 0, 64, 0, 0, 4, 0, 5, 0, 6, 0x1a, 0x65, 0x53, 0xf1, 0]);
    cbor
}

fn config_object(cbor: &[u8]) -> Vec<u8> {
    let header = &config().encode()[..32];
    with_final_hash([header, &(cbor.len() as u32).to_le_bytes(), cbor].concat())
}

#[test]
fn s9_1_a_config_is_laid_out_as_specified() {
    assert_eq!(config().encode(), config_object(&config_cbor()));
    assert_eq!(config().encode()[..8], *b"XNTH\x01\0\x01\0");
    assert_eq!(Config::parse(&config().encode()), Ok(config()));
    assert_eq!(config().version(), 1);
}

#[test]
fn s9_1_configs_withstand_hostile_bytes() {
    let object = config().encode();
    check_codec(&object, |bytes| Config::parse(bytes).ok().map(|config| config.encode()));
    check_every_flip_is_refused(&object, |bytes| Config::parse(bytes).is_ok());
    check_one_form(&config_cbor(), |cbor| {
        Config::parse(&config_object(cbor)).ok()?;
        Some(cbor.to_vec())
    });
}

/// A config with one value changed, by its place in the CBOR.
#[track_caller]
fn check_config(place: usize, value: u8, wanted: Result<(), FormatError>) {
    let mut cbor = config_cbor();
    cbor[place] = value;
    assert_eq!(Config::parse(&config_object(&cbor)).map(drop), wanted);
}

#[test]
fn s9_1_what_this_program_could_misread_is_refused() {
    let invalid = || Err(FormatError::Invalid { what: "config" });
    let (end, last) = (config_cbor().len() - 10, config_cbor().len() - 1);
    check_config(last, 7, Ok(())); // the time
    check_config(2, 2, Err(FormatError::TooNew { found: 2 }));
    check_config(5, 0, invalid()); // R differs from the header's
    check_config(24, 2, invalid()); // another chunker
    check_config(28, 2, invalid()); // another minimum
    check_config(end + 1, 1, Err(FormatError::TooNew { found: 1 })); // features to read
}

#[test]
fn s9_1_unknown_features_to_write_forbid_writing_but_not_reading() {
    let mut cbor = config_cbor();
    let place = cbor.len() - 7;
    assert_eq!(cbor[place - 1..=place], [5, 0]);
    cbor[place] = 1;
    let found = Config::parse(&config_object(&cbor)).unwrap();
    assert_eq!(found.check_writable(), Err(FormatError::TooNew { found: 1 }));
    assert_eq!(config().check_writable(), Ok(()));
}

#[test]
fn s9_1_nothing_stands_between_the_cbor_and_the_hash() {
    let object = config().encode();
    let longer = [&object[..object.len() - 32], &[0], &[0; 32]].concat();
    assert!(Config::parse(&with_hash_repaired(&longer)).is_err());
}

// 9.2 Snapshot

fn disk(number: u8) -> SnapshotDisk {
    SnapshotDisk {
        role: DiskRole::Disk,
        name: format!("disk {number}"),
        key: String::new(),
        size_bytes: 5,
        id: DiskId::from_bytes([number; 32]),
        version: None,
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        id: SnapshotId::from_bytes(array("snapshot")),
        time: 1_700_000_000,
        utc_offset: -90,
        run: RunId::from_bytes(array("run")),
        run_name: String::new(),
        host: "host".to_owned(),
        program: "xenith 1".to_owned(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        origin: Origin {
            container: "xva".to_owned(),
            vm_name: Some("web".to_owned()),
            path: "-".to_owned(),
            ..Origin::default()
        },
        disks: vec![disk(1)],
        consistency: Consistency::Crash,
        statistics: Statistics { elapsed_ms: 300, ..Statistics::default() },
        predecessor: None,
    }
}

fn snapshot_cbor() -> Vec<u8> {
    let mut cbor = vec![0xac, 0, 0x50];
    cbor.extend(array::<16>("snapshot"));
    cbor.extend([1, 0x1a, 0x65, 0x53, 0xf1, 0, 2, 0x38, 89, 3, 0x50]);
    cbor.extend(array::<16>("run"));
    cbor.extend(b"\x04\x60\x05\x64host\x06\x68xenith 1\x07\x82\x61a\x61b");
    cbor.extend(b"\x08\xa4\x00\x63xva\x01\x60\x03\x63web\x05\x61-");
    cbor.extend(b"\x09\x81\xa5\x00\x00\x01\x66disk 1\x02\x60\x03\x05\x04\x58\x20");
    cbor.extend([1; 32]);
    cbor.extend([10, 1, 11, 0xa7, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0x19, 1, 44]);
    cbor
}

fn snapshot_verdict(cbor: &[u8]) -> Verdict {
    Snapshot::parse(cbor).ok().map(|snapshot| snapshot.encode())
}

#[test]
fn s9_2_a_snapshot_is_encoded_as_specified() {
    assert_eq!(snapshot().encode(), snapshot_cbor());
    assert_eq!(Snapshot::parse(&snapshot_cbor()), Ok(snapshot()));
    let later = Snapshot { predecessor: Some(SnapshotId::from_bytes([9; 16])), ..snapshot() };
    let tail = [&[12, 0x50][..], &[9; 16]].concat();
    let mut wanted = [snapshot_cbor(), tail].concat();
    wanted[0] = 0xad;
    assert_eq!(later.encode(), wanted);
}

#[test]
fn s9_2_selection_and_version_stand_behind_what_they_belong_to() {
    let selection = Some("tag:prod".to_owned());
    let disk = SnapshotDisk { version: Some("v1".to_owned()), ..disk(1) };
    let origin = Origin { selection, ..snapshot().origin };
    let chosen = Snapshot { origin, disks: vec![disk], ..snapshot() };
    let text = snapshot_cbor();
    let (end, tail) = (text.len() - 20, b"\x06\x68tag:prod");
    let origin = text.windows(4).position(|window| window == b"\x05\x61-\x09").unwrap() + 3;
    let mut wanted =
        [&text[..origin], tail, &text[origin..end], b"\x05\x62v1", &text[end..]].concat();
    let count = text.windows(2).position(|window| window == [8, 0xa4]).unwrap() + 1;
    wanted[count] = 0xa5;
    wanted[origin + tail.len() + 2] = 0xa6;
    assert_eq!(chosen.encode(), wanted);
    assert_eq!(Snapshot::parse(&wanted), Ok(chosen));
}

#[test]
fn s9_2_a_snapshot_has_one_encoding() {
    check_one_form(&snapshot_cbor(), snapshot_verdict);
    let mut with_null = [snapshot_cbor(), vec![12, 0xf6]].concat();
    with_null[0] = 0xad;
    assert_eq!(snapshot_verdict(&with_null), None, "an optional key is absent, never null");
}

#[track_caller]
fn check_snapshot(change: impl Fn(&mut Snapshot), sound: bool) {
    let mut changed = snapshot();
    change(&mut changed);
    assert_eq!(snapshot_verdict(&changed.encode()).is_some(), sound);
    let id = changed.id;
    let object = changed.seal(&full_keys(), &secret("seed"));
    let opened = Snapshot::open(&full_keys(), id, &object).ok();
    assert_eq!(opened, sound.then_some(changed));
}

#[test]
fn s13_a_snapshot_has_up_to_1024_disks_and_256_tags() {
    let tags = |count: usize| (0..count).map(|tag| format!("{tag:04}")).collect::<Vec<_>>();
    check_snapshot(|snapshot| snapshot.disks = vec![], true);
    check_snapshot(|snapshot| snapshot.disks = vec![disk(1); 1024], true);
    check_snapshot(|snapshot| snapshot.disks = vec![disk(1); 1025], false);
    check_snapshot(|snapshot| snapshot.tags = tags(0), true);
    check_snapshot(|snapshot| snapshot.tags = tags(256), true);
    check_snapshot(|snapshot| snapshot.tags = tags(257), false);
    check_snapshot(|snapshot| snapshot.disks[0].size_bytes = 1 << 54, true);
    check_snapshot(|snapshot| snapshot.disks[0].size_bytes = (1 << 54) + 1, false);
}

#[test]
fn s13_any_text_field_has_up_to_4096_bytes() {
    let fields: [fn(&mut Snapshot) -> &mut String; 14] = [
        |snapshot| &mut snapshot.run_name,
        |snapshot| &mut snapshot.host,
        |snapshot| &mut snapshot.program,
        |snapshot| &mut snapshot.tags[1],
        |snapshot| &mut snapshot.origin.container,
        |snapshot| &mut snapshot.origin.compression,
        |snapshot| snapshot.origin.vm_uuid.get_or_insert_default(),
        |snapshot| snapshot.origin.vm_name.get_or_insert_default(),
        |snapshot| snapshot.origin.host_name.get_or_insert_default(),
        |snapshot| &mut snapshot.origin.path,
        |snapshot| snapshot.origin.selection.get_or_insert_default(),
        |snapshot| &mut snapshot.disks[0].name,
        |snapshot| &mut snapshot.disks[0].key,
        |snapshot| snapshot.disks[0].version.get_or_insert_default(),
    ];
    for field in fields {
        check_snapshot(|snapshot| *field(snapshot) = "x".repeat(4096), true);
        check_snapshot(|snapshot| *field(snapshot) = "x".repeat(4097), false);
        check_snapshot(|snapshot| *field(snapshot) = "\u{e9}".repeat(2049), false);
    }
}

#[test]
fn s9_2_tags_are_sorted_and_without_duplicates() {
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    check_snapshot(|snapshot| snapshot.tags = tags(&["", "B", "a"]), true);
    check_snapshot(|snapshot| snapshot.tags = tags(&["b", "a"]), false);
    check_snapshot(|snapshot| snapshot.tags = tags(&["a", "a"]), false);
}

#[test]
fn s9_2_a_snapshot_opens_under_its_own_name_only() {
    let object = snapshot().seal(&backup_keys(), &secret("seed"));
    let id = snapshot().id;
    assert_eq!(Snapshot::open(&backup_keys(), id, &object), Ok(snapshot()));
    assert!(Snapshot::open(&full_keys(), SnapshotId::from_bytes([0; 16]), &object).is_err());
    check_every_flip_is_refused(&object[..object.len() - 32], |body| {
        Snapshot::open(&full_keys(), id, &with_final_hash(body.to_vec())).is_ok()
    });
}

#[test]
fn s9_2_unknown_numbers_for_roles_and_consistency_are_refused() {
    let cbor = snapshot_cbor();
    let disk = cbor.windows(3).position(|window| window == [0xa5, 0, 0]).unwrap() + 2;
    let consistency = cbor.windows(3).position(|window| window == [10, 1, 11]).unwrap() + 1;
    for place in [disk, consistency] {
        for value in 0..24 {
            let mut changed = cbor.clone();
            changed[place] = value;
            assert_eq!(snapshot_verdict(&changed).is_some(), value <= 4, "{place} {value}");
        }
    }
}

prop_compose! {
    fn any_origin()(
        texts in vec("\\PC{0,40}", 3), uuid: Option<String>, vm_name: Option<String>, host: Option<String>,
        selection: Option<String>,
    ) -> Origin {
        let [container, compression, path] = texts.try_into().expect("three");
        Origin { container, compression, path, vm_uuid: uuid, vm_name, host_name: host, selection }
    }
}

prop_compose! {
    fn any_disk()(
        role in 0..5usize, name in "\\PC{0,40}", key in "\\PC{0,40}", size in 0..=1u64 << 54, id: [u8; 32],
        version: Option<String>,
    ) -> SnapshotDisk {
        use DiskRole::{Disk, File, Layout, Memory, Record};
        let role = [Disk, Memory, Record, Layout, File][role];
        SnapshotDisk { role, name, key, size_bytes: size, id: DiskId::from_bytes(id), version }
    }
}

prop_compose! {
    fn any_snapshot()(
        id: [u8; 16], time: u64, utc_offset: i16, run: [u8; 16], texts in vec("\\PC{0,40}", 3),
        tags in prop::collection::btree_set("\\PC{0,20}", 0..5), origin in any_origin(),
        disks in vec(any_disk(), 0..5), consistency in 0..5usize, numbers: [u64; 7], before: Option<[u8; 16]>,
    ) -> Snapshot {
        use Consistency::{Cold, Crash, Memory, Quiesced, Unknown};
        let [run_name, host, program] = texts.try_into().expect("three");
        let [input_bytes, virtual_bytes, data_bytes, new_bytes, stored_bytes, checksums_verified, elapsed_ms] = numbers;
        Snapshot {
            id: SnapshotId::from_bytes(id),
            time,
            utc_offset,
            run: RunId::from_bytes(run),
            run_name,
            host,
            program,
            tags: tags.into_iter().collect(),
            origin,
            disks,
            consistency: [Unknown, Crash, Quiesced, Cold, Memory][consistency],
            statistics: Statistics {
                input_bytes, virtual_bytes, data_bytes, new_bytes, stored_bytes, checksums_verified, elapsed_ms,
            },
            predecessor: before.map(SnapshotId::from_bytes),
        }
    }
}

proptest! {
    #[test]
    fn s9_2_every_snapshot_is_read_back(snapshot in any_snapshot()) {
        let object = snapshot.seal(&full_keys(), &secret("seed"));
        prop_assert_eq!(Snapshot::open(&backup_keys(), snapshot.id, &object), Ok(snapshot));
    }
}

// 9.3 Session

fn session() -> SessionRecord {
    SessionRecord {
        id: SnapshotId::from_bytes(array("snapshot")),
        started: 1,
        host: "host".to_owned(),
        process: 70_000,
        program: "xenith".to_owned(),
        alive: 2,
    }
}

fn session_cbor() -> Vec<u8> {
    let mut cbor = vec![0xa6, 0, 0x50];
    cbor.extend(array::<16>("snapshot"));
    cbor.extend(b"\x01\x01\x02\x64host\x03\x1a\x00\x01\x11\x70\x04\x66xenith\x05\x02");
    cbor
}

fn session_verdict(cbor: &[u8]) -> Verdict {
    let object = seal_catalog(&full_keys(), Kind::Session, &secret("seed"), cbor);
    let session = SessionRecord::open(&full_keys(), &object).ok()?;
    let again = session.seal(&full_keys(), &secret("seed"));
    open_catalog(&full_keys(), Kind::Session, "session", &again).ok()
}

#[test]
fn s9_3_a_session_has_one_encoding() {
    let object = seal_catalog(&full_keys(), Kind::Session, &secret("seed"), &session_cbor());
    assert_eq!(session().seal(&full_keys(), &secret("seed")), object);
    assert_eq!(SessionRecord::open(&full_keys(), &object), Ok(session()));
    check_one_form(&session_cbor(), session_verdict);
}

proptest! {
    #[test]
    fn s9_3_every_session_is_read_back(
        id: [u8; 16], started: u64, host in "\\PC{0,80}", process: u32, program in "\\PC{0,80}", alive: u64,
    ) {
        let id = SnapshotId::from_bytes(id);
        let session = SessionRecord { id, started, host, process, program, alive };
        let object = session.seal(&full_keys(), &secret("seed"));
        prop_assert_eq!(SessionRecord::open(&backup_keys(), &object), Ok(session));
    }
}

// 9.4 State

fn index_name(owner: u8) -> IndexName {
    let hash = IndexHash::from_bytes([owner + 100; 20]);
    IndexName { owner: SnapshotId::from_bytes([owner; 16]), hash }
}

fn state() -> State {
    State {
        number: 24,
        previous: Digest::from_bytes(array("state 23")),
        phase: Phase::Waiting,
        live: vec![index_name(1), index_name(2)],
        wait: vec![SnapshotId::from_bytes([3; 16])],
        doomed_packs: vec![PackId::from_bytes([4; 32])],
        ..State::initial()
    }
}

fn state_cbor() -> Vec<u8> {
    let name = |owner: u8| [&[0x58, 36][..], &[owner; 16], &[owner + 100; 20]].concat();
    [
        &[0xaa, 0, 0x18, 24, 1, 0x58, 32][..],
        &array::<32>("state 23"),
        &[2, 2, 3, 0x82],
        &name(1),
        &name(2),
        &[4, 0x80, 5, 0x80, 6, 0x80, 7, 0x81, 0x50],
        &[3; 16],
        &[8, 0x80, 9, 0x81, 0x58, 32],
        &[4; 32],
    ]
    .concat()
}

fn state_verdict(cbor: &[u8]) -> Verdict {
    let object = seal_catalog(&full_keys(), Kind::State, &secret("seed"), cbor);
    // The number is compared with the name, so any of them may be asked for.
    let number = cbor::decode::<State>("state", cbor).ok()?.number;
    let state = State::open(&full_keys(), number, &object).ok()?;
    let again = state.seal(&full_keys(), &secret("seed"));
    open_catalog(&full_keys(), Kind::State, "state", &again).ok()
}

#[test]
fn s9_4_a_state_has_one_encoding() {
    let object = seal_catalog(&full_keys(), Kind::State, &secret("seed"), &state_cbor());
    assert_eq!(state().seal(&full_keys(), &secret("seed")), object);
    assert_eq!(State::open(&full_keys(), 24, &object), Ok(state()));
    check_one_form(&state_cbor(), state_verdict);
}

#[test]
fn s9_4_the_first_state_is_idle_and_empty() {
    let wanted = [
        &[0xaa, 0, 0, 1, 0x58, 32][..],
        &[0; 32],
        &[2, 0, 3, 0x80, 4, 0x80, 5, 0x80, 6, 0x80, 7, 0x80, 8, 0x80, 9, 0x80],
    ];
    assert_eq!(cbor::encode(&State::initial()), wanted.concat());
}

#[test]
fn s9_4_a_state_opens_under_its_own_number_only() {
    let object = state().seal(&full_keys(), &secret("seed"));
    assert!(State::open(&full_keys(), 24, &object).is_ok());
    assert!(State::open(&full_keys(), 23, &object).is_err());
}

#[test]
fn s9_4_there_are_four_phases() {
    let place = state_cbor().windows(4).position(|window| window == [2, 2, 3, 0x82]).unwrap() + 1;
    for phase in 0..24 {
        let mut cbor = state_cbor();
        cbor[place] = phase;
        assert_eq!(state_verdict(&cbor).is_some(), phase <= 3, "{phase}");
    }
}

fn any_names() -> impl Strategy<Value = Vec<IndexName>> {
    let name = any::<([u8; 16], [u8; 20])>().prop_map(|(owner, hash)| IndexName {
        owner: SnapshotId::from_bytes(owner),
        hash: IndexHash::from_bytes(hash),
    });
    vec(name, 0..6)
}

proptest! {
    #[test]
    fn s9_4_every_state_is_read_back(
        number: u64, previous: [u8; 32], phase in 0..4usize, names in (any_names(), any_names(), any_names()),
        absorbed: Vec<[u8; 16]>, wait: Vec<[u8; 16]>, condemned in vec(any::<[u8; 32]>(), 0..9),
    ) {
        let sessions = |ids: Vec<[u8; 16]>| ids.into_iter().map(SnapshotId::from_bytes).collect();
        let packs: Vec<_> = condemned.into_iter().map(PackId::from_bytes).collect();
        let (live, retired, doomed_index) = names;
        let state = State {
            number,
            previous: Digest::from_bytes(previous),
            phase: [Phase::Idle, Phase::Condemned, Phase::Waiting, Phase::Dooming][phase],
            live,
            retired,
            absorbed: sessions(absorbed),
            wait: sessions(wait),
            doomed_packs: packs.iter().rev().copied().collect(),
            condemned: packs,
            doomed_index,
        };
        let object = state.seal(&full_keys(), &secret("seed"));
        prop_assert_eq!(State::open(&backup_keys(), number, &object), Ok(state));
    }
}

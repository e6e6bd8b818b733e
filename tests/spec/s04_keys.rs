//! SPEC 4: who holds which secret, what is derived from what, key slots and HPKE.

use argon2::{Algorithm, Argon2, Params, Version};
use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::header::{Kind, SealedHeader};
use repo_format::id::SlotId;
use repo_format::keys::{Epoch, Keys, Role, Secret, commitment, derive};
use repo_format::seal::Sealer;
use repo_format::slot::{self, Bundle, KdfCost, Slot, SlotInfo, SlotParts};
use repo_tests::fixed::{
    array, backup_keys, bundle, epoch, foreign_keys, full_keys, full_keys_of, repository, secret,
    without_private,
};
use repo_tests::hostile::{
    check_any_bytes, check_every_flip_is_refused, flips, with_hash_repaired,
};

// 4.1 Secrets

#[test]
fn s4_1_the_backup_role_is_the_full_role_without_private_keys() {
    let (full, backup) = (full_keys(), backup_keys());
    assert_eq!((full.role(), backup.role()), (Role::Full, Role::Backup));
    assert_eq!(full.identity(), backup.identity());
    assert_eq!(full.current().catalog, backup.current().catalog);
    assert_eq!(full.current().public, backup.current().public);
    assert!(full.current().private.is_some() && backup.current().private.is_none());
}

#[test]
fn s4_1_secrets_are_not_printed() {
    let text = format!("{:?} {:?}", bundle(Role::Full), secret("x"));
    for byte in secret("identity").expose().windows(4) {
        assert!(!text.contains(&format!("{byte:?}").trim_matches(['[', ']']).to_owned()));
    }
    assert!(text.contains("Secret(..)"));
}

#[track_caller]
fn check_epochs(numbers: &[u32], sound: bool) {
    let epochs = numbers.iter().map(|number| epoch(*number)).collect();
    let keys = Keys::new(repository(), secret("identity"), epochs);
    assert_eq!(keys.is_ok(), sound, "{numbers:?}");
    if let Ok(keys) = keys {
        assert_eq!(keys.current().number, numbers[numbers.len() - 1]);
    }
}

#[test]
fn s4_3_epochs_rise_and_the_last_is_used_for_new_data() {
    check_epochs(&[], false);
    check_epochs(&[0], true);
    check_epochs(&[0, 1, 7, u32::MAX], true);
    check_epochs(&[1, 1], false);
    check_epochs(&[2, 1], false);
    check_epochs(&[0, 2, 1], false);
}

// 4.2 Derivation, written down once more

fn blake3_derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

#[test]
fn s4_2_ids_are_keyed_by_identity_and_repository() {
    let keys = full_keys();
    let of =
        |context| blake3_derive(context, &[keys.identity().expose(), keys.repository().as_bytes()]);
    assert_eq!(keys.segment.expose(), &of("xenith v1 segment id"));
    assert_eq!(keys.fingerprint.expose(), &of("xenith v1 fingerprint"));
    assert_eq!(keys.chunk.expose(), &of("xenith v1 chunk id"));
    assert_eq!(keys.node.expose(), &of("xenith v1 node id"));
    assert_eq!(keys.disk.expose(), &of("xenith v1 disk id"));
}

#[test]
fn s4_2_the_gear_table_is_2048_bytes_of_output() {
    let keys = full_keys();
    let mut output = [0; 2048];
    blake3::Hasher::new_derive_key("xenith v1 gear table")
        .update(keys.identity().expose())
        .update(keys.repository().as_bytes())
        .finalize_xof()
        .fill(&mut output);
    assert_eq!(keys.gear().map(u64::to_le_bytes).concat(), output);
}

#[test]
fn s4_2_object_keys_depend_on_secret_repository_kind_and_salt() {
    let keys = full_keys();
    let (current, salt) = (keys.current(), array::<32>("salt"));
    let catalog = current.catalog.expose();
    for kind in [2, 4, 9, 4 + 128] {
        let wanted = blake3_derive(
            "xenith v1 catalog object",
            &[catalog, keys.repository().as_bytes(), &[kind], &salt],
        );
        assert_eq!(keys.catalog_key(current, kind, &salt).expose(), &wanted);
    }
    let key = keys.catalog_key(current, 4, &salt);
    assert_ne!(key, keys.catalog_key(current, 5, &salt));
    assert_ne!(key, keys.catalog_key(current, 4, &array("another salt")));
    assert_ne!(key, keys.catalog_key(&epoch(4), 4, &salt));
    assert_ne!(key, foreign_keys().catalog_key(current, 4, &salt));
}

#[test]
fn s4_2_a_header_leads_to_its_object_key() {
    let keys = full_keys();
    for kind in [
        Kind::MapPack,
        Kind::PrintPack,
        Kind::SegmentIndex,
        Kind::ChunkIndex,
        Kind::PrintIndex,
        Kind::Snapshot,
        Kind::State,
    ] {
        let (header, key) = keys.seal_header(kind, &secret("seed"));
        assert_eq!(&header.salt, secret("seed").expose());
        assert_eq!(key, keys.catalog_key(keys.current(), kind as u8, &header.salt));
        assert_eq!(header.commitment, blake3_derive("xenith v1 commitment", &[key.expose()]));
        assert_eq!(keys.open_header(&header), Ok(key.clone()));
        assert_eq!(backup_keys().open_header(&header), Ok(key));
    }
}

#[test]
fn s4_2_contents_are_keyed_by_kind_plus_128_and_the_bytes_behind_the_repository() {
    let keys = full_keys();
    for kind in [Kind::DataPack, Kind::MapPack, Kind::PrintPack] {
        let (header, key) = keys.seal_header(kind, &secret("seed"));
        let wanted = keys.catalog_key(keys.current(), kind as u8 + 128, &header.salt);
        assert_eq!(keys.contents_key(&header), Ok(wanted.clone()));
        assert_eq!(backup_keys().contents_key(&header), Ok(wanted.clone()));
        assert_ne!(key, wanted);
    }
}

#[test]
fn s4_2_other_epochs_open_what_they_sealed() {
    let old = full_keys_of(vec![epoch(1)]);
    let both = full_keys_of(vec![epoch(1), epoch(2)]);
    let new = full_keys_of(vec![epoch(2)]);
    for kind in [Kind::DataPack, Kind::MapPack] {
        let (header, key) = old.seal_header(kind, &secret("seed"));
        assert_eq!((header.epoch, both.open_header(&header)), (1, Ok(key)));
        assert!(matches!(new.open_header(&header), Err(FormatError::Invalid { .. })));
        assert!(new.contents_key(&header).is_err());
        let (header, key) = both.seal_header(kind, &secret("seed"));
        assert_eq!((header.epoch, new.open_header(&header)), (2, Ok(key)));
    }
}

// 4.3 Key slots

const PASSWORD: &[u8] = "correct horse \u{1f40e}".as_bytes();
const BUNDLE_START: usize = 108;

fn info(role: Role) -> SlotInfo {
    SlotInfo { role, label: "operator".to_owned(), created: 1_700_000_000 }
}

fn slot_object(bundle: &Bundle) -> Vec<u8> {
    let parts = SlotParts {
        id: SlotId::from_bytes(array("slot")),
        salt: array("slot salt"),
        cost: KdfCost::CHEAPEST,
        info: &info(bundle.role),
    };
    slot::encode(bundle, PASSWORD, &parts)
}

fn wrap_key() -> Secret {
    let mut output = [0; 32];
    let params = Params::new(8192, 1, 1, Some(32)).expect("allowed parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(PASSWORD, &array::<16>("slot salt"), &mut output)
        .expect("allowed lengths");
    derive("xenith v1 slot", &[&output])
}

fn sealed_len(object: &[u8], at: usize) -> usize {
    u32::from_le_bytes(object[at..at + 4].try_into().expect("four bytes")) as usize
}

#[test]
fn s4_3_a_slot_is_laid_out_as_specified() {
    let object = slot_object(&bundle(Role::Full));
    let fixed = [
        &b"XNTH"[..],
        &[1, 0, 2, 0],
        &[3, 0, 0, 0],
        &[0; 4],
        repository().as_bytes(),
        &array::<16>("slot"),
        &[1, 1, 1, 0],
        &[0, 32, 0, 0],
        &array::<16>("slot salt"),
        &blake3_derive("xenith v1 commitment", &[wrap_key().expose()]),
    ]
    .concat();
    assert_eq!(object[..104], fixed);
    let b = sealed_len(&object, 104);
    let i = sealed_len(&object, BUNDLE_START + b);
    assert_eq!(object.len(), 112 + b + i + 32);

    let text = Sealer::new(&wrap_key(), &fixed)
        .open("bundle", 0, &object[BUNDLE_START..BUNDLE_START + b])
        .expect("the bundle opens with the wrap key");
    assert_eq!(text, bundle_cbor(0, true));
    let keys = backup_keys();
    let salt: Vec<u8> = [array::<16>("slot"), array::<16>("slot salt")].concat();
    let key = keys.catalog_key(keys.current(), 2, &salt.try_into().expect("32 bytes"));
    let text = Sealer::new(&key, &fixed)
        .open("info", 1, &object[112 + b..112 + b + i])
        .expect("the info opens with a catalog key");
    let wanted = [&[0xa3, 0, 0, 1, 0x68][..], b"operator", &[2, 0x1a, 0x65, 0x53, 0xf1, 0x00]];
    assert_eq!(text, wanted.concat());
}

/// The bundle of the fixed keys, byte by byte.
fn bundle_cbor(role: u8, with_private: bool) -> Vec<u8> {
    let epoch = epoch(3);
    let mut cbor = vec![0xa4, 0, role, 1, 0x58, 32];
    cbor.extend(secret("identity").expose());
    cbor.extend([2, 0x81, if with_private { 0xa4 } else { 0xa3 }, 0, 3, 1, 0x58, 32]);
    cbor.extend(epoch.catalog.expose());
    cbor.extend([2, 0x58, 32]);
    cbor.extend(epoch.public);
    if with_private {
        cbor.extend([3, 0x58, 32]);
        cbor.extend(epoch.private.expect("the full role").expose());
    }
    cbor.extend([3, 0x58, 32]);
    cbor.extend(secret("signing seed").expose());
    cbor
}

/// The object of a slot whose bundle is `cbor`, sealed with the right keys.
fn slot_around(cbor: &[u8]) -> Vec<u8> {
    slot_of_epoch(3, cbor)
}

fn slot_of_epoch(epoch: u8, cbor: &[u8]) -> Vec<u8> {
    let mut object = slot_object(&bundle(Role::Full));
    object[8] = epoch;
    let sealed = Sealer::new(&wrap_key(), &object[..104]).seal(0, cbor);
    let info = &object[BUNDLE_START + sealed_len(&object, 104)..object.len() - 32];
    let len = u32::try_from(sealed.len()).expect("a short bundle").to_le_bytes();
    with_hash_repaired(&[&object[..104], &len, &sealed, info, &[0; 32]].concat())
}

#[track_caller]
fn check_bundle(cbor: &[u8], wanted: Result<Role, ()>) {
    let slot = Slot::parse(&slot_around(cbor)).expect("the slot is sound");
    let found = slot.open(PASSWORD).map(|bundle| bundle.expect("the right password").role);
    assert_eq!(found.map_err(drop), wanted);
}

#[test]
fn s4_3_a_password_opens_the_bundle_of_its_role() {
    for role in [Role::Full, Role::Backup] {
        let slot = Slot::parse(&slot_object(&bundle(role))).unwrap();
        assert_eq!(slot.id, SlotId::from_bytes(array("slot")));
        assert_eq!(slot.repository, repository());
        let found = slot.open(PASSWORD).unwrap().expect("the right password");
        assert_eq!((found.role, found.keys.role()), (role, role));
        assert_eq!(found.signing_seed, secret("signing seed"));
        assert_eq!(found.keys.identity(), full_keys().identity());
        assert_eq!(found.keys.current().public, epoch(3).public);
        let private = (role == Role::Full).then(|| epoch(3).private.unwrap());
        assert_eq!(found.keys.current().private, private);
        assert_eq!(slot.info(&backup_keys()), Ok(info(role)));
    }
}

#[test]
fn s4_3_a_bundle_of_the_backup_role_made_from_full_keys_has_no_private_key() {
    let made = Bundle { role: Role::Backup, ..bundle(Role::Full) };
    let slot = Slot::parse(&slot_object(&made)).unwrap();
    assert_eq!(slot.open(PASSWORD).unwrap().unwrap().keys.role(), Role::Backup);
}

#[test]
fn s4_3_another_password_opens_nothing_and_is_no_error() {
    let slot = Slot::parse(&slot_object(&bundle(Role::Full))).unwrap();
    let shorter = &PASSWORD[..PASSWORD.len() - 1];
    for password in [b"", &b"wrong"[..], shorter, &[PASSWORD, b"\n"].concat()] {
        assert!(slot.open(password).unwrap().is_none(), "{password:?}");
    }
}

#[test]
fn s4_3_what_a_bundle_holds_agrees_with_its_role() {
    check_bundle(&bundle_cbor(0, true), Ok(Role::Full));
    check_bundle(&bundle_cbor(1, false), Ok(Role::Backup));
    check_bundle(&bundle_cbor(0, false), Err(()));
    check_bundle(&bundle_cbor(1, true), Err(()));
    check_bundle(&bundle_cbor(2, true), Err(()));
    check_bundle(&[], Err(()));
    check_bundle(&[&bundle_cbor(0, true)[..], &[0]].concat(), Err(()));
}

#[test]
fn s4_3_the_epoch_of_the_header_is_one_of_the_bundle() {
    let opens = |epoch| {
        let slot = Slot::parse(&slot_of_epoch(epoch, &bundle_cbor(0, true))).expect("sound");
        slot.open(PASSWORD).is_ok()
    };
    assert!(opens(3) && !opens(2) && !opens(4));
}

#[test]
fn s4_3_an_info_needs_the_catalog_secret_of_its_epoch_and_repository() {
    let slot = Slot::parse(&slot_object(&bundle(Role::Full))).unwrap();
    assert!(matches!(slot.info(&foreign_keys()), Err(FormatError::Seal { .. })));
    assert!(matches!(slot.info(&full_keys_of(vec![epoch(4)])), Err(FormatError::Invalid { .. })));
}

#[track_caller]
fn check_cost(memory_kib: u32, passes: u8, lanes: u8, sound: bool) {
    assert_eq!(KdfCost::new(memory_kib, passes, lanes).is_ok(), sound);
    let mut object = slot_object(&bundle(Role::Backup));
    (object[49], object[50]) = (passes, lanes);
    object[52..56].copy_from_slice(&memory_kib.to_le_bytes());
    assert_eq!(Slot::parse(&with_hash_repaired(&object)).is_ok(), sound);
}

#[test]
fn s4_3_costs_are_bounded_before_memory_is_allocated() {
    check_cost(8192, 1, 1, true);
    check_cost(8191, 1, 1, false);
    check_cost(2_097_152, 16, 16, true);
    check_cost(2_097_153, 16, 16, false);
    check_cost(u32::MAX, 1, 1, false);
    check_cost(8192, 0, 1, false);
    check_cost(8192, 17, 1, false);
    check_cost(8192, 1, 0, false);
    check_cost(8192, 1, 17, false);
    check_cost(0, 0, 0, false);
}

#[test]
fn s4_3_lengths_in_a_slot_are_bounded() {
    for (len, wanted) in [(65_536, "Truncated"), (65_537, "Limit"), (u32::MAX, "Limit")] {
        let mut object = slot_object(&bundle(Role::Backup));
        object[104..108].copy_from_slice(&len.to_le_bytes());
        let error = Slot::parse(&with_hash_repaired(&object)).err().expect("refused");
        assert!(format!("{error:?}").starts_with(wanted), "{len}: {error:?}");
    }
}

#[test]
fn s4_3_a_changed_slot_does_not_verify() {
    let object = slot_object(&bundle(Role::Backup));
    check_every_flip_is_refused(&object, |bytes| Slot::parse(bytes).is_ok());
    let same = |bytes: &[u8]| Slot::parse(bytes).is_ok().then(|| bytes.to_vec());
    check_any_bytes(&object, same);
}

#[test]
fn s4_3_a_changed_slot_with_a_right_hash_gives_nothing_away() {
    let object = slot_object(&bundle(Role::Backup));
    let end_of_bundle = BUNDLE_START + sealed_len(&object, 104);
    // A bit of every field, and every 16th byte of the sealed bundle: each costs a password derivation.
    let places = (0..BUNDLE_START).chain((BUNDLE_START..end_of_bundle).step_by(16));
    for place in places.filter(|place| !(49..56).contains(place)) {
        let mut changed = object.clone();
        changed[place] ^= 1 << (place % 8);
        let opened = Slot::parse(&with_hash_repaired(&changed)).map(|slot| slot.open(PASSWORD));
        assert!(!matches!(opened, Ok(Ok(Some(_)))), "byte {place}");
    }
    let start = end_of_bundle + 4;
    for (bit, info) in flips(&object[start..object.len() - 32]) {
        let changed = [&object[..start], &info, &[0; 32]].concat();
        let slot = Slot::parse(&with_hash_repaired(&changed)).unwrap();
        assert!(slot.info(&full_keys()).is_err(), "bit {bit} of the info");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn s4_3_every_bundle_goes_through_a_slot(
        numbers in proptest::collection::btree_set(any::<u32>(), 1..20),
        full: bool, password: Vec<u8>, label in "\\PC{0,100}", created: u64, seed: [u8; 32],
    ) {
        let keys = full_keys_of(numbers.iter().map(|number| epoch(*number)).collect());
        let role = if full { Role::Full } else { Role::Backup };
        let keys = if full { keys } else { without_private(&keys) };
        let made = Bundle { role, keys, signing_seed: Secret::from_bytes(seed) };
        let info = SlotInfo { role, label, created };
        let id = SlotId::from_bytes(array("slot"));
        let parts = SlotParts { id, salt: array("salt"), cost: KdfCost::CHEAPEST, info: &info };
        let slot = Slot::parse(&slot::encode(&made, &password, &parts)).unwrap();
        let found = slot.open(&password).unwrap().expect("the right password");
        prop_assert_eq!(found.role, role);
        prop_assert_eq!(found.signing_seed.expose(), &seed);
        prop_assert_eq!(slot.info(&found.keys), Ok(info));
        let parts_of = |epoch: &Epoch| (epoch.number, epoch.catalog.clone(), epoch.public, epoch.private.clone());
        let found: Vec<_> = found.keys.epochs().iter().map(parts_of).collect();
        prop_assert_eq!(found, made.keys.epochs().iter().map(parts_of).collect::<Vec<_>>());
    }
}

// 4.4 HPKE

fn data_header(keys: &Keys) -> (SealedHeader, Secret) {
    keys.seal_header(Kind::DataPack, &secret("data seed"))
}

fn with_epoch(change: impl Fn(&mut Epoch)) -> Keys {
    let mut epoch = epoch(3);
    change(&mut epoch);
    full_keys_of(vec![epoch])
}

#[track_caller]
fn check_refused(keys: &Keys, header: &SealedHeader) {
    let found = keys.open_header(header);
    assert_eq!(found, Err(FormatError::Seal { what: "header" }));
}

#[test]
fn s4_4_both_roles_seal_and_the_full_role_opens() {
    let (header, key) = data_header(&backup_keys());
    assert_eq!(data_header(&full_keys()), (header.clone(), key.clone()));
    assert_eq!(full_keys().open_header(&header), Ok(key.clone()));
    assert_eq!(header.commitment, commitment(&key));
}

#[test]
fn s4_4_the_backup_role_is_told_that_it_cannot_open_data() {
    let error = backup_keys().open_header(&data_header(&full_keys()).0).unwrap_err();
    assert_eq!(
        error,
        FormatError::Invalid { what: "role: the backup role cannot open data packs" }
    );
}

#[test]
fn s4_4_another_catalog_secret_means_another_psk_and_is_caught_by_the_commitment() {
    let header = data_header(&full_keys()).0;
    check_refused(&with_epoch(|epoch| epoch.catalog = secret("wrong psk")), &header);
}

#[test]
fn s4_4_another_private_key_is_caught_by_the_commitment() {
    let header = data_header(&full_keys()).0;
    check_refused(&with_epoch(|epoch| epoch.private = Some(secret("wrong"))), &header);
}

#[test]
fn s4_4_epoch_and_repository_are_part_of_the_exchange() {
    let header = data_header(&full_keys()).0;
    let moved = SealedHeader { epoch: 4, ..header.clone() };
    let renumbered = with_epoch(|epoch| epoch.number = 4);
    check_refused(&renumbered, &moved);
    let current = full_keys().current().clone();
    let elsewhere = Keys::new(foreign_keys().repository(), secret("identity"), vec![current]);
    check_refused(&elsewhere.unwrap(), &header);
}

#[test]
fn s4_4_every_changed_encapsulation_is_refused() {
    let header = data_header(&full_keys()).0;
    for (_, salt) in flips(&header.salt) {
        let salt: [u8; 32] = salt.try_into().unwrap();
        // X25519 ignores the highest bit of a public key; HPKE hashes it in.
        check_refused(&full_keys(), &SealedHeader { salt, ..header.clone() });
    }
    for (_, commitment) in flips(&header.commitment) {
        let commitment: [u8; 32] = commitment.try_into().unwrap();
        check_refused(&full_keys(), &SealedHeader { commitment, ..header.clone() });
    }
}

#[test]
fn s4_4_points_of_small_order_are_refused() {
    let header = data_header(&full_keys()).0;
    let mut one = [0; 32];
    one[0] = 1;
    for salt in [[0; 32], one] {
        check_refused(&full_keys(), &SealedHeader { salt, ..header.clone() });
    }
}

#[test]
fn s4_4_two_seeds_give_two_keys() {
    let keys = full_keys();
    let (first, second) = (data_header(&keys), keys.seal_header(Kind::DataPack, &secret("other")));
    assert_ne!(first.0.salt, second.0.salt);
    assert_ne!(first.1, second.1);
}

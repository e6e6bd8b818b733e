//! SPEC 5: how texts are sealed and padded.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::header::Kind;
use repo_format::limits::{CATALOG_LEN_MAX, FRAME_PLAIN_MAX};
use repo_format::padding::{padded, padded_len};
use repo_format::seal::{Sealer, open_catalog, open_object, seal_catalog, seal_object};
use repo_format::wire::with_final_hash;
use repo_tests::fixed::{backup_keys, foreign_keys, full_keys, noise, secret};
use repo_tests::hostile::{check_any_bytes, check_every_flip_is_refused, with_hash_repaired};

// 5.1 seal(key, prefix, number, text)

/// SPEC 5.1 written down once more.
fn seal_again(key: &[u8; 32], prefix: &[u8], number: u32, text: &[u8]) -> Vec<u8> {
    let nonce_key = blake3::derive_key("xenith v1 frame nonce", key);
    let hash = blake3::keyed_hash(&nonce_key, text);
    let tail = &hash.as_bytes()[..8];
    let nonce: [u8; 12] = [&number.to_be_bytes(), tail].concat().try_into().expect("4 + 8 bytes");
    let aad = &[prefix, &number.to_le_bytes()].concat();
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(&Nonce::from(nonce), Payload { msg: text, aad })
        .expect("a short text");
    [tail, &sealed].concat()
}

#[track_caller]
fn check_seal(prefix: &[u8], number: u32, text: &[u8]) {
    let key = secret("key");
    let sealer = Sealer::new(&key, prefix);
    let sealed = sealer.seal(number, text);
    assert_eq!(sealed, seal_again(key.expose(), prefix, number, text));
    assert_eq!(sealed.len(), text.len() + 24);
    assert_eq!(sealer.open("frame", number, &sealed).as_deref(), Ok(text));
}

#[test]
fn s5_1_a_sealed_frame_is_tail_ciphertext_and_tag() {
    check_seal(b"", 0, b"");
    check_seal(b"", 0, b"text");
    check_seal(&[7; 96], 1, &noise("text", 1000));
    check_seal(&[7; 96], u32::MAX, &noise("text", FRAME_PLAIN_MAX));
    check_seal(&[7; 104], 0x0102_0304, &[0; 17]);
}

proptest! {
    #[test]
    fn s5_1_whatever_is_sealed_opens(prefix: Vec<u8>, number: u32, text: Vec<u8>) {
        check_seal(&prefix, number, &text);
    }
}

#[test]
fn s5_1_sealing_appends() {
    let mut out = b"before".to_vec();
    let sealer = Sealer::new(&secret("key"), b"prefix");
    sealer.seal_into(1, b"text", &mut out);
    assert_eq!(out, [&b"before"[..], &sealer.seal(1, b"text")].concat());
}

#[test]
fn s5_1_two_texts_under_one_number_have_two_nonces() {
    let sealer = Sealer::new(&secret("key"), b"prefix");
    assert_ne!(sealer.seal(0, b"one")[..8], sealer.seal(0, b"two")[..8]);
    assert_eq!(sealer.seal(0, b"one"), sealer.seal(0, b"one"));
}

#[test]
fn s5_1_any_change_to_a_frame_is_noticed() {
    let sealer = Sealer::new(&secret("key"), b"prefix");
    let sealed = sealer.seal(5, &noise("text", 40));
    let opens = |bytes: &[u8]| sealer.open("frame", 5, bytes).is_ok();
    check_every_flip_is_refused(&sealed, opens);
    check_any_bytes(&sealed, |bytes| opens(bytes).then(|| bytes.to_vec()));
    for len in 0..sealed.len() {
        assert!(!opens(&sealed[..len]), "cut to {len} bytes");
    }
}

#[test]
fn s5_1_a_frame_opens_only_in_its_place() {
    let sealed = Sealer::new(&secret("key"), b"prefix").seal(5, b"text");
    let open =
        |key, prefix: &[u8], number| Sealer::new(&secret(key), prefix).open("f", number, &sealed);
    assert!(open("key", b"prefix", 5).is_ok());
    for refused in [
        open("other key", b"prefix", 5),
        open("key", b"prefiy", 5),
        open("key", b"prefix\0", 5),
        open("key", b"", 5),
        open("key", b"prefix", 4),
        open("key", b"prefix", 5 << 24),
    ] {
        assert_eq!(refused, Err(FormatError::Seal { what: "f" }));
    }
}

// 5.2 Single objects

fn object(text: &[u8]) -> Vec<u8> {
    seal_object(&full_keys(), Kind::SegmentIndex, &secret("seed"), text)
}

fn open(object: &[u8]) -> Result<Vec<u8>, FormatError> {
    open_object(&full_keys(), Kind::SegmentIndex, "index", object)
}

#[track_caller]
fn check_object(text_len: usize, frames: usize) {
    let text = noise("text", text_len);
    let object = object(&text);
    assert_eq!(object.len(), 96 + text_len + 24 * frames, "{text_len}");
    assert_eq!(open(&object), Ok(text));
}

#[test]
fn s5_2_texts_are_cut_into_frames_of_1_mib() {
    assert_eq!(FRAME_PLAIN_MAX, 1_048_576);
    check_object(1, 1);
    check_object(FRAME_PLAIN_MAX - 1, 1);
    check_object(FRAME_PLAIN_MAX, 1);
    check_object(FRAME_PLAIN_MAX + 1, 2);
    check_object(3 * FRAME_PLAIN_MAX, 3);
    check_object(3 * FRAME_PLAIN_MAX + 12_345, 4);
}

#[test]
fn s5_2_frame_i_is_sealed_with_number_i_and_the_header() {
    let keys = full_keys();
    let text = noise("text", FRAME_PLAIN_MAX + 9);
    let (header, key) = keys.seal_header(Kind::SegmentIndex, &secret("seed"));
    let seal = |number, text| seal_again(key.expose(), &header.encode(), number, text);
    let (first, second) = text.split_at(FRAME_PLAIN_MAX);
    let wanted = [&header.encode()[..], &seal(0, first), &seal(1, second)].concat();
    assert!(object(&text) == wanted);
}

#[test]
fn s5_2_frames_cannot_change_places_or_be_repeated() {
    const SEALED: usize = FRAME_PLAIN_MAX + 24;
    let object = object(&noise("text", 2 * FRAME_PLAIN_MAX));
    let (header, frames) = object.split_at(96);
    let (first, second) = frames.split_at(SEALED);
    assert!(open(&[header, second, first].concat()).is_err());
    assert!(open(&[header, first, first].concat()).is_err());
    assert!(open(&[header, first, second, first].concat()).is_err());
    assert!(open(&[header, second].concat()).is_err());
}

#[test]
fn s5_2_no_frame_is_empty() {
    let (header, key) = full_keys().seal_header(Kind::SegmentIndex, &secret("seed"));
    let empty = |number| seal_again(key.expose(), &header.encode(), number, &[]);
    assert!(open(&[&header.encode()[..], &empty(0)].concat()).is_err());
    assert!(open(&[&object(&[7; FRAME_PLAIN_MAX])[..], &empty(1)].concat()).is_err());
}

#[test]
fn s5_2_every_byte_of_an_object_is_authenticated() {
    let object = object(b"text");
    check_every_flip_is_refused(&object, |bytes| open(bytes).is_ok());
}

#[test]
fn s5_2_an_object_opens_as_its_kind_and_in_its_repository() {
    let object = object(b"text");
    let open = |keys, kind| open_object(&keys, kind, "index", &object);
    assert!(open(backup_keys(), Kind::SegmentIndex).is_ok());
    assert!(open(full_keys(), Kind::ChunkIndex).is_err());
    assert_eq!(
        open(foreign_keys(), Kind::SegmentIndex),
        Err(FormatError::Invalid { what: "repository id" })
    );
}

fn catalog(cbor: &[u8]) -> Vec<u8> {
    seal_catalog(&full_keys(), Kind::State, &secret("seed"), cbor)
}

fn open_state(object: &[u8]) -> Result<Vec<u8>, FormatError> {
    open_catalog(&full_keys(), Kind::State, "state", object)
}

#[track_caller]
fn check_catalog(cbor_len: usize, text_len: usize) {
    let cbor = noise("cbor", cbor_len);
    let object = catalog(&cbor);
    let frames = text_len.div_ceil(FRAME_PLAIN_MAX);
    assert_eq!(object.len(), 96 + text_len + 24 * frames + 32, "{cbor_len}");
    assert_eq!(open_state(&object), Ok(cbor));
}

#[test]
fn s5_2_kinds_9_to_11_are_padded_and_hashed() {
    check_catalog(0, 4);
    check_catalog(4, 8);
    check_catalog(5, 10);
    check_catalog(1000, 1024);
    check_catalog(65_536 - 4, 65_536);
    check_catalog(FRAME_PLAIN_MAX, 1_081_344);
}

#[test]
fn s5_2_changes_to_an_object_are_noticed_with_and_without_its_hash() {
    let object = catalog(b"0123456789");
    check_every_flip_is_refused(&object, |bytes| {
        assert!(open_state(bytes).is_err());
        open_state(&with_hash_repaired(bytes)).is_ok()
            && bytes[..bytes.len() - 32] != object[..object.len() - 32]
    });
    check_any_bytes(&object, |bytes| open_state(bytes).is_ok().then(|| bytes.to_vec()));
}

/// An object whose sealed text is `text`, length field and padding included.
#[track_caller]
fn check_text(text: &[u8], sound: bool) {
    let object = seal_object(&full_keys(), Kind::State, &secret("seed"), text);
    assert_eq!(open_state(&with_final_hash(object)).is_ok(), sound, "{text:?}");
}

#[test]
fn s5_2_length_and_padding_are_exactly_as_written() {
    check_text(&[5, 0, 0, 0, 1, 2, 3, 4, 5, 0], true);
    check_text(&[5, 0, 0, 0, 1, 2, 3, 4, 5, 1], false);
    check_text(&[5, 0, 0, 0, 1, 2, 3, 4, 5], false);
    check_text(&[5, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0], false);
    check_text(&[7, 0, 0, 0, 1, 2, 3, 4, 5, 0], false);
    check_text(&[255, 255, 255, 255, 1, 2, 3, 4, 5, 0], false);
    check_text(&[0, 0, 0, 0], true);
    check_text(&[0, 0, 0], false);
    check_text(&[], false);
}

#[test]
fn s13_objects_of_more_than_64_mib_are_not_even_hashed() {
    let mut object = vec![0; usize::try_from(CATALOG_LEN_MAX).unwrap()];
    assert_eq!(open_state(&object), Err(FormatError::Hash { what: "state" }));
    object.push(0);
    let (claimed, limit) = (CATALOG_LEN_MAX + 1, CATALOG_LEN_MAX);
    assert_eq!(open_state(&object), Err(FormatError::Limit { what: "state", claimed, limit }));
}

// 5.3 Padding

/// SPEC 5.3 written down once more, by counting.
fn pad_again(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let floor_log2 = |value: u64| (0..64).rev().find(|bit| value >> bit != 0).expect("not zero");
    let e = floor_log2(len);
    let s = floor_log2(e) + 1;
    len.next_multiple_of(1 << (e - s))
}

#[track_caller]
fn check_pad(len: u64, wanted: u64) {
    assert_eq!(padded(len), wanted, "{len}");
}

#[test]
fn s5_3_lengths_are_padded_as_padme_does() {
    check_pad(0, 0);
    check_pad(1, 1);
    check_pad(2, 2);
    check_pad(3, 3);
    check_pad(7, 7);
    check_pad(8, 8);
    check_pad(9, 10);
    check_pad(17, 18);
    check_pad(100, 104);
    check_pad(1000, 1024);
    check_pad(65_536, 65_536);
    check_pad(65_537, 67_584);
    check_pad(1 << 26, 1 << 26);
    check_pad((1 << 26) + 1, (1 << 26) + (1 << 21));
}

proptest! {
    #[test]
    fn s5_3_padding_follows_its_formula_and_its_promises(shift in 0..50u32, bits: u64) {
        let len = bits >> 14 >> shift;
        let total = padded(len);
        prop_assert_eq!(total, pad_again(len));
        prop_assert_eq!(padded(total), total);
        prop_assert!(total >= len && padded(len + 1) >= total);
        prop_assert!((total - len) * 100 <= len * 12);
        prop_assert!(len <= 65_536 || (total - len) * 1000 <= len * 32);
        prop_assert_eq!(padded_len(len as usize) as u64, total);
    }
}

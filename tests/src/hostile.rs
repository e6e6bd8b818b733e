//! Hostile bytes: whatever is done to valid bytes, a parser gives a verdict and stays small.
//!
//! A *verdict* is what a parser makes of bytes: `None` if it refuses them, and otherwise the bytes that it would write
//! for the value that it read. A format in which every value has one encoding gives back what it was given.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::prop_oneof;
use proptest::test_runner::{Config, TestRunner};

use crate::memory::largest_allocation;

/// What a parser makes of bytes: nothing, or what it would write for them.
pub type Verdict = Option<Vec<u8>>;

/// Applies every test of this module to a codec with one encoding for each value.
#[track_caller]
pub fn check_codec(valid: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    check_accepted(valid, &verdict);
    check_every_flip(valid, &verdict);
    check_every_cut(valid, &verdict);
    check_additions(valid, &verdict);
    check_any_bytes(valid, &verdict);
}

/// `valid` is read and written again as it is.
#[track_caller]
pub fn check_accepted(valid: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    assert_eq!(verdict(valid).as_deref(), Some(valid), "valid bytes");
}

/// With any one bit flipped, `valid` is refused or is the one encoding of another value.
#[track_caller]
pub fn check_every_flip(valid: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    for (place, flipped) in flips(valid) {
        if let Some(written) = verdict(&flipped) {
            assert!(written == flipped, "two encodings: bit {place} flipped");
        }
    }
}

/// With any one bit flipped, `valid` is refused.
#[track_caller]
pub fn check_every_flip_is_refused(valid: &[u8], accepts: impl Fn(&[u8]) -> bool) {
    for (place, flipped) in flips(valid) {
        assert!(!accepts(&flipped), "accepted with bit {place} flipped");
    }
}

/// Every proper beginning of `valid` is refused.
#[track_caller]
pub fn check_every_cut(valid: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    for len in 0..valid.len() {
        assert_eq!(verdict(&valid[..len]), None, "cut to {len} bytes");
    }
}

/// `valid` with anything behind it is refused.
#[track_caller]
pub fn check_additions(valid: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    for addition in [&[0][..], &[1], &[0; 32], &[0xff; 100]] {
        let longer = [valid, addition].concat();
        assert_eq!(verdict(&longer), None, "{} more bytes", addition.len());
    }
}

/// Random bytes, and `valid` with random changes: never a panic, never two encodings of a value,
/// never an allocation that the number of bytes does not justify.
#[track_caller]
pub fn check_any_bytes(valid: &[u8], verdict: impl Fn(&[u8]) -> Verdict) {
    let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&disturbed(valid.to_vec()), |bytes| {
        let (written, largest) = largest_allocation(|| verdict(&bytes));
        if let Some(written) = written {
            assert!(written == bytes, "two encodings of one value");
        }
        let limit = 8 * bytes.len() + 8192;
        assert!(largest <= limit, "{largest} bytes wanted at once, not {limit}");
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn disturbed(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = valid.len();
    let change = (0..len.max(1), any::<u8>());
    let changed = (vec(change, 1..8), 0..=2 * len).prop_map(move |(changes, cut)| {
        let mut bytes = valid.clone();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        bytes.truncate(cut);
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..4096), changed]
}

/// Every `bytes` that differs from these in one bit, with the number of the bit.
pub fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..8 * bytes.len()).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit, flipped)
    })
}

/// `object` with its last 32 bytes made right again: what an attacker does who knows the format and no key.
#[must_use]
pub fn with_hash_repaired(object: &[u8]) -> Vec<u8> {
    let body = &object[..object.len() - 32];
    [body, blake3::hash(body).as_bytes()].concat()
}

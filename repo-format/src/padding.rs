//! Padme: sizes on the storage tell little about sizes inside (SPEC 5.3).

/// The smallest padded length that holds `len` bytes: at most 12 % more, above 64 KiB at most 3.2 %.
#[must_use]
pub const fn padded(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1 << (exponent - significant)) - 1;
    (len + mask) & !mask
}

/// [`padded`] for lengths in memory.
#[must_use]
pub fn padded_len(len: usize) -> usize {
    usize::try_from(padded(len as u64)).expect("padding adds 12 % to a length that fits memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_3_padding_is_idempotent_and_small() {
        for len in (0..100_000).chain([1 << 26, (1 << 26) + 1, 123_456_789]) {
            let total = padded(len);
            assert!(total >= len && padded(total) == total, "{len}");
            assert!(total - len <= len * 12 / 100 + 1, "{len}");
            assert!(len < 65_536 || (total - len) * 1000 <= len * 32, "{len}");
        }
        assert_eq!(padded(9), 10);
        assert_eq!(padded(65_537), 67_584);
    }
}

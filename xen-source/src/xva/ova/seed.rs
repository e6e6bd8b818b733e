//! Uuids and network addresses made from bytes that the caller drew at random.

use sha1::{Digest, Sha1};

/// Random bytes and how far they have been used. The same seed gives the same series.
#[derive(Debug, Clone)]
pub struct Seed {
    bytes: [u8; 32],
    used: u64,
}

impl Seed {
    /// Starts a series. `bytes` should come from the system's source of randomness.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, used: 0 }
    }

    /// A random uuid (version 4) in text form.
    pub fn uuid(&mut self) -> String {
        let mut bytes: [u8; 16] = self.draw();
        bytes[6] = (bytes[6] & 0x0F) | 0x40;
        bytes[8] = (bytes[8] & 0x3F) | 0x80;
        let digits = format!("{:032x}", u128::from_be_bytes(bytes));
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        parts.join("-")
    }

    /// A random address in text form: locally administered, of one card.
    pub fn mac(&mut self) -> String {
        let mut bytes: [u8; 6] = self.draw();
        bytes[0] = (bytes[0] & 0xFC) | 0x02;
        bytes.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Addresses and uuids need to differ, not to be secret: a hash of seed and counter does.
    fn draw<const LEN: usize>(&mut self) -> [u8; LEN] {
        const { assert!(LEN <= 20, "SHA-1 gives 20 bytes") };
        self.used += 1;
        let digest = Sha1::new().chain_update(self.bytes).chain_update(self.used.to_be_bytes());
        let mut drawn = [0; LEN];
        drawn.copy_from_slice(&digest.finalize()[..LEN]);
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_addresses_look_as_they_should_and_differ() {
        let mut seed = Seed::new([7; 32]);
        let (first, second) = (seed.uuid(), seed.uuid());
        assert_ne!(first, second);
        assert_eq!((first.len(), &first[14..15]), (36, "4"));
        let mac = seed.mac();
        assert_eq!(mac.len(), 17);
        assert_eq!(u8::from_str_radix(&mac[..2], 16).expect("hex") & 3, 2);
    }
}

//! Ids: newtypes without conversions, hex in and out.

use std::fmt;

/// A text is not the hex form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {digits} lower-case hex digits")]
pub struct ParseIdError {
    text: String,
    digits: usize,
}

/// Writes `bytes` as lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads exactly `2 * N` lower-case hex digits.
pub fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let refuse = || ParseIdError { text: text.chars().take(80).collect(), digits: 2 * N };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(refuse()),
    };
    if text.len() != 2 * N {
        return Err(refuse());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Bytes of this id.
            pub const LEN: usize = $len;

            /// Takes bytes that are this id: from a parser, a hash or a random source.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Reads the hex form.
            pub fn parse_hex(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                <[u8; $len]>::try_from(d.bytes()?)
                    .map(Self)
                    .map_err(|_| minicbor::decode::Error::message("id of the wrong length"))
            }
        }
    };
}

id_type!(
    /// R: names a repository. Random, public (SPEC 4.1).
    RepositoryId, 16);
id_type!(
    /// Names a snapshot and its session; also the owner of index objects. Random (SPEC 3).
    SnapshotId, 16);
id_type!(
    /// Names a run: all snapshots of one invocation. Random.
    RunId, 16);
id_type!(
    /// Names a key slot. Random.
    SlotId, 16);
id_type!(
    /// Names the content of a segment (SPEC 2).
    SegmentId, 32);
id_type!(
    /// Names the bytes of a node (SPEC 7.2).
    NodeId, 32);
id_type!(
    /// Names size and content of a disk (SPEC 7.3).
    DiskId, 32);
id_type!(
    /// Names the bytes of a chunk (SPEC 7.1).
    ChunkId, 16);
id_type!(
    /// Recognises a block by its content; all zero for a block of zeros (SPEC 7.4).
    Fingerprint, 12);
id_type!(
    /// Names the stored bytes of a pack (SPEC 3).
    PackId, 32);
id_type!(
    /// The first 20 bytes of the hash of an index object's stored bytes (SPEC 3).
    IndexHash, 20);
id_type!(
    /// A BLAKE3 hash that is no name.
    Digest, 32);

impl PackId {
    /// The name of a pack with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl IndexHash {
    /// The hash part of the name of an index object with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut cut = [0; 20];
        cut.copy_from_slice(&blake3::hash(bytes).as_bytes()[..20]);
        Self(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_ids_go_through_hex_and_refuse_anything_else() {
        let id = SnapshotId::from_bytes([0x0f; 16]);
        assert_eq!(SnapshotId::parse_hex(&id.to_string()), Ok(id));
        for bad in
            ["", "0f", "0F0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "zz0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"]
        {
            assert!(SnapshotId::parse_hex(bad).is_err(), "{bad}");
        }
    }
}

//! Deterministic CBOR (SPEC 9): encoded once, and decoded only if encoding again gives the same bytes.

use minicbor::{Decode, Encode};

use crate::error::FormatError;

/// The deterministic encoding of `value`. Types list their keys in rising order, and have no maps with free keys.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes any number of bytes")
}

/// Decodes `bytes` as `what` and refuses any form but the deterministic one.
pub fn decode<T>(what: &'static str, bytes: &[u8]) -> Result<T, FormatError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    let refuse = |detail: String| FormatError::Cbor { what, detail };
    let value: T = minicbor::decode(bytes).map_err(|error| refuse(error.to_string()))?;
    match encode(&value) == bytes {
        true => Ok(value),
        false => Err(refuse("not the deterministic form".to_owned())),
    }
}

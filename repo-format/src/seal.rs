//! Sealing: AES-256-GCM with a nonce that depends on place and text (SPEC 5).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use crate::error::FormatError;
use crate::header::{Kind, SEALED_HEADER_LEN, SealedHeader};
use crate::keys::{Keys, Secret, derive};
use crate::limits::{CATALOG_LEN_MAX, FRAME_PLAIN_MAX, SEAL_OVERHEAD};
use crate::padding::padded_len;
use crate::wire::{Reader, Writer, strip_final_hash, with_final_hash};

const TAIL_LEN: usize = 8;
const TAG_LEN: usize = 16;

/// Seals and opens with one key. The nonce key is derived once.
pub struct Sealer {
    cipher: Aes256Gcm,
    nonce_key: Secret,
    prefix: Vec<u8>,
}

impl Sealer {
    /// A sealer whose associated data begins with `prefix`: for objects, the encoded header.
    #[must_use]
    pub fn new(key: &Secret, prefix: &[u8]) -> Self {
        Self {
            cipher: Aes256Gcm::new(key.expose().into()),
            nonce_key: derive("xenith v1 frame nonce", &[key.expose()]),
            prefix: prefix.to_vec(),
        }
    }

    /// Appends `tail || ciphertext || tag` of `text` to `out` (SPEC 5.1).
    pub fn seal_into(&self, number: u32, text: &[u8], out: &mut Vec<u8>) {
        let hash = blake3::keyed_hash(self.nonce_key.expose(), text);
        let tail: [u8; TAIL_LEN] = hash.as_bytes()[..TAIL_LEN].try_into().expect("8 of 32 bytes");
        out.reserve(text.len() + SEAL_OVERHEAD);
        out.extend_from_slice(&tail);
        let start = out.len();
        out.extend_from_slice(text);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &nonce(number, tail),
                &self.associated(number),
                (&mut out[start..]).into(),
            )
            .expect("texts are far below the cipher's limit");
        out.extend_from_slice(&tag);
    }

    /// [`Self::seal_into`] a new vector.
    #[must_use]
    pub fn seal(&self, number: u32, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.seal_into(number, text, &mut out);
        out
    }

    /// The text of a sealed frame, or [`FormatError::Seal`] naming `what`.
    pub fn open(
        &self,
        what: &'static str,
        number: u32,
        sealed: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        let mut buffer = sealed.to_vec();
        Ok(self.open_in_place(what, number, &mut buffer)?.to_vec())
    }

    /// [`Self::open`] without a copy: the text is a part of `sealed`, whose bytes are spent.
    pub fn open_in_place<'a>(
        &self,
        what: &'static str,
        number: u32,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], FormatError> {
        let found = sealed.len();
        let truncated = FormatError::Truncated { what, found };
        let (tail, rest) =
            sealed.split_first_chunk_mut::<TAIL_LEN>().ok_or_else(|| truncated.clone())?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(truncated)?;
        self.cipher
            .decrypt_inout_detached(
                &nonce(number, *tail),
                &self.associated(number),
                (&mut *text).into(),
                &Tag::from(*tag),
            )
            .map_err(|_| FormatError::Seal { what })?;
        Ok(text)
    }

    fn associated(&self, number: u32) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.prefix.len() + 4);
        data.extend_from_slice(&self.prefix);
        data.extend_from_slice(&number.to_le_bytes());
        data
    }
}

fn nonce(number: u32, tail: [u8; TAIL_LEN]) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..].copy_from_slice(&tail);
    bytes.into()
}

/// Header and sealed frames of a text: an object without its final hash (SPEC 5.2).
#[must_use]
pub fn seal_object(keys: &Keys, kind: Kind, seed: &Secret, text: &[u8]) -> Vec<u8> {
    let (header, key) = keys.seal_header(kind, seed);
    let prefix = header.encode();
    let sealer = Sealer::new(&key, &prefix);
    let mut object = prefix.to_vec();
    for (number, frame) in (0..).zip(text.chunks(FRAME_PLAIN_MAX)) {
        sealer.seal_into(number, frame, &mut object);
    }
    object
}

/// The text of an object made by [`seal_object`].
pub fn open_object(
    keys: &Keys,
    kind: Kind,
    what: &'static str,
    object: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let Some((header, body)) = object.split_at_checked(SEALED_HEADER_LEN) else {
        return Err(FormatError::Truncated { what, found: object.len() });
    };
    let parsed = SealedHeader::parse_as(header, kind, keys.repository())?;
    let sealer = Sealer::new(&keys.open_header(&parsed)?, header);
    let mut text = Vec::with_capacity(body.len());
    for (number, frame) in (0..).zip(body.chunks(FRAME_PLAIN_MAX + SEAL_OVERHEAD)) {
        if frame.len() == SEAL_OVERHEAD {
            return Err(FormatError::Invalid { what: "empty frame" });
        }
        text.extend_from_slice(&sealer.open(what, number, frame)?);
    }
    Ok(text)
}

/// A snapshot, session or state: padded, sealed, with its final hash (SPEC 5.2).
#[must_use]
pub fn seal_catalog(keys: &Keys, kind: Kind, seed: &Secret, cbor: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(cbor.len() + 4);
    w.length(cbor.len()).bytes(cbor);
    let missing = padded_len(w.len()) - w.len();
    w.zeros(missing);
    with_final_hash(seal_object(keys, kind, seed, &w.finish()))
}

/// The CBOR of an object made by [`seal_catalog`].
pub fn open_catalog(
    keys: &Keys,
    kind: Kind,
    what: &'static str,
    object: &[u8],
) -> Result<Vec<u8>, FormatError> {
    if object.len() as u64 > CATALOG_LEN_MAX {
        let (claimed, limit) = (object.len() as u64, CATALOG_LEN_MAX);
        return Err(FormatError::Limit { what, claimed, limit });
    }
    let text = open_object(keys, kind, what, strip_final_hash(what, object)?)?;
    let mut r = Reader::new(what, &text);
    let len = r.length(what, text.len())?;
    let cbor = r.bytes(len)?.to_vec();
    if r.rest().len() != padded_len(4 + len) - 4 - len {
        return Err(FormatError::Invalid { what: "padding" });
    }
    r.zeros(r.rest().len())?;
    Ok(cbor)
}

/// A secret text that leaves memory when dropped.
pub type SecretText = Zeroizing<Vec<u8>>;

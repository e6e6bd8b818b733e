//! Bounded little-endian cursors over slices: the only place where numbers become bytes.

use crate::error::FormatError;

/// Reads fields one behind the other; every read is checked against what is left.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which are `what` in error messages.
    #[must_use]
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes, len: bytes.len() }
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(FormatError::Truncated { what: self.what, found: self.len });
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Three bytes.
    pub fn u24(&mut self) -> Result<u32, FormatError> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A u32 that must not exceed `limit`, as a length.
    pub fn length(&mut self, field: &'static str, limit: usize) -> Result<usize, FormatError> {
        let claimed = self.u32()?;
        let found = usize::try_from(claimed).unwrap_or(usize::MAX);
        if found > limit {
            let (claimed, limit) = (u64::from(claimed), limit as u64);
            return Err(FormatError::Limit { what: field, claimed, limit });
        }
        Ok(found)
    }

    /// `len` bytes that must be zero.
    pub fn zeros(&mut self, len: usize) -> Result<(), FormatError> {
        let what = self.what;
        match self.bytes(len)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(FormatError::Invalid { what }),
        }
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), FormatError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(FormatError::Invalid { what: self.what }),
        }
    }
}

/// Appends fields. Values that do not fit their width are a bug in the caller and panic.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Three bytes; `value` is below 2^24.
    pub fn u24(&mut self, value: u32) -> &mut Self {
        assert!(value < 1 << 24, "a u24 field is given {value}");
        self.bytes(&value.to_le_bytes()[..3])
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A length or count as four bytes; below 2^32.
    pub fn length(&mut self, value: usize) -> &mut Self {
        self.u32(u32::try_from(value).expect("lengths are bounded by limits.rs"))
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// `len` zero bytes.
    pub fn zeros(&mut self, len: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + len, 0);
        self
    }

    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends the BLAKE3 of `object` to it: how every object ends that is not named by its hash (SPEC 3).
#[must_use]
pub fn with_final_hash(mut object: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&object);
    object.extend_from_slice(hash.as_bytes());
    object
}

/// Checks the final hash of `object` and returns what stands before it (SPEC 3).
pub fn strip_final_hash<'a>(what: &'static str, object: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let Some((body, hash)) = object.split_last_chunk::<32>() else {
        return Err(FormatError::Truncated { what, found: object.len() });
    };
    match blake3::hash(body) == blake3::Hash::from_bytes(*hash) {
        true => Ok(body),
        false => Err(FormatError::Hash { what }),
    }
}

//! Frames: up to 1 MiB of chunks or catalog entries, compressed together (SPEC 8).

use zstd::zstd_safe::find_frame_compressed_size;

use crate::error::FormatError;
use crate::limits::{FRAME_PLAIN_MAX, SEAL_OVERHEAD};
use crate::wire::{Reader, Writer};

/// How a frame's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame (RFC 8878).
    Zstd = 1,
    /// Zeros that only fill a pack.
    Padding = 2,
}

/// How much work compression may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None.
    Off,
    /// A zstd level, 1 to 19.
    Zstd(i32),
}

/// A frame's line in the contents of its pack and in the index: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Bytes on storage.
    pub sealed_len: u32,
    /// Bytes after decompression.
    pub plain_len: u32,
    /// How they are stored.
    pub codec: Codec,
}

impl FrameInfo {
    /// Appends the 8 bytes.
    pub fn write(&self, w: &mut Writer) {
        w.u24(self.sealed_len).u24(self.plain_len).u8(self.codec as u8).u8(0);
    }

    /// Reads 8 bytes and checks the lengths.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (sealed_len, plain_len, codec) = (r.u24()?, r.u24()?, r.u8()?);
        r.zeros(1)?;
        let codec = match codec {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            2 => Codec::Padding,
            _ => {
                return Err(FormatError::Invalid { what: "codec of a frame" });
            }
        };
        let plain = (1..=FRAME_PLAIN_MAX).contains(&(plain_len as usize));
        let raw_len = plain_len as usize + SEAL_OVERHEAD;
        let sealed = match codec {
            Codec::Raw | Codec::Padding => sealed_len as usize == raw_len,
            Codec::Zstd => (SEAL_OVERHEAD + 1..=raw_len).contains(&(sealed_len as usize)),
        };
        match sealed && plain {
            true => Ok(Self { sealed_len, plain_len, codec }),
            false => Err(FormatError::Invalid { what: "length of a frame" }),
        }
    }
}

/// Where an entry lies in its pack: a range of a plain frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the frame.
    pub frame: u16,
    /// Bytes from the start of the plain frame.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

impl Place {
    /// The bytes of this place in `plain`.
    pub fn of<'a>(&self, plain: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let start = self.offset as usize;
        let end = start + self.len as usize;
        plain.get(start..end).ok_or(FormatError::Invalid { what: "place in a frame" })
    }
}

/// A frame ready to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFrame {
    /// How the bytes are stored.
    pub codec: Codec,
    /// Bytes before compression.
    pub plain_len: u32,
    /// The bytes to seal.
    pub stored: Vec<u8>,
}

/// Compresses frames; keeps its context, which costs more to make than a small frame to compress.
pub struct Compressor(Option<zstd::bulk::Compressor<'static>>);

impl Compressor {
    /// A compressor; levels outside zstd's range are brought into it.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self(match compression {
            Compression::Off => None,
            Compression::Zstd(level) => zstd::bulk::Compressor::new(level.clamp(1, 19)).ok(),
        })
    }

    /// Compresses `plain` (1 byte to 1 MiB), or keeps it raw if it does not shrink.
    #[must_use]
    pub fn compress(&mut self, plain: Vec<u8>) -> StoredFrame {
        self.compress_and_return(plain).0
    }

    /// [`Self::compress`], and the buffer that is free then: making a new one for each frame costs more than
    /// sealing it.
    #[must_use]
    pub fn compress_and_return(&mut self, mut plain: Vec<u8>) -> (StoredFrame, Vec<u8>) {
        assert!((1..=FRAME_PLAIN_MAX).contains(&plain.len()));
        let plain_len = plain.len() as u32;
        let compressed = self.0.as_mut().and_then(|zstd| zstd.compress(&plain).ok());
        match compressed {
            Some(stored) if stored.len() < plain.len() => {
                plain.clear();
                (StoredFrame { codec: Codec::Zstd, plain_len, stored }, plain)
            }
            _ => (StoredFrame { codec: Codec::Raw, plain_len, stored: plain }, Vec::new()),
        }
    }
}

/// Decompresses frames; keeps its context and the buffer of the frame before.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    plain: Vec<u8>,
}

impl Decompressor {
    /// The plain bytes of an opened frame, exactly `info.plain_len` of them (at most 1 MiB); they stay until the
    /// next call.
    pub fn decompress<'a>(
        &'a mut self,
        info: &FrameInfo,
        stored: &'a [u8],
    ) -> Result<&'a [u8], FormatError> {
        let plain_len = info.plain_len as usize;
        let refuse = |what| Err(FormatError::Invalid { what });
        match info.codec {
            Codec::Raw if stored.len() == plain_len => Ok(stored),
            Codec::Raw => refuse("length of a frame"),
            // zstd itself would go on to further frames; there is one, and nothing behind it.
            Codec::Zstd if find_frame_compressed_size(stored) == Ok(stored.len()) => {
                match self.unzstd(plain_len, stored) {
                    Some(len) if len == plain_len => Ok(&self.plain[..len]),
                    Some(_) => refuse("length of a frame"),
                    None => refuse("compressed frame"),
                }
            }
            Codec::Zstd => refuse("compressed frame"),
            Codec::Padding => refuse("entry in a padding frame"),
        }
    }

    /// Bytes that `stored` decompresses to, at most `plain_len`; they are in `self.plain` then.
    fn unzstd(&mut self, plain_len: usize, stored: &[u8]) -> Option<usize> {
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Decompressor::new().ok();
        }
        if self.plain.len() < plain_len {
            self.plain.resize(plain_len, 0);
        }
        let zstd = self.zstd.as_mut()?;
        zstd.decompress_to_buffer(stored, &mut self.plain[..plain_len]).ok()
    }
}

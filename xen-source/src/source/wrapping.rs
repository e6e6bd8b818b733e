//! Compression around an XVA, and what the bytes below it looked like last.

use std::io::{self, BufReader, IoSliceMut, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::xva::error_page;

/// Bytes that are read at once for a decompressor.
const BUFFER_LEN: usize = 256 << 10;
/// Largest window of zstd that is accepted, as a power of two of bytes (128 MiB, `--long`).
const WINDOW_LOG_MAX: u32 = 27;

/// Compression around the whole of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// None.
    Plain,
    /// gzip; several members in a row are one.
    Gzip,
    /// zstd; several frames in a row are one.
    Zstd,
}

impl Wrapping {
    /// What `head` begins with.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// What to call it; empty if there is none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Reads what is inside.
    pub fn reader<R: Read>(self, input: R) -> io::Result<Unwrapped<R>> {
        let tap = Tap { input, bytes_read: 0, latest: Vec::new(), error_seen: false };
        match self {
            Self::Plain => Ok(Unwrapped::Plain(tap)),
            Self::Gzip => {
                let buffered = BufReader::with_capacity(BUFFER_LEN, tap);
                Ok(Unwrapped::Gzip(MultiGzDecoder::new(buffered)))
            }
            Self::Zstd => {
                let buffered = BufReader::with_capacity(BUFFER_LEN, tap);
                let mut decoder = ZstdDecoder::with_buffer(buffered)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Ok(Unwrapped::Zstd(decoder))
            }
        }
    }
}

/// The bytes inside a wrapping.
pub enum Unwrapped<R: Read> {
    /// As they come.
    Plain(Tap<R>),
    /// Out of gzip.
    Gzip(MultiGzDecoder<BufReader<Tap<R>>>),
    /// Out of zstd.
    Zstd(ZstdDecoder<'static, BufReader<Tap<R>>>),
}

impl<R: Read> Unwrapped<R> {
    /// The input below.
    pub fn tap(&self) -> &Tap<R> {
        match self {
            Self::Plain(tap) => tap,
            Self::Gzip(decoder) => decoder.get_ref().get_ref(),
            Self::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }

    /// The input below. Reading from it is the end of reading here.
    pub fn tap_mut(&mut self) -> &mut Tap<R> {
        match self {
            Self::Plain(tap) => tap,
            Self::Gzip(decoder) => decoder.get_mut().get_mut(),
            Self::Zstd(decoder) => decoder.get_mut().get_mut(),
        }
    }
}

impl<R: Read> Read for Unwrapped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tap) => tap.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tap) => tap.read_vectored(buffers),
            Self::Gzip(decoder) => decoder.read_vectored(buffers),
            Self::Zstd(decoder) => decoder.read_vectored(buffers),
        }
    }
}

/// Counts the bytes of an input, and keeps the latest of them to look for an error page.
pub struct Tap<R> {
    input: R,
    bytes_read: u64,
    latest: Vec<u8>,
    error_seen: bool,
}

impl<R: Read> Tap<R> {
    /// Bytes taken from the input.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Whether the input itself, and not what is inside it, could not be read.
    pub fn has_failed(&self) -> bool {
        self.error_seen
    }

    /// Reads on to the end, if that is near, and looks for a host's error page before it.
    pub fn find_error_page(&mut self) -> Option<String> {
        const NEAR_LEN: u64 = 4 << 20;
        let mut buffer = [0; 4096];
        let start = self.bytes_read;
        while self.bytes_read - start < NEAR_LEN
            && !matches!(self.read(&mut buffer), Ok(0) | Err(_))
        {}
        error_page::find(&self.latest)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.bytes_read += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(error_page::SEARCH_LEN)..];
        let surplus = (self.latest.len() + kept.len()).saturating_sub(error_page::SEARCH_LEN);
        self.latest.drain(..surplus);
        self.latest.extend_from_slice(kept);
    }

    fn checked(&mut self, answer: io::Result<usize>) -> io::Result<usize> {
        let failed = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        self.error_seen |= answer.as_ref().is_err_and(failed);
        answer
    }
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = self.input.read(buffer);
        let len = self.checked(answer)?;
        self.note(&buffer[..len]);
        Ok(len)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let answer = self.input.read_vectored(buffers);
        let len = self.checked(answer)?;
        let mut left = len;
        for buffer in buffers {
            let part = left.min(buffer.len());
            self.note(&buffer[..part]);
            left -= part;
        }
        Ok(len)
    }
}

//! The bytes of NBD, as far as hosts speak it (contract 5.2). All numbers are big-endian.
//!
//! ```text
//! host    "NBDMAGIC" "IHAVEOPT" flags:u16
//! client  flags:u32
//! client  "IHAVEOPT" STARTTLS:u32 0:u32             host  OPTION_REPLY option type:u32 len:u32
//!         TLS begins here
//! client  "IHAVEOPT" EXPORT_NAME:u32 len:u32 name   host  size:u64 flags:u16 124 bytes
//! client  REQUEST 0:u16 READ:u16 cookie offset len  host  REPLY error:u32 cookie data
//! ```

use super::super::answer::Malformed;

/// Of the greeting.
pub const GREETING_LEN: usize = 18;
/// Of an answer to an option, before its data.
pub const OPTION_REPLY_LEN: usize = 20;
/// Of the answer to the name of an export.
pub const EXPORT_LEN: usize = 134;
/// Of a request.
pub const REQUEST_LEN: usize = 28;
/// Of an answer to a request, before its data.
pub const REPLY_LEN: usize = 16;
/// Offsets and lengths of requests are multiples of this many bytes.
pub const SECTOR: u64 = 512;

const GREETING_MAGIC: &[u8; 16] = b"NBDMAGICIHAVEOPT";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

const FIXED_NEWSTYLE: u16 = 1;
const HAS_FLAGS: u16 = 1;
const EXPORT_NAME: u32 = 1;
const STARTTLS: u32 = 5;
const ACK: u32 = 1;
const ERROR_BIT: u32 = 1 << 31;
const READ: u16 = 0;
const DISC: u16 = 2;

/// Reads the greeting.
pub fn parse_greeting(bytes: &[u8; GREETING_LEN]) -> Result<(), Malformed> {
    let [magic @ .., high, low] = bytes;
    if magic != GREETING_MAGIC {
        return Err(Malformed::of("it is no NBD, or of the old style"));
    }
    match u16::from_be_bytes([*high, *low]) & FIXED_NEWSTYLE {
        0 => Err(Malformed::of("it does not speak the fixed new style")),
        _ => Ok(()),
    }
}

/// What we say to the greeting, and that we want TLS.
pub fn start_tls() -> Vec<u8> {
    [&u32::from(FIXED_NEWSTYLE).to_be_bytes()[..], &option(STARTTLS, b"")].concat()
}

/// Asks for an export, with which the disk begins.
pub fn export(name: &[u8]) -> Vec<u8> {
    option(EXPORT_NAME, name)
}

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let len = data.len() as u32; // names are bounded
    [&OPTION_MAGIC[..], &option.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

/// What a host says to `STARTTLS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsAnswer {
    /// TLS begins.
    Begins,
    /// It will not. So many bytes of explanation follow.
    Refused(u32),
}

/// Reads the answer to [`start_tls`].
pub fn parse_tls_answer(bytes: &[u8; OPTION_REPLY_LEN]) -> Result<TlsAnswer, Malformed> {
    let [m0, m1, m2, m3, m4, m5, m6, m7, o0, o1, o2, o3, t0, t1, t2, t3, l0, l1, l2, l3] = *bytes;
    let magic = u64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
    if magic != OPTION_REPLY_MAGIC || u32::from_be_bytes([o0, o1, o2, o3]) != STARTTLS {
        return Err(Malformed::of("it is no answer to STARTTLS"));
    }
    let len = u32::from_be_bytes([l0, l1, l2, l3]);
    match u32::from_be_bytes([t0, t1, t2, t3]) {
        ACK if len == 0 => Ok(TlsAnswer::Begins),
        kind if kind & ERROR_BIT != 0 => Ok(TlsAnswer::Refused(len)),
        kind => Err(Malformed::of(format!("STARTTLS is answered by {kind} with {len} bytes"))),
    }
}

/// The size of an export in bytes.
pub fn parse_export(bytes: &[u8; EXPORT_LEN]) -> Result<u64, Malformed> {
    let [s0, s1, s2, s3, s4, s5, s6, s7, high, low, ..] = *bytes;
    let size_bytes = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    if u16::from_be_bytes([high, low]) & HAS_FLAGS == 0 {
        return Err(Malformed::of("an export without flags"));
    }
    if size_bytes > i64::MAX as u64 {
        return Err(Malformed::of(format!("a disk of {size_bytes} bytes")));
    }
    Ok(size_bytes)
}

/// A request for `len` bytes at `offset`.
pub fn read(cookie: u64, offset: u64, len: u32) -> [u8; REQUEST_LEN] {
    request(READ, cookie, offset, len)
}

/// Takes leave.
pub fn disconnect(cookie: u64) -> [u8; REQUEST_LEN] {
    request(DISC, cookie, 0, 0)
}

fn request(command: u16, cookie: u64, offset: u64, len: u32) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    bytes[6..8].copy_from_slice(&command.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..24].copy_from_slice(&offset.to_be_bytes());
    bytes[24..].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// The error of an answer to the request `cookie`; 0: none, and the data follows.
pub fn parse_reply(bytes: &[u8; REPLY_LEN], cookie: u64) -> Result<u32, Malformed> {
    let [m0, m1, m2, m3, e0, e1, e2, e3, c0, c1, c2, c3, c4, c5, c6, c7] = *bytes;
    if u32::from_be_bytes([m0, m1, m2, m3]) != REPLY_MAGIC {
        return Err(Malformed::of("it is no simple reply"));
    }
    if u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]) != cookie {
        return Err(Malformed::of("it answers another request"));
    }
    Ok(u32::from_be_bytes([e0, e1, e2, e3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls_answer(option: u32, kind: u32, len: u32) -> Result<TlsAnswer, String> {
        let numbers = [option, kind, len].map(u32::to_be_bytes).concat();
        let bytes = [&OPTION_REPLY_MAGIC.to_be_bytes()[..], &numbers].concat();
        let bytes = bytes.try_into().expect("20 bytes");
        parse_tls_answer(&bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_begins_tls_or_says_that_it_will_not() {
        assert_eq!(tls_answer(5, 1, 0), Ok(TlsAnswer::Begins));
        assert_eq!(tls_answer(5, 0x8000_0001, 7), Ok(TlsAnswer::Refused(7)));
        for (option, kind, len) in [(1, 1, 0), (5, 1, 1), (5, 2, 0), (5, 0, 0)] {
            assert!(tls_answer(option, kind, len).is_err(), "{option} {kind} {len}");
        }
        assert!(parse_tls_answer(&[0; OPTION_REPLY_LEN]).is_err());
    }

    #[test]
    fn only_the_fixed_new_style_is_spoken() {
        let parse = |text: &[u8]| parse_greeting(text.try_into().expect("18 bytes"));
        for (greeting, good) in [
            (b"NBDMAGICIHAVEOPT\0\x01", true),
            (b"NBDMAGICIHAVEOPT\0\x03", true),
            (b"NBDMAGICIHAVEOPT\0\x02", false),
            (b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\x01", false),
            (b"SSH-2.0-OpenSSH_9.", false),
        ] {
            assert_eq!(parse(greeting).is_ok(), good, "{greeting:?}");
        }
    }

    #[test]
    fn an_export_has_flags_and_a_size_that_can_be() {
        let parse = |size: u64, flags: u16| {
            let mut bytes = [0; EXPORT_LEN];
            bytes[..8].copy_from_slice(&size.to_be_bytes());
            bytes[8..10].copy_from_slice(&flags.to_be_bytes());
            parse_export(&bytes).ok()
        };
        assert_eq!(parse(4096, 3), Some(4096));
        assert_eq!(parse(4096, 2), None);
        assert_eq!(parse(u64::MAX, 3), None);
    }

    #[test]
    fn a_reply_belongs_to_its_request() {
        let reply = *b"\x67\x44\x66\x98\0\0\0\x16\0\0\0\0\0\0\0\x09";
        assert_eq!(parse_reply(&reply, 9).ok(), Some(22));
        assert!(parse_reply(&reply, 8).is_err());
        assert!(parse_reply(&[0; REPLY_LEN], 0).is_err());
    }

    #[test]
    fn a_request_is_28_bytes() {
        let bytes = b"\x25\x60\x95\x13\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x10\0\0\0\x02\0";
        assert_eq!(&read(7, 4096, 512), bytes);
        assert_eq!(disconnect(7)[6..8], [0, 2]);
    }
}

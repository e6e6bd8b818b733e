//! Tells an XVA from everything else by its first bytes.

use std::io::Read;

use super::wrapping::Wrapping;
use crate::xva::members::MemberStream;
use crate::xva::ova;

/// Bytes that have to be looked at: a whole zstd block and then some.
pub const HEAD_LEN: usize = 256 << 10;

/// What an XVA that begins with `head` is wrapped in; `None` if it does not begin an XVA.
pub fn recognise(head: &[u8]) -> Option<Wrapping> {
    let wrapping = Wrapping::of(head);
    let inside = wrapping.reader(head).ok()?;
    begins_with_record(inside).then_some(wrapping)
}

fn begins_with_record(tar: impl Read) -> bool {
    let first = MemberStream::new(tar).next_member();
    matches!(first, Ok(Some(member)) if member.name == ova::MEMBER_NAME.as_bytes())
}

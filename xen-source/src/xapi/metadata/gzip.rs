//! A gzip file that passes in pieces (contract 7): what is inside, and whether it is whole.

use std::io::{self, Write as _};

use flate2::write::GzDecoder;

use super::not_whole::NotWhole;
use crate::xva::is_zero;

/// Bytes that are unpacked at a time. What comes out is at most a thousand times as long.
const PIECE_LEN: usize = 16 << 10;

/// A gzip file, as far as it has passed.
#[derive(Default)]
pub struct Gunzip {
    member: Option<GzDecoder<Vec<u8>>>,
    members: u64,
}

impl Gunzip {
    /// Takes the next bytes, and hands what was in them to `out`. Behind a member another one may
    /// follow, or zeros: some tars fill up their last block.
    ///
    /// # Errors
    ///
    /// If it is no gzip file, or what `out` said.
    pub fn take<E: From<NotWhole>>(
        &mut self,
        bytes: &[u8],
        mut out: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for mut piece in bytes.chunks(PIECE_LEN) {
            while !piece.is_empty() && !self.is_padding(piece) {
                let member = self.member.get_or_insert_with(|| GzDecoder::new(Vec::new()));
                let taken = member.write(piece).map_err(damaged)?;
                piece = &piece[taken..];
                out(member.get_ref())?;
                member.get_mut().clear();
                if taken == 0 {
                    self.end_member(&mut out)?;
                }
            }
        }
        Ok(())
    }

    /// The file has ended: hands over the rest.
    ///
    /// # Errors
    ///
    /// If that is too early, or what `out` said.
    pub fn end<E: From<NotWhole>>(
        &mut self,
        out: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end_member(out)?;
        match self.members {
            0 => Err(NotWhole { what: "it is empty".to_owned() }.into()),
            _ => Ok(()),
        }
    }

    fn is_padding(&self, bytes: &[u8]) -> bool {
        self.member.is_none() && self.members > 0 && is_zero(bytes)
    }

    fn end_member<E: From<NotWhole>>(
        &mut self,
        mut out: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(member) = self.member.take() {
            out(&member.finish().map_err(damaged)?)?;
            self.members += 1;
        }
        Ok(())
    }
}

fn damaged(error: io::Error) -> NotWhole {
    NotWhole { what: format!("it is no whole gzip file: {error}") }
}

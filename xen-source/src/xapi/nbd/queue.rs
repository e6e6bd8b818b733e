//! What was asked for and not taken yet, as the requests that hosts accept.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::limits::NBD_READ_LEN_MAX;
use super::wire::SECTOR;

/// One request: whole sectors, and what is wanted of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins on the disk, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// The part of these bytes that was asked for; never empty.
    pub wanted: Range<usize>,
}

/// Cuts a range of a disk into requests. Pure.
pub fn pieces(range: &Range<u64>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut offset = range.start / SECTOR * SECTOR;
    while offset < range.end {
        let end = range.end.div_ceil(SECTOR).saturating_mul(SECTOR);
        let len = (end - offset).min(NBD_READ_LEN_MAX.into());
        // Both are at most the longest request.
        let from = range.start.saturating_sub(offset) as usize;
        let to = (range.end - offset).min(len) as usize;
        pieces.push(Piece { offset, len: len as u32, wanted: from..to });
        offset += len;
    }
    pieces
}

/// Ranges in the order in which they were asked for, and where we are in the first.
#[derive(Debug, Default)]
pub struct Queue {
    ranges: VecDeque<Range<u64>>,
    pieces: VecDeque<Piece>,
    /// How many of the pieces the host knows of.
    sent: usize,
    asked: usize,
}

impl Queue {
    /// Adds a range that is not empty.
    pub fn push(&mut self, offset: u64, len: usize) {
        let range = offset..offset.saturating_add(len as u64);
        self.pieces.extend(pieces(&range));
        self.ranges.push_back(range);
        self.asked += len;
    }

    /// Bytes asked for and not taken.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Bytes of the first range.
    pub fn first_len(&self) -> Option<u64> {
        self.ranges.front().map(|range| range.end - range.start)
    }

    /// The piece that the host answers next.
    pub fn next_piece(&self) -> Option<&Piece> {
        self.pieces.front()
    }

    /// The next piece to be sent, if fewer than `limit` are under way.
    pub fn send(&mut self, limit: usize) -> Option<Piece> {
        let piece = self.pieces.get(self.sent).filter(|_| self.sent < limit)?;
        self.sent += 1;
        Some(piece.clone())
    }

    /// The first piece has come.
    pub fn piece_done(&mut self) {
        self.pieces.pop_front();
        self.sent = self.sent.saturating_sub(1);
    }

    /// The first range has come.
    pub fn range_done(&mut self) {
        if let Some(range) = self.ranges.pop_front() {
            self.asked -= (range.end - range.start) as usize; // it was added as such
        }
    }

    /// The connection is another: the host knows of nothing.
    pub fn forget_sent(&mut self) {
        self.sent = 0;
    }

    /// The first range is to come again, from its beginning.
    pub fn rewind(&mut self) {
        self.pieces = self.ranges.iter().flat_map(pieces).collect();
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(range: Range<u64>, expected: &[(u64, u32, Range<usize>)]) {
        let found: Vec<_> = pieces(&range)
            .into_iter()
            .map(|piece| (piece.offset, piece.len, piece.wanted))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_segment_is_two_requests() {
        let two = 2 * MIB as usize;
        check(4 * MIB..8 * MIB, &[(4 * MIB, 2 << 20, 0..two), (6 * MIB, 2 << 20, 0..two)]);
    }

    #[test]
    fn requests_are_whole_sectors_around_what_is_wanted() {
        check(0..512, &[(0, 512, 0..512)]);
        check(1..2, &[(0, 512, 1..2)]);
        check(511..513, &[(0, 1024, 511..513)]);
        check(1000..1537, &[(512, 1536, 488..1025)]);
        check(1..2 * MIB + 1, &[(0, 2 << 20, 1..2 << 20), (2 * MIB, 512, 0..1)]);
    }

    #[test]
    fn what_was_sent_is_sent_again_after_it_was_lost() {
        let mut queue = Queue::default();
        queue.push(0, 3 << 20);
        queue.push(4 * MIB, 100);
        let offsets = |queue: &mut Queue, limit| -> Vec<u64> {
            std::iter::from_fn(|| queue.send(limit)).map(|piece| piece.offset).collect()
        };
        assert_eq!(offsets(&mut queue, 2), [0, 2 * MIB]);
        queue.piece_done();
        assert_eq!(offsets(&mut queue, 2), [4 * MIB]);
        queue.forget_sent();
        assert_eq!(offsets(&mut queue, 2), [2 * MIB, 4 * MIB]);
        queue.rewind();
        assert_eq!(offsets(&mut queue, 9), [0, 2 * MIB, 4 * MIB]);
        assert_eq!((queue.asked(), queue.first_len()), ((3 << 20) + 100, Some(3 << 20)));
        queue.range_done();
        assert_eq!((queue.asked(), queue.first_len()), (100, Some(100)));
    }
}

//! What a stream may have in memory when others are restored beside it.
//!
//! Every stream is told how many there are, and keeps to its part. Nobody waits for anybody: a pool that takes nothing
//! for a while holds up no other. The price is smaller windows.

use std::num::NonZeroUsize;

/// Segments of a window of a stream that is alone: 64 MiB.
pub const WINDOW: usize = 16;
/// Segments of one window of each stream together: 96 MiB. A stream has two windows: one is rebuilt while the other is
/// written.
const WINDOWS: usize = 24;
/// Bytes that all streams hold for windows to come and for those under way.
const HELD: usize = 128 << 20;
/// Copies in the plans of all streams at which no further window is planned: 16 MiB with what vectors reserve.
const COPIES: usize = 1 << 19;

/// The bounds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Segments of a window.
    pub window: usize,
    /// Bytes that are held.
    pub held: usize,
    /// Copies at which no further window is planned.
    pub copies: usize,
}

impl Share {
    /// That of one of so many streams.
    pub fn of(streams: NonZeroUsize) -> Self {
        let window = (WINDOWS / streams).clamp(1, WINDOW);
        Self { window, held: HELD / streams, copies: COPIES / streams }
    }
}

#[cfg(test)]
mod tests {
    use repo_format::limits::SEGMENT_LEN;

    use super::*;

    /// Bytes that so many streams have in memory at most: two windows each, what is held, and copies in plans, which take
    /// 32 bytes with what vectors reserve.
    fn bytes(streams: usize) -> usize {
        let share = Share::of(NonZeroUsize::new(streams).unwrap());
        streams * (2 * share.window * SEGMENT_LEN + share.held + 32 * share.copies)
    }

    #[test]
    fn many_streams_take_little_more_than_one() {
        let window = |streams| Share::of(NonZeroUsize::new(streams).unwrap()).window;
        assert_eq!([1, 2, 3, 4, 6, 8, 12, 32].map(window), [16, 12, 8, 6, 4, 3, 2, 1]);
        assert_eq!(bytes(1), 272 << 20);
        for streams in 2..=24 {
            assert!(bytes(streams) <= 336 << 20, "{streams} streams: {}", bytes(streams));
        }
        // A window of one segment gets no smaller.
        assert!(bytes(32) <= 400 << 20, "{}", bytes(32));
    }
}

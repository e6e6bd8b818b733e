//! How long to wait between two looks at what takes its time: a moment at first, then longer, so
//! that what is quick costs little, and what is slow is no burden to the pool.

use std::time::Duration;

use super::limits::{LOOK_FIRST, LOOK_MAX};

/// Pauses: each twice the one before, up to a longest, until their sum has reached a time. One
/// looks before the first and behind each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks {
    next: Duration,
    longest: Duration,
    time: Duration,
    left: Duration,
}

impl Looks {
    /// From 50 ms to a second, for as long as it takes.
    pub const fn endless() -> Self {
        Self::within(Duration::MAX)
    }

    /// From 50 ms to a second, `time` in sum.
    pub const fn within(time: Duration) -> Self {
        Self::growing(LOOK_FIRST, LOOK_MAX, time)
    }

    /// From `first` to `longest`, `time` in sum.
    pub const fn growing(first: Duration, longest: Duration, time: Duration) -> Self {
        Self { next: first, longest, time, left: time }
    }

    /// Gives all of the time again: something has moved. Pauses do not become short again.
    pub const fn renew(&mut self) {
        self.left = self.time;
    }
}

impl Iterator for Looks {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next.min(self.longest).min(self.left);
        if pause.is_zero() {
            return None;
        }
        self.left -= pause;
        self.next = self.next.saturating_mul(2).min(self.longest);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(looks: &mut Looks, count: usize) -> Vec<u128> {
        looks.take(count).map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let pauses = [50, 100, 200, 400, 800, 1000, 1000];
        assert_eq!(millis(&mut Looks::endless(), 7), pauses);
        let hour = Looks::endless().take_while(|pause| *pause < LOOK_MAX).count() + 3600;
        assert!(hour < 3610, "a pool is asked {hour} times in an hour");
    }

    #[test]
    fn pauses_end_when_their_time_is_over() {
        let rows: [(u64, &[u128]); 5] = [
            (0, &[]),
            (20, &[20]),
            (50, &[50]),
            (300, &[50, 100, 150]),
            (3000, &[50, 100, 200, 400, 800, 1000, 450]),
        ];
        for (time, pauses) in rows {
            let mut looks = Looks::within(Duration::from_millis(time));
            assert_eq!(millis(&mut looks, 99), pauses, "{time} ms");
            assert_eq!(looks.next(), None);
        }
    }

    #[test]
    fn what_moves_has_all_of_its_time_again_but_no_short_pauses() {
        let mut looks = Looks::within(Duration::from_millis(800));
        assert_eq!(millis(&mut looks, 3), [50, 100, 200]);
        looks.renew();
        assert_eq!(millis(&mut looks, 99), [400, 400]);
        looks.renew();
        assert_eq!(millis(&mut looks, 99), [800]);
    }

    #[test]
    fn pauses_may_begin_and_end_elsewhere() {
        let seconds = Duration::from_secs;
        let mut looks = Looks::growing(seconds(5), seconds(15), Duration::MAX);
        assert_eq!(millis(&mut looks, 4), [5000, 10_000, 15_000, 15_000]);
        assert_eq!(Looks::growing(seconds(0), seconds(1), seconds(9)).next(), None);
    }
}

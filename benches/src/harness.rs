//! Ratios: two pieces of work take turns, and their times are compared turn by turn.
//!
//! Both sides run in one process, one after the other, several times, so that a machine that gets slower or
//! busier slows both. Times are of the processor, not of the clock on the wall, unless the row says otherwise;
//! the median of the turns is reported with the lowest and the highest.

use std::fmt;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// What time is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// This thread on the processor (`CLOCK_THREAD_CPUTIME_ID`).
    Thread,
    /// All threads of this process on the processor (`CLOCK_PROCESS_CPUTIME_ID`).
    Process,
    /// The clock on the wall.
    Wall,
}

impl Clock {
    /// Seconds that `work` takes.
    pub fn time(self, work: impl FnOnce()) -> f64 {
        match self {
            Self::Thread => cpu_seconds(ClockId::ThreadCPUTime, work),
            Self::Process => cpu_seconds(ClockId::ProcessCPUTime, work),
            Self::Wall => {
                let begun = Instant::now();
                work();
                begun.elapsed().as_secs_f64()
            }
        }
    }
}

fn cpu_seconds(clock: ClockId, work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let begun = now();
    work();
    now() - begun
}

/// Seconds of both sides, turn by turn.
#[derive(Debug, Clone)]
pub struct Turns(Vec<(f64, f64)>);

/// Lets `ours` and `rival` take turns on `state`, after one turn each that does not count.
pub fn compare<S>(
    clock: Clock,
    turns: usize,
    state: &mut S,
    mut ours: impl FnMut(&mut S),
    mut rival: impl FnMut(&mut S),
) -> Turns {
    ours(state);
    rival(state);
    let turn = |number: usize| {
        // Who goes first changes, so that neither always finds the caches of the other.
        if number.is_multiple_of(2) {
            let ours = clock.time(|| ours(state));
            (ours, clock.time(|| rival(state)))
        } else {
            let rival = clock.time(|| rival(state));
            (clock.time(|| ours(state)), rival)
        }
    };
    Turns((0..turns).map(turn).collect())
}

impl Turns {
    /// Our time in times of the rival's: lower is better.
    pub fn cost(&self) -> Spread {
        Spread::of(self.0.iter().map(|(ours, rival)| ours / rival))
    }

    /// Our speed in times of the rival's: higher is better.
    pub fn speed(&self) -> Spread {
        Spread::of(self.0.iter().map(|(ours, rival)| rival / ours))
    }

    /// MiB per second of both sides, for `bytes` a turn.
    pub fn rates(&self, bytes: usize) -> String {
        let mib = bytes as f64 / f64::from(1 << 20);
        let ours = Spread::of(self.0.iter().map(|(ours, _)| mib / ours));
        let rival = Spread::of(self.0.iter().map(|(_, rival)| mib / rival));
        format!("{:.0} against {:.0} MiB/s", ours.median, rival.median)
    }
}

/// Median, lowest and highest of some numbers.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Of these; there is at least one.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        Self { median: sorted[sorted.len() / 2], low: sorted[0], high: sorted[sorted.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.low, self.high)
    }
}

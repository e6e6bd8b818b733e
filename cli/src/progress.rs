//! Progress: one line on a terminal, or a JSON object a second for programs that asked for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use engine::observer::{Event, Observer};
use serde::Serialize;

use crate::report::{Report, Volume};
use crate::size;
use crate::text::{Form, printable};

/// Between two drawings on a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two JSON objects.
const RESTATE: Duration = Duration::from_secs(1);
/// What the rate is taken from: the latest past.
const WINDOW: Duration = Duration::from_secs(15);
/// Before so much has been seen, a time of arrival would be a guess.
const WINDOW_MIN: Duration = Duration::from_secs(3);
/// Longest line that is drawn, in characters.
const LINE_MAX: usize = 79;

/// Listens to a command, shows how far it is, and remembers what each disk cost.
pub struct Progress {
    style: Style,
    state: RefCell<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Hidden,
    Line,
    Json,
}

struct State {
    what: String,
    total: Option<u64>,
    done: u64,
    new_bytes: Vec<u64>,
    begun: Instant,
    told: Option<Instant>,
    /// Moments and what was done by then, oldest first, none older than the window but the first.
    past: VecDeque<(Instant, u64)>,
}

/// How far a command is, as JSON.
#[derive(Debug, Serialize)]
struct Status<'a> {
    message_type: &'static str,
    what: &'a str,
    bytes_done: u64,
    bytes_total: Option<u64>,
    seconds_elapsed: u64,
    seconds_remaining: Option<u64>,
}

impl Progress {
    /// Shows what `report` allows, to a terminal only. With JSON, -v asks for it.
    pub fn new(report: &Report) -> Self {
        let style = match (report.form, report.volume) {
            (Form::Json, Volume::Verbose) => Style::Json,
            (Form::Text, Volume::Normal | Volume::Verbose) if io::stderr().is_terminal() => {
                Style::Line
            }
            _ => Style::Hidden,
        };
        Self::of(style)
    }

    /// The same for a command whose results fill standard output.
    pub fn beside_data(report: &Report) -> Self {
        match Self::new(report) {
            Self { style: Style::Json, .. } => Self::of(Style::Hidden),
            progress => progress,
        }
    }

    fn of(style: Style) -> Self {
        let state = State {
            what: String::new(),
            total: None,
            done: 0,
            new_bytes: Vec::new(),
            begun: Instant::now(),
            told: None,
            past: VecDeque::new(),
        };
        Self { style, state: RefCell::new(state) }
    }

    /// Bytes of new chunks of each disk so far, in their order.
    pub fn new_bytes(&self) -> Vec<u64> {
        self.state.borrow().new_bytes.clone()
    }

    fn tell(&self, state: &mut State) {
        let now = Instant::now();
        let pause = if self.style == Style::Json { RESTATE } else { REDRAW };
        if self.style == Style::Hidden || state.told.is_some_and(|told| now < told + pause) {
            return;
        }
        state.told = Some(now);
        // Progress that nobody sees is no reason to stop.
        let _ = match self.style {
            Style::Hidden => Ok(()),
            Style::Line => write!(io::stderr(), "\r\x1b[K{}", state.line(now)),
            Style::Json => writeln!(io::stdout(), "{}", state.json(now)),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.style == Style::Line && self.state.borrow().told.is_some() {
            // Clears the line; see above.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        let state = &mut *self.state.borrow_mut();
        match event {
            Event::DiskBegins { name, size_bytes } => {
                state.begin(name, size_bytes);
                state.new_bytes.push(0);
            }
            Event::BaseDistrusted { name, size_bytes } => state.begin(name, size_bytes),
            Event::Begins { what, total } => state.begin(what, Some(total)),
            Event::Progress { passed_bytes, new_bytes } => {
                state.advance(passed_bytes);
                if let Some(disk) = state.new_bytes.last_mut() {
                    *disk += new_bytes;
                }
            }
            Event::Advanced { by } => state.advance(by),
        }
        self.tell(state);
    }
}

impl State {
    fn begin(&mut self, what: &str, total: Option<u64>) {
        self.what = printable(what);
        self.total = total;
        self.done = 0;
        self.past = VecDeque::from([(Instant::now(), 0)]);
    }

    fn advance(&mut self, by: u64) {
        self.done += by;
        let now = Instant::now();
        // Ten moments a second are enough for a rate.
        if self.past.back().is_none_or(|(moment, _)| now >= *moment + REDRAW) {
            self.past.push_back((now, self.done));
        }
        while self.past.get(1).is_some_and(|(moment, _)| now > *moment + WINDOW) {
            self.past.pop_front();
        }
    }

    /// Bytes a second over the window, and how long the window is.
    fn rate(&self, now: Instant) -> (f64, Duration) {
        let Some((moment, done)) = self.past.front() else { return (0.0, Duration::ZERO) };
        let window = now.duration_since(*moment);
        ((self.done - done) as f64 / window.as_secs_f64().max(0.001), window)
    }

    /// How long the rest takes at the present rate, if that can be known.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let (rate, window) = self.rate(now);
        let left = self.total?.saturating_sub(self.done);
        let secs = left as f64 / rate;
        (window >= WINDOW_MIN && rate > 0.0 && secs < 1e7).then(|| Duration::from_secs_f64(secs))
    }

    fn line(&self, now: Instant) -> String {
        let mut line = format!("{}  {}", self.what, size::bytes(self.done));
        if let Some(total) = self.total.filter(|total| *total > 0) {
            let percent = (self.done.min(total) as f64 / total as f64 * 100.0) as u64;
            line += &format!(" of {}  {percent} %", size::bytes(total));
        }
        line += &format!("  {}/s", size::bytes(self.rate(now).0 as u64));
        if let Some(remaining) = self.remaining(now) {
            line += &format!("  ETA {}", size::duration(remaining));
        }
        line.chars().take(LINE_MAX).collect()
    }

    fn json(&self, now: Instant) -> String {
        let status = Status {
            message_type: "status",
            what: &self.what,
            bytes_done: self.done,
            bytes_total: self.total,
            seconds_elapsed: now.duration_since(self.begun).as_secs(),
            seconds_remaining: self.remaining(now).map(|remaining| remaining.as_secs()),
        };
        serde_json::to_string(&status).expect("a status is JSON")
    }
}

//! Progress: one line on a terminal, or a JSON object a second for programs that asked for it.
//! Several backups at once share it; each has a lane.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
/// The lane of a command that does one thing after the other.
const ONLY: usize = 0;

/// Listens to a command and shows how far it is.
pub struct Progress {
    style: Style,
    state: Mutex<State>,
}

/// Listens to one of several backups, and remembers what each of its disks cost.
pub struct Lane<'p> {
    progress: &'p Progress,
    number: usize,
    new_bytes: RefCell<Vec<u64>>,
}

/// What is known of a run before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How many inputs it has.
    pub inputs: usize,
    /// Bytes of all their disks, holes included.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Hidden,
    Line,
    Json,
}

struct State {
    extent: Option<Extent>,
    /// What is at work now, by the number of its lane.
    at_work: BTreeMap<usize, Work>,
    lanes: usize,
    inputs_done: usize,
    /// Bytes of the inputs that are done with, saved or not.
    bytes_done: u64,
    /// Bytes that went by, whatever they were of.
    passed: u64,
    begun: Instant,
    told: Option<Instant>,
    /// Moments and what had passed by then, oldest first, none older than the window but the first.
    past: VecDeque<(Instant, u64)>,
}

/// What one lane does.
#[derive(Default)]
struct Work {
    /// The VM or other input; empty if there is but one.
    name: String,
    /// Bytes of all its disks, and of them those that passed.
    size: u64,
    passed: u64,
    /// The disk or step.
    what: String,
    done: u64,
    total: Option<u64>,
}

/// How far a command is, as JSON.
#[derive(Debug, Serialize)]
struct Status<'a> {
    message_type: &'static str,
    what: String,
    bytes_done: u64,
    bytes_total: Option<u64>,
    seconds_elapsed: u64,
    seconds_remaining: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs_done: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs_total: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    at_work: Vec<AtWork<'a>>,
}

/// An input that is being read, as JSON.
#[derive(Debug, Serialize)]
struct AtWork<'a> {
    name: &'a str,
    what: &'a str,
    bytes_done: u64,
    bytes_total: Option<u64>,
}

impl Progress {
    /// Shows what `report` allows, to a terminal only. With JSON, -v asks for it.
    pub fn new(report: &Report) -> Self {
        Self::of(style(report), None)
    }

    /// The same for a run whose extent is known.
    pub fn of_run(report: &Report, extent: Extent) -> Self {
        Self::of(style(report), Some(extent))
    }

    /// The same for a command whose results fill standard output.
    pub fn beside_data(report: &Report) -> Self {
        match style(report) {
            Style::Json => Self::of(Style::Hidden, None),
            style => Self::of(style, None),
        }
    }

    fn of(style: Style, extent: Option<Extent>) -> Self {
        Self { style, state: Mutex::new(State::new(extent)) }
    }

    /// A lane for the input `name` with disks of `size` bytes. It is over when this is dropped.
    pub fn lane(&self, name: &str, size: u64) -> Lane<'_> {
        let mut state = self.state();
        state.lanes += 1;
        let number = state.lanes;
        let work = Work { name: printable(name), size, ..Work::default() };
        state.at_work.insert(number, work);
        Lane { progress: self, number, new_bytes: RefCell::default() }
    }

    /// Lets `print` write where the line was, while nobody else does.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        self.clear(&mut state);
        print()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, lane: usize, event: &Event<'_>) {
        let mut state = self.state();
        match event {
            Event::DiskBegins { name, size_bytes } => state.begin(lane, name, *size_bytes),
            Event::BaseDistrusted { name, size_bytes } => {
                state.take_back(lane);
                state.begin(lane, name, *size_bytes);
            }
            Event::Begins { what, total } => {
                state.begin(lane, what, Some(*total));
                // What is counted now may be something else.
                state.past = VecDeque::from([(Instant::now(), state.passed)]);
            }
            Event::Progress { passed_bytes, .. } => state.advance(lane, *passed_bytes),
            Event::Advanced { by } => state.advance(lane, *by),
        }
        self.tell(&mut state);
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

    fn clear(&self, state: &mut State) {
        if self.style == Style::Line && state.told.take().is_some() {
            // See above.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear(&mut self.state());
    }
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        self.take(ONLY, &event);
    }
}

impl Lane<'_> {
    /// Bytes of new chunks of each disk so far, in their order.
    pub fn new_bytes(&self) -> Vec<u64> {
        self.new_bytes.borrow().clone()
    }
}

impl Observer for Lane<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::DiskBegins { .. } => self.new_bytes.borrow_mut().push(0),
            Event::Progress { new_bytes, .. } => {
                if let Some(disk) = self.new_bytes.borrow_mut().last_mut() {
                    *disk += new_bytes;
                }
            }
            _ => {}
        }
        self.progress.take(self.number, &event);
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        if let Some(work) = state.at_work.remove(&self.number) {
            state.inputs_done += 1;
            state.bytes_done += work.size;
        }
    }
}

fn style(report: &Report) -> Style {
    match (report.form, report.volume) {
        (Form::Json, Volume::Verbose) => Style::Json,
        (Form::Text, Volume::Normal | Volume::Verbose) if io::stderr().is_terminal() => Style::Line,
        _ => Style::Hidden,
    }
}

impl State {
    fn new(extent: Option<Extent>) -> Self {
        Self {
            extent,
            at_work: BTreeMap::new(),
            lanes: 0,
            inputs_done: 0,
            bytes_done: 0,
            passed: 0,
            begun: Instant::now(),
            told: None,
            past: VecDeque::new(),
        }
    }

    fn begin(&mut self, lane: usize, what: &str, total: Option<u64>) {
        let work = self.at_work.entry(lane).or_default();
        work.what = printable(what);
        work.total = total;
        work.done = 0;
        if self.past.is_empty() {
            self.past.push_back((Instant::now(), self.passed));
        }
    }

    /// What passed of the disk will pass once more.
    fn take_back(&mut self, lane: usize) {
        if let Some(work) = self.at_work.get_mut(&lane) {
            work.passed = work.passed.saturating_sub(work.done);
        }
    }

    fn advance(&mut self, lane: usize, by: u64) {
        if let Some(work) = self.at_work.get_mut(&lane) {
            work.done += by;
            work.passed += by;
        }
        self.passed += by;
        let now = Instant::now();
        // Ten moments a second are enough for a rate.
        if self.past.back().is_none_or(|(moment, _)| now >= *moment + REDRAW) {
            self.past.push_back((now, self.passed));
        }
        while self.past.get(1).is_some_and(|(moment, _)| now > *moment + WINDOW) {
            self.past.pop_front();
        }
    }

    /// What is done, and of how much: of the whole run, or of what is at work.
    fn done(&self) -> (u64, Option<u64>) {
        match self.extent {
            Some(extent) => {
                // Records pass, too, which belong to no disk.
                let passed = self.at_work.values().map(|work| work.passed.min(work.size));
                (self.bytes_done + passed.sum::<u64>(), Some(extent.bytes))
            }
            None => {
                let done = self.at_work.values().map(|work| work.done).sum();
                (done, self.at_work.values().map(|work| work.total).sum())
            }
        }
    }

    /// What is at work: disks, or VMs if there are several.
    fn what(&self) -> String {
        let several = self.extent.is_some_and(|extent| extent.inputs > 1);
        let name = |work: &Work| if several { work.name.clone() } else { work.what.clone() };
        let names = self.at_work.values().map(name).filter(|name| !name.is_empty());
        names.collect::<Vec<_>>().join(", ")
    }

    /// Bytes a second over the window, and how long the window is.
    fn rate(&self, now: Instant) -> (f64, Duration) {
        let Some((moment, passed)) = self.past.front() else { return (0.0, Duration::ZERO) };
        let window = now.duration_since(*moment);
        ((self.passed - passed) as f64 / window.as_secs_f64().max(0.001), window)
    }

    /// How long the rest takes at the present rate, if that can be known.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let (rate, window) = self.rate(now);
        let (done, total) = self.done();
        let left = total?.saturating_sub(done);
        let secs = left as f64 / rate;
        (window >= WINDOW_MIN && rate > 0.0 && secs < 1e7).then(|| Duration::from_secs_f64(secs))
    }

    fn line(&self, now: Instant) -> String {
        let (done, total) = self.done();
        let mut numbers = format!("  {}", size::bytes(done));
        if let Some(total) = total.filter(|total| *total > 0) {
            let percent = (done.min(total) as f64 / total as f64 * 100.0) as u64;
            numbers += &format!(" of {}  {percent} %", size::bytes(total));
        }
        numbers += &format!("  {}/s", size::bytes(self.rate(now).0 as u64));
        if let Some(remaining) = self.remaining(now) {
            numbers += &format!("  ETA {}", size::duration(remaining));
        }
        let mut what = self.what();
        if let Some(Extent { inputs: inputs @ 2.., .. }) = self.extent {
            what = format!("{}/{inputs}: {what}", self.inputs_done);
        }
        let room = LINE_MAX.saturating_sub(numbers.chars().count());
        what.chars().take(room).chain(numbers.chars()).take(LINE_MAX).collect()
    }

    fn json(&self, now: Instant) -> String {
        let (bytes_done, bytes_total) = self.done();
        let named = self.at_work.values().filter(|work| !work.name.is_empty());
        let at_work = named.map(|work| AtWork {
            name: &work.name,
            what: &work.what,
            bytes_done: work.done,
            bytes_total: work.total,
        });
        let status = Status {
            message_type: "status",
            what: self.what(),
            bytes_done,
            bytes_total,
            seconds_elapsed: now.duration_since(self.begun).as_secs(),
            seconds_remaining: self.remaining(now).map(|remaining| remaining.as_secs()),
            inputs_done: self.extent.map(|_| self.inputs_done),
            inputs_total: self.extent.map(|extent| extent.inputs),
            at_work: at_work.collect(),
        };
        serde_json::to_string(&status).expect("a status is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(extent: Option<Extent>) -> Progress {
        Progress::of(Style::Hidden, extent)
    }

    fn passed(passed_bytes: u64, new_bytes: u64) -> Event<'static> {
        Event::Progress { passed_bytes, new_bytes }
    }

    #[test]
    fn lanes_add_up_and_remember_their_own_disks() {
        let progress = hidden(Some(Extent { inputs: 3, bytes: 600 }));
        let (web, db) = (progress.lane("web", 100), progress.lane("db", 200));
        web.event(Event::DiskBegins { name: "xvda", size_bytes: Some(100) });
        db.event(Event::DiskBegins { name: "xvda", size_bytes: Some(150) });
        web.event(passed(40, 7));
        db.event(passed(150, 0));
        db.event(Event::DiskBegins { name: "xvdb", size_bytes: Some(50) });
        db.event(passed(20, 9));
        let state = progress.state();
        assert_eq!((state.done(), state.what()), ((210, Some(600)), "web, db".to_owned()));
        drop(state);
        assert_eq!((web.new_bytes(), db.new_bytes()), (vec![7], vec![0, 9]));
    }

    #[test]
    fn a_vm_that_is_over_counts_as_a_whole_even_if_it_was_not_read() {
        let progress = hidden(Some(Extent { inputs: 2, bytes: 300 }));
        let lane = progress.lane("web", 100);
        lane.event(Event::DiskBegins { name: "xvda", size_bytes: Some(100) });
        lane.event(passed(10, 0));
        drop(lane);
        let _db = progress.lane("db", 200);
        let state = progress.state();
        assert_eq!((state.done(), state.inputs_done), ((100, Some(300)), 1));
        let line = state.line(Instant::now());
        assert!(line.starts_with("1/2: db  100 B of 300 B  33 %"), "{line}");
    }

    #[test]
    fn a_disk_that_is_read_again_begins_again() {
        let progress = hidden(Some(Extent { inputs: 2, bytes: 300 }));
        let lane = progress.lane("web", 200);
        lane.event(Event::DiskBegins { name: "xvda", size_bytes: Some(100) });
        lane.event(passed(100, 1));
        lane.event(Event::DiskBegins { name: "xvdb", size_bytes: Some(100) });
        lane.event(passed(70, 2));
        lane.event(Event::BaseDistrusted { name: "xvdb", size_bytes: Some(100) });
        lane.event(passed(30, 4));
        assert_eq!(progress.state().done(), (130, Some(300)));
        assert_eq!(lane.new_bytes(), [1, 6]);
    }

    #[test]
    fn what_does_one_thing_after_the_other_tells_of_the_latest() {
        let progress = hidden(None);
        progress.event(Event::Begins { what: "objects", total: 5 });
        progress.event(Event::Advanced { by: 5 });
        progress.event(Event::Begins { what: "packs", total: 10 });
        progress.event(Event::Advanced { by: 4 });
        let state = progress.state();
        assert_eq!((state.done(), state.what()), ((4, Some(10)), "packs".to_owned()));
        let status: serde_json::Value =
            serde_json::from_str(&state.json(Instant::now())).expect("JSON");
        assert_eq!((&status["what"], &status["at_work"]), (&"packs".into(), &().into()));
    }

    #[test]
    fn many_names_leave_room_for_the_numbers() {
        let progress = hidden(Some(Extent { inputs: 9, bytes: 900 }));
        let lanes: Vec<_> = (0..9).map(|_| progress.lane("a-long-name", 100)).collect();
        lanes[0].event(Event::DiskBegins { name: "xvda", size_bytes: Some(100) });
        lanes[0].event(passed(90, 0));
        let line = progress.state().line(Instant::now());
        assert_eq!(line.chars().count(), LINE_MAX);
        assert!(line.contains("90 B of 900 B  10 %"), "{line}");
    }
}

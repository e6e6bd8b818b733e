//! One lane of a run: inputs one after the other. An input is read, then waits for its snapshot, since it may share
//! packs with the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::backup::{self, BackupRequest};
use engine::source::Source;
use repo_format::id::SnapshotId;
use repo_format::snapshot::Snapshot;

use super::course::Course;
use super::input::{Input, Opened};
use super::pool_vm::Watch;
use super::run::Run;
use super::saved::{Lost, Outcome, Saved};
use crate::advice::{Doing as _, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::report::metadata_noun;

/// Reads inputs, and tells what became of them.
pub struct Lane<'a> {
    run: &'a Run<'a>,
    /// Begins new packs.
    begin: &'a dyn Fn() -> backup::Run<'a, 'a>,
    progress: &'a Progress,
    /// Whether there is but one input, which is told of as it goes on.
    is_only: bool,
    packs: backup::Run<'a, 'a>,
    waiting: BTreeMap<SnapshotId, Read<'a>>,
    outcomes: Vec<(usize, Outcome)>,
    /// The first thing that could not be told.
    untold: Option<Failure>,
}

/// An input on its way.
struct Passage<'a> {
    place: usize,
    input: &'a Input,
    watch: Option<Arc<Watch>>,
    /// What is told about it when it is over, so that nobody else's words come between.
    opening: String,
    is_second_try: bool,
}

/// An input that was read to its end.
struct Read<'a> {
    passage: Passage<'a>,
    opened: Opened,
    new_bytes: Vec<u64>,
}

impl<'a> Lane<'a> {
    /// A lane of `run`, which has so many inputs.
    pub fn new(
        run: &'a Run<'a>,
        begin: &'a dyn Fn() -> backup::Run<'a, 'a>,
        progress: &'a Progress,
        inputs: usize,
    ) -> Self {
        Self {
            run,
            begin,
            progress,
            is_only: inputs == 1,
            packs: begin(),
            waiting: BTreeMap::new(),
            outcomes: Vec::new(),
            untold: None,
        }
    }

    /// Reads an input.
    pub fn take(&mut self, place: usize, input: &'a Input) {
        if interrupt::is_asked() {
            self.outcomes.push((place, Outcome::Skipped(input.path_text())));
            return;
        }
        let (watch, opening) = (input.watch(), String::new());
        self.pass(Passage { place, input, watch, opening, is_second_try: false });
        let outcomes = self.packs.outcomes();
        self.conclude(outcomes);
    }

    /// What became of the inputs, and their places.
    pub fn finish(mut self) -> Result<Vec<(usize, Outcome)>, Failure> {
        loop {
            let outcomes = std::mem::replace(&mut self.packs, (self.begin)()).finish();
            if outcomes.is_empty() {
                break;
            }
            // Some may be read once more.
            self.conclude(outcomes);
        }
        self.untold.map_or(Ok(self.outcomes), Err)
    }

    fn pass(&mut self, mut passage: Passage<'a>) {
        match self.read(&mut passage) {
            Ok((id, opened, new_bytes)) => {
                self.waiting.insert(id, Read { passage, opened, new_bytes });
            }
            Err(failure) => self.lose(passage, failure),
        }
    }

    fn read(
        &mut self,
        passage: &mut Passage<'a>,
    ) -> Result<(SnapshotId, Opened, Vec<u64>), Failure> {
        let input = passage.input;
        let doing = || format!("cannot back up {input}");
        let request = self.request(input);
        let lane = self.progress.lane(&input.name(), input.size());
        let mut opened = input.open(passage.watch.as_ref()).doing(doing)?;
        let opening = opening(input, opened.source(), &request);
        match self.is_only {
            true => self.progress.aside(|| self.run.job.report.step(&opening))?,
            false => passage.opening = opening,
        }
        let id = self.packs.read(opened.source(), &request, &lane).doing(doing)?;
        Ok((id, opened, lane.new_bytes()))
    }

    fn request(&self, input: &Input) -> BackupRequest {
        BackupRequest { path: input.path_text(), ..self.run.template.clone() }
    }

    fn conclude(&mut self, outcomes: Vec<backup::Outcome>) {
        for backup::Outcome { id, result } in outcomes {
            let Some(Read { passage, opened, new_bytes }) = self.waiting.remove(&id) else {
                continue;
            };
            match result.doing(|| format!("cannot back up {}", passage.input)) {
                Ok(snapshot) => {
                    opened.keep();
                    self.save(passage, snapshot, new_bytes);
                }
                Err(failure) => {
                    drop(opened);
                    self.lose(passage, failure);
                }
            }
        }
    }

    fn save(&mut self, passage: Passage<'a>, snapshot: Snapshot, new_bytes: Vec<u64>) {
        let mut course = passage.course();
        let notes = course.notes_text();
        course.came_as_xva(&snapshot);
        let saved = Saved { snapshot, new_bytes, course };
        let (report, text) = (&self.run.job.report, saved.text(self.run.writes));
        let told = self.progress.aside(|| {
            report.warning(&notes);
            report.step(&(passage.opening + &text))
        });
        self.untold = self.untold.take().or(told.err());
        self.outcomes.push((passage.place, Outcome::Saved(Box::new(saved))));
    }

    /// There is no snapshot. If a prune took the session for dead, an input that can be read twice is.
    fn lose(&mut self, passage: Passage<'a>, failure: Failure) {
        let report = &self.run.job.report;
        if failure.is_fenced() && passage.input.is_reopenable() && !passage.is_second_try {
            let again = "a prune took this backup for dead; reading the input again\n";
            self.progress.aside(|| report.remark(again));
            return self.pass(Passage { is_second_try: true, ..passage });
        }
        let course = passage.course();
        let notes = course.notes_text();
        let path = passage.input.path_text();
        self.outcomes.push((passage.place, Outcome::Lost(Lost::new(path, &failure, course.notes))));
        self.progress.aside(|| {
            failure.tell(report.form);
            report.warning(&notes);
        });
    }
}

impl Passage<'_> {
    /// What happened on the pool by now.
    fn course(&self) -> Course {
        self.watch.as_ref().map_or_else(Course::default, |watch| watch.course())
    }
}

/// What is known when an input has been opened.
fn opening(input: &Input, source: &dyn Source, request: &BackupRequest) -> String {
    let facts = source.facts();
    let what = match &*facts.container {
        "xva" if input.is_vm() => "disks",
        "xva" => "XVA",
        "raw" => "raw disk",
        "vhd" => "VHD",
        "qcow2" => "qcow2",
        container if metadata_noun(container).is_some() => "metadata",
        _ => "file",
    };
    let compression = match &*facts.compression {
        "" => String::new(),
        name => format!(" ({name}; an uncompressed export saves time, and comes out the same)"),
    };
    let mut text = format!("reading {what} from {input}{compression}\n");
    if let Some(name) = request.vm_name.as_ref().or(facts.vm_name.as_ref()) {
        let noun = metadata_noun(&facts.container).unwrap_or("vm");
        text += &format!("  {noun}  {name}  {}\n", facts.vm_uuid.as_deref().unwrap_or_default());
    }
    text
}

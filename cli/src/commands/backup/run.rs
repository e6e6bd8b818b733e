//! Inputs are saved, several at once if asked to. One that fails does not stop the others.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use engine::backup::{BackupRequest, backup};
use engine::packer::Threads;
use engine::parallel::in_lanes;
use engine::repository::Repository;
use engine::source::Source;
use repo_format::snapshot::Snapshot;

use super::course::Course;
use super::input::Input;
use super::pool_vm::Watch;
use super::saved::{Lost, Outcome, Saved};
use crate::advice::{Doing as _, Failure};
use crate::interrupt;
use crate::job::{Job, Writes};
use crate::progress::{Extent, Lane, Progress};
use crate::report::metadata_noun;

/// What holds for all inputs.
pub struct Run<'a> {
    /// How it is told, and who computes.
    pub job: &'a Job,
    /// Where snapshots go.
    pub repository: &'a Repository,
    /// What every snapshot says.
    pub template: &'a BackupRequest,
    /// What becomes of what is stored.
    pub writes: Writes,
    /// Inputs that are read at once.
    pub lanes: NonZeroUsize,
}

/// One input on its way.
struct Passage<'a> {
    run: &'a Run<'a>,
    threads: Threads<'a>,
    progress: &'a Progress,
    input: &'a Input,
    request: BackupRequest,
    watch: Option<Arc<Watch>>,
    /// What is told about it when it is over, so that nobody else's words come between.
    opening: RefCell<String>,
}

impl Run<'_> {
    /// What became of each input, in their order.
    pub fn save(&self, inputs: &[Input]) -> Result<Vec<Outcome>, Failure> {
        let (workers, uploaders) = (self.job.workers()?, self.job.uploaders()?);
        let threads = Threads { workers: &workers, uploaders: &uploaders };
        let progress = self.progress(inputs);
        let lanes = self.lanes.min(NonZeroUsize::new(inputs.len()).unwrap_or(NonZeroUsize::MIN));
        let run = Run { lanes, ..*self };
        let save = |input: &Input| {
            if interrupt::is_asked() {
                return Ok(Outcome::Skipped(input.path_text()));
            }
            let request = BackupRequest { path: input.path_text(), ..run.template.clone() };
            let (run, progress, watch) = (&run, &progress, input.watch());
            let opening = RefCell::default();
            Passage { run, threads, progress, input, request, watch, opening }.pass()
        };
        in_lanes(lanes, inputs, save).into_iter().collect()
    }

    /// For files it is not known what there is; each is told by itself.
    fn progress(&self, inputs: &[Input]) -> Progress {
        let bytes = inputs.iter().map(Input::size).fold(0, u64::saturating_add);
        match bytes {
            0 => Progress::new(&self.job.report),
            bytes => Progress::of_run(&self.job.report, Extent { inputs: inputs.len(), bytes }),
        }
    }
}

impl Passage<'_> {
    fn pass(self) -> Result<Outcome, Failure> {
        let ended = self.save();
        let mut course = self.watch.as_ref().map_or_else(Course::default, |watch| watch.course());
        let report = &self.run.job.report;
        let notes = course.notes_text();
        match ended {
            Ok((snapshot, new_bytes)) => {
                course.came_as_xva(&snapshot);
                let saved = Saved { snapshot, new_bytes, course };
                let text = self.opening.take() + &saved.text(self.run.writes);
                self.progress.aside(|| {
                    report.warning(&notes);
                    report.step(&text)
                })?;
                Ok(Outcome::Saved(Box::new(saved)))
            }
            Err(failure) => {
                let lost = Lost::new(self.request.path.clone(), &failure, course.notes);
                self.progress.aside(|| {
                    failure.tell(report.form);
                    report.warning(&notes);
                });
                Ok(Outcome::Lost(lost))
            }
        }
    }

    /// Saves it. If a prune took the session for dead, an input that can be read twice is.
    fn save(&self) -> Result<(Snapshot, Vec<u64>), Failure> {
        match self.save_once() {
            Err(failure) if failure.is_fenced() && self.input.is_reopenable() => {
                let again = "a prune took this backup for dead; reading the input again\n";
                self.progress.aside(|| self.run.job.report.remark(again));
                self.save_once()
            }
            saved => saved,
        }
    }

    fn save_once(&self) -> Result<(Snapshot, Vec<u64>), Failure> {
        let doing = || format!("cannot back up {}", self.input);
        let lane = self.progress.lane(&self.input.name(), self.input.size());
        let mut opened = self.input.open(self.watch.as_ref()).doing(doing)?;
        self.tell(opening(self.input, opened.source(), &self.request))?;
        let Run { repository, .. } = self.run;
        let saved = backup(repository, self.threads, opened.source(), &self.request, &lane);
        let snapshot = saved.doing(doing)?;
        opened.keep();
        Ok((snapshot, Lane::new_bytes(&lane)))
    }

    /// Tells the beginning at once, or with all that follows if others are at work, too.
    fn tell(&self, opening: String) -> Result<(), Failure> {
        match self.run.lanes.get() {
            1 => self.progress.aside(|| self.run.job.report.step(&opening)),
            _ => {
                self.opening.replace(opening);
                Ok(())
            }
        }
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

//! What happens on the pool while a VM comes back.

use std::cell::RefCell;

use serde::Serialize;
use xen_source::xapi::destination::{Event, Observer};

use crate::advice::in_words;
use crate::interrupt;
use crate::progress::Progress;
use crate::report::Report;

/// Learns what happens, and says so with -v.
pub struct Course<'c> {
    report: &'c Report,
    progress: &'c Progress,
    steps: usize,
    notes: RefCell<Vec<Note>>,
}

/// Something that somebody has to look at.
pub type Note = crate::report::Note<NoteKind>;

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// What a failed restore had made could not be removed.
    Stays,
    /// A mark of this program could not be removed from the VM.
    MarkStays,
    /// The VM that was to be replaced is not as it was before.
    NotBack,
    /// The VM that was replaced could not be removed.
    ReplacedStays,
}

impl<'c> Course<'c> {
    /// Of so many steps; what it says does not get into the line of `progress`.
    pub fn new(report: &'c Report, progress: &'c Progress, steps: usize) -> Self {
        Self { report, progress, steps, notes: RefCell::default() }
    }

    /// What somebody has to look at, so far.
    pub fn notes(&self) -> Vec<Note> {
        self.notes.borrow().clone()
    }
}

/// A line for each note.
pub fn notes_text(notes: &[Note]) -> String {
    notes.iter().map(|note| format!("warning: {}\n", note.message)).collect()
}

impl Observer for Course<'_> {
    /// An interrupt takes back what was made, unless the VM has its name by then: what is whole is
    /// finished, and told.
    fn is_stopped(&self) -> bool {
        interrupt::is_asked()
    }

    fn event(&self, event: Event) {
        let note = |kind, message| self.notes.borrow_mut().push(Note { kind, message });
        match event {
            Event::Begins { number, step } => {
                let text = format!("{}/{}: {step}\n", number + 1, self.steps);
                self.progress.aside(|| self.report.detail(&text));
            }
            Event::Removed { .. } => {}
            Event::Stays { class, uuid, error } => {
                let error = in_words(&error);
                let message =
                    format!("{class} {uuid}, which was made, stays on the pool ({error})");
                note(NoteKind::Stays, message);
            }
            Event::MarkStays { of_vm: true, error } => {
                let error = in_words(&error);
                let message = format!(
                    "a mark stays in the other_config of the VM, which is whole ({error}); \
                     `xenith cleanup` takes it away"
                );
                note(NoteKind::MarkStays, message);
            }
            Event::MarkStays { of_vm: false, error } => {
                let error = in_words(&error);
                let message = format!(
                    "a mark stays in the other_config of disks, which are whole ({error}); take \
                     `xenith-restore` away there, or `xenith cleanup` removes them as unfinished"
                );
                note(NoteKind::MarkStays, message);
            }
            Event::NotBack { name, error } => {
                let message = format!("the VM {name} is not as it was ({})", in_words(&error));
                note(NoteKind::NotBack, message);
            }
            Event::ReplacedStays { name, error } => {
                let error = in_words(&error);
                let message = format!(
                    "the old VM stays as {name}, or a part of it ({error}); the new one is whole"
                );
                note(NoteKind::ReplacedStays, message);
            }
        }
    }
}

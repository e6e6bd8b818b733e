//! How a VM was read, beside what its snapshot says.

use repo_format::snapshot::{DiskRole, Snapshot};
use serde::Serialize;
use xen_source::xapi;

use crate::report::Way;

/// How a VM was read.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// `hot`, `warm` or `cold`; empty for what is no VM.
    pub mode: &'static str,
    /// How each disk came, in their order.
    pub ways: Vec<Way>,
    /// What else happened.
    pub notes: Vec<Note>,
}

/// Something that people should know.
pub type Note = crate::report::Note<NoteKind>;

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// A snapshot could not be removed from the pool.
    SnapshotStays,
    /// What tells changes of a disk could not be removed from the pool.
    TraceStays,
    /// The command after the snapshot failed.
    PostSnapshot,
    /// The VM is not again what it was before.
    NotBack,
    /// A storage repository was not asked how full it is.
    NotScanned,
}

impl Course {
    /// A disk begins, perhaps once more in another way.
    pub fn disk_begins(&mut self, way: Way) {
        match self.ways.iter_mut().find(|before| before.uuid == way.uuid) {
            Some(before) => *before = way,
            None => self.ways.push(way),
        }
    }

    /// Of an export all in one nobody says disk by disk how it comes.
    pub fn came_as_xva(&mut self, snapshot: &Snapshot) {
        if self.ways.is_empty() && !self.mode.is_empty() {
            let disks = snapshot.disks.iter().filter(|disk| disk.role == DiskRole::Disk);
            self.ways = disks.map(|disk| Way::whole("xva", &disk.key)).collect();
        }
    }

    /// Whether something was left undone that somebody has to look at.
    pub fn leaves_undone(&self) -> bool {
        self.notes.iter().any(|note| note.kind.undone().is_some())
    }

    /// A line for each note.
    pub fn notes_text(&self) -> String {
        let line = |note: &Note| match note.kind.undone() {
            Some(_) => format!("warning: {}\n", note.message),
            None => format!("note: {}\n", note.message),
        };
        self.notes.iter().map(line).collect()
    }
}

impl NoteKind {
    /// What was left undone, if that is what it says.
    pub const fn undone(self) -> Option<&'static str> {
        match self {
            Self::SnapshotStays => Some("its snapshot stays on the pool"),
            Self::TraceStays => Some("what tells its changes stays on the pool"),
            Self::PostSnapshot => Some("--post-snapshot failed"),
            Self::NotBack => Some("it is not again what it was before"),
            Self::NotScanned => None,
        }
    }
}

/// What a mode is called.
pub const fn mode_name(mode: xapi::Mode) -> &'static str {
    match mode {
        xapi::Mode::Hot => "hot",
        xapi::Mode::Warm => "warm",
        xapi::Mode::Cold => "cold",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(uuid: &str, changes_only: bool, reason: &str) -> Way {
        Way { uuid: uuid.into(), transfer: "nbd", changes_only, reason: reason.into() }
    }

    #[test]
    fn a_disk_that_is_read_again_came_as_it_came_at_last() {
        let mut course = Course::default();
        course.disk_begins(way("a", true, ""));
        course.disk_begins(way("b", true, ""));
        course.disk_begins(way("a", false, "a sample differed"));
        let told: Vec<_> = course.ways.iter().map(Way::text).collect();
        assert_eq!(told, ["nbd: a sample differed", "nbd, changes only"]);
    }

    #[test]
    fn what_stays_on_the_pool_is_left_undone() {
        let mut course = Course { mode: "hot", ..Course::default() };
        assert!(!course.leaves_undone());
        let note = |kind, message: &str| Note { kind, message: message.to_owned() };
        course.notes.push(note(NoteKind::NotScanned, "not scanned"));
        assert!(!course.leaves_undone());
        course.notes.push(note(NoteKind::SnapshotStays, "it stays"));
        assert!(course.leaves_undone());
        assert_eq!(course.notes_text(), "note: not scanned\nwarning: it stays\n");
    }
}

//! What became of a fail-over or of a test, as it is told and kept.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::bring_up::Outcome;
use super::candidate::Candidate;
use super::outlook::size_of;
use crate::advice::{ErrorMessage, Failure, refused};
use crate::clock;
use crate::exit::Exit;
use crate::size;
use crate::text::{Align, Table};

/// What became of all VMs, as JSON.
#[derive(Debug, Serialize)]
pub struct FailOverReport {
    message_type: &'static str,
    pool: String,
    time: String,
    restored: usize,
    failed: usize,
    skipped: usize,
    booted: usize,
    vms: Vec<VmEntry>,
    /// vApps that were made again.
    apps: Vec<String>,
    /// What is to be known, in words.
    remarks: Vec<String>,
    /// What is not as it should be, in words.
    notes: Vec<String>,
    /// Until the last VM was ready: what a disaster would take.
    elapsed_ms: u64,
}

/// What became of a VM. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct VmEntry {
    name: String,
    snapshot: String,
    app: Option<String>,
    order: u64,
    /// `restored`, `failed` or `skipped`.
    state: &'static str,
    new_name: Option<String>,
    new_uuid: Option<String>,
    size: u64,
    /// Whether every disk was read back and compared.
    verified: bool,
    booted: Option<bool>,
    tools: Option<bool>,
    elapsed_ms: u64,
    ready_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorMessage>,
    #[serde(skip)]
    cause: String,
}

/// The form of a report that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Markdown.
    Markdown,
    /// As on a terminal.
    Text,
    /// As with `--json`.
    Json,
}

impl Form {
    /// The form that the name of a file asks for.
    ///
    /// # Errors
    ///
    /// If it asks for none.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("md") => Ok(Self::Markdown),
            Some("txt") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => refused(
                format!("cannot write a report to {}", path.display()),
                "its name does not tell its form",
                "end it with .md, .txt or .json; nothing was done",
            ),
        }
    }
}

impl FailOverReport {
    /// What became of `candidates`, of `message_type`.
    pub fn of(
        message_type: &'static str,
        pool: String,
        begun_secs: u64,
        candidates: &[Candidate],
        outcomes: &[Outcome],
    ) -> Self {
        let vms: Vec<VmEntry> = candidates
            .iter()
            .enumerate()
            .map(|(place, it)| VmEntry::of(it, outcomes.iter().find(|found| found.place == place)))
            .collect();
        let count = |state: &str| vms.iter().filter(|vm| vm.state == state).count();
        let elapsed = outcomes.iter().map(|outcome| outcome.ready).max().unwrap_or_default();
        Self {
            message_type,
            pool,
            time: clock::rfc3339(begun_secs, 0),
            restored: count("restored"),
            failed: count("failed"),
            skipped: count("skipped"),
            booted: vms.iter().filter(|vm| vm.booted == Some(true)).count(),
            vms,
            apps: Vec::new(),
            remarks: Vec::new(),
            notes: Vec::new(),
            elapsed_ms: millis(elapsed),
        }
    }

    /// A vApp was made again.
    pub fn add_app(&mut self, name: String) {
        self.apps.push(name);
    }

    /// Something is to be known.
    pub fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Something is not as it should be.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// How the command ends, unless it was interrupted.
    pub const fn exit(&self) -> Exit {
        match self.failed + self.skipped == 0 && self.notes.is_empty() {
            true => Exit::Done,
            false => Exit::Partly,
        }
    }

    /// A line for each VM, and one for all.
    pub fn text(&self) -> String {
        let mut table = Table::new(&[
            ("VM", Align::Left),
            ("vApp", Align::Left),
            ("Order", Align::Right),
            ("Size", Align::Right),
            ("Time", Align::Right),
            ("Ready", Align::Right),
            ("State", Align::Left),
        ]);
        for vm in &self.vms {
            table.row(vm.cells());
        }
        table.lines("") + &self.closing()
    }

    /// The same for people who were not there.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Test of disaster recovery\n\nPool {}, {}\n\n{}\n\
             | VM | vApp | Order | Size | Time | Ready | State |\n\
             |---|---|---|---|---|---|---|\n",
            escaped(&self.pool),
            self.time,
            self.closing(),
        );
        for vm in &self.vms {
            let cells = vm.cells().map(|cell| escaped(&cell));
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    /// What is kept in a file of a form.
    pub fn kept(&self, form: Form) -> String {
        match form {
            Form::Markdown => self.markdown(),
            Form::Text => self.text(),
            Form::Json => serde_json::to_string_pretty(self).expect("results are JSON") + "\n",
        }
    }

    fn closing(&self) -> String {
        let mut text = format!("{} restored", self.restored);
        if self.vms.iter().any(|vm| vm.booted.is_some()) {
            let seen = self.vms.iter().any(|vm| vm.tools.is_some());
            let tools = if seen { " (tools seen)" } else { "" };
            text += &format!(", {} booted{tools}", self.booted);
        }
        text += &format!(", {} failed", self.failed);
        if self.skipped > 0 {
            text += &format!(", {} not begun", self.skipped);
        }
        let rto = size::duration(Duration::from_millis(self.elapsed_ms));
        text += &format!(", RTO {rto}\n");
        if !self.apps.is_empty() {
            text += &format!("made again: {}\n", self.apps.join(", "));
        }
        for note in self.remarks.iter().chain(&self.notes) {
            text += &format!("note: {note}\n");
        }
        text
    }
}

impl VmEntry {
    fn of(candidate: &Candidate, outcome: Option<&Outcome>) -> Self {
        let restored = outcome.and_then(|outcome| outcome.restored.as_ref());
        let failure = outcome.and_then(|outcome| outcome.failure.as_ref());
        let booted = outcome.and_then(|outcome| outcome.booted);
        let state = match (restored, failure) {
            (_, Some(_)) => "failed",
            (Some(_), None) => "restored",
            (None, None) => "skipped",
        };
        let disks = restored.map(|restored| &*restored.disks).unwrap_or_default();
        Self {
            name: candidate.vm.name.clone(),
            snapshot: candidate.snapshot.id.to_string(),
            app: candidate.app.clone(),
            order: candidate.start.order,
            state,
            new_name: restored.map(|restored| restored.name.clone()),
            new_uuid: restored.and_then(|restored| restored.uuid.clone()),
            size: size_of(candidate),
            verified: !disks.is_empty() && disks.iter().all(|disk| disk.is_verified),
            booted: booted.map(|booted| booted.is_running),
            tools: booted.and_then(|booted| booted.has_tools),
            elapsed_ms: outcome.map_or(0, |outcome| millis(outcome.elapsed)),
            ready_ms: outcome.map_or(0, |outcome| millis(outcome.ready)),
            error: failure.map(Failure::message),
            cause: failure.map(Failure::cause).unwrap_or_default(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let time = |ms: u64| size::duration(Duration::from_millis(ms));
        [
            self.name.clone(),
            self.app.clone().unwrap_or_default(),
            self.app.as_ref().map(|_| self.order.to_string()).unwrap_or_default(),
            size::bytes(self.size),
            time(self.elapsed_ms),
            time(self.ready_ms),
            self.state_text(),
        ]
    }

    fn state_text(&self) -> String {
        match self.state {
            "failed" => return format!("FAILED: {}", self.cause),
            "skipped" => return "not begun".to_owned(),
            _ => {}
        }
        let parts = [
            (self.verified, "disks identical"),
            (self.booted == Some(true), "booted"),
            (self.tools == Some(true), "tools seen"),
        ];
        let parts = parts.iter().filter(|(is_so, _)| *is_so).map(|(_, text)| *text);
        std::iter::once("ok").chain(parts).collect::<Vec<_>>().join(", ")
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Names come from strangers, and must stay in their cell.
fn escaped(text: &str) -> String {
    let special = |c: char| "\\|*_`<>[]#".contains(c);
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => escaped.push('?'),
            c if special(c) => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;

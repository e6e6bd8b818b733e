//! What became of a fail-over or of a test, as it is told and kept.

mod html;
mod markdown;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::bring_up::Outcome;
use super::candidate::{Candidate, Found};
use super::outlook::size_of;
use crate::advice::{ErrorMessage, Failure, refused};
use crate::clock;
use crate::exit::Exit;
use crate::size;
use crate::text::{Align, Table};

/// What is told of each VM.
const COLUMNS: [(&str, Align); 7] = [
    ("VM", Align::Left),
    ("vApp", Align::Left),
    ("Order", Align::Right),
    ("Size", Align::Right),
    ("Time", Align::Right),
    ("Ready", Align::Right),
    ("State", Align::Left),
];

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
    repository: String,
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
    /// A page for a browser.
    Html,
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
            Some("html") => Ok(Self::Html),
            Some("txt") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => refused(
                format!("cannot write a report to {}", path.display()),
                "its name does not tell its form",
                "end it with .md, .html, .txt or .json; nothing was done",
            ),
        }
    }
}

impl FailOverReport {
    /// What became of the VMs that were found, of `message_type`.
    pub fn of(
        message_type: &'static str,
        pool: String,
        begun_secs: u64,
        found: &Found,
        outcomes: &[Outcome],
    ) -> Self {
        let outcome = |place| outcomes.iter().find(|outcome| outcome.place == place);
        let vms = found.candidates.iter().enumerate();
        let vms: Vec<VmEntry> = vms
            .map(|(place, it)| {
                let repository = found.location(it).to_owned();
                VmEntry { repository, ..VmEntry::of(it, outcome(place)) }
            })
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
            notes: found.lost.iter().chain(&found.notes).cloned().collect(),
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
    pub fn exit(&self) -> Exit {
        let is_well =
            self.failed + self.skipped == 0 && self.vms.iter().all(|vm| vm.error.is_none());
        match is_well && self.notes.is_empty() {
            true => Exit::Done,
            false => Exit::Partly,
        }
    }

    /// A line for each VM, and one for all.
    pub fn text(&self) -> String {
        let mut table = Table::new(&COLUMNS);
        for vm in &self.vms {
            table.row(vm.cells());
        }
        table.lines("") + &self.closing()
    }

    /// What is kept in a file of a form.
    pub fn kept(&self, form: Form) -> String {
        match form {
            Form::Markdown => markdown::page(self),
            Form::Html => html::page(self),
            Form::Text => self.text(),
            Form::Json => serde_json::to_string_pretty(self).expect("results are JSON") + "\n",
        }
    }

    fn closing(&self) -> String {
        let mut text = format!("{} restored", self.restored);
        if self.vms.iter().any(|vm| vm.booted.is_some()) {
            let seen = self.vms.iter().any(|vm| vm.tools == Some(true));
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
            (Some(_), _) => "restored",
            (None, Some(_)) => "failed",
            (None, None) => "skipped",
        };
        let disks = restored.map(|restored| &*restored.disks).unwrap_or_default();
        Self {
            name: candidate.vm.name.clone(),
            repository: String::new(),
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
            _ if self.booted == Some(false) => {
                return format!("restored, NOT STARTED: {}", self.cause)
                    .trim_end_matches(": ")
                    .to_owned();
            }
            _ if self.error.is_some() => return format!("restored, BUT: {}", self.cause),
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

#[cfg(test)]
mod tests;

//! `check`: looks for damage.

use engine::check::hashes::check_hashes;
use engine::check::{self, Finding, Report as CheckReport, Subset};
use serde::Serialize;

use crate::advice::{Doing as _, Failure};
use crate::args::CheckArgs;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::size;

/// The result, as JSON.
#[derive(Debug, Serialize)]
struct CheckEntry {
    damaged: bool,
    findings: Vec<FindingEntry>,
    checked: CheckedEntry,
}

/// What was found, as JSON.
#[derive(Debug, Serialize)]
struct FindingEntry {
    code: &'static str,
    damage: bool,
    message: String,
}

/// What was looked at, as JSON.
#[derive(Debug, Serialize)]
struct CheckedEntry {
    objects: u64,
    bytes: u64,
    snapshots: u64,
    packs: u64,
}

/// Looks for damage; damage is [`Exit::Failed`].
pub fn run(job: &Job, args: CheckArgs) -> Result<Exit, Failure> {
    let report = match (args.no_password, args.read_data, args.read_data_subset) {
        (true, _, _) => names(job)?,
        (false, true, _) => contents(job, Some(Subset::All))?,
        (false, false, subset) => contents(job, subset.map(|subset| subset.0))?,
    };
    job.report.answer(&text(&report), &CheckEntry::of(&report))?;
    Ok(if report.has_damage() { Exit::Failed } else { Exit::Done })
}

/// Every object against its name.
fn names(job: &Job) -> Result<CheckReport, Failure> {
    let storage = job.storage()?;
    let checked = check_hashes(&*storage, &Progress::new(&job.report));
    checked.doing(|| format!("cannot check {}", storage.location()))
}

/// What only a password shows.
fn contents(job: &Job, subset: Option<Subset>) -> Result<CheckReport, Failure> {
    let repository = job.open(Writes::Kept)?;
    let workers = job.workers()?;
    let checked = check::check(&repository, &workers, subset, &Progress::new(&job.report));
    checked.doing(|| format!("cannot check {}", repository.storage().location()))
}

fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let kind = if finding.is_damage() { "damage" } else { "note" };
        text += &format!("{kind}: {finding}\n");
    }
    let checked = &report.checked;
    text += &format!(
        "checked {} ({})",
        size::plural(checked.objects, "object"),
        size::bytes(checked.bytes)
    );
    if checked.snapshots > 0 {
        text += &format!(", followed {}", size::plural(checked.snapshots, "snapshot"));
    }
    if checked.packs > 0 {
        text += &format!(", read {}", size::plural(checked.packs, "pack"));
    }
    let damages = report.findings.iter().filter(|finding| finding.is_damage()).count();
    text + &match damages {
        0 => ": no damage found\n".to_owned(),
        count => format!(
            "\ndamage found in {}; nothing was changed. Get what is damaged from a copy of the \
             repository, and back up again soon\n",
            size::plural(count as u64, "place"),
        ),
    }
}

impl CheckEntry {
    fn of(report: &CheckReport) -> Self {
        let finding = |finding: &Finding| FindingEntry {
            code: finding.code(),
            damage: finding.is_damage(),
            message: finding.to_string(),
        };
        let checked = report.checked;
        Self {
            damaged: report.has_damage(),
            findings: report.findings.iter().map(finding).collect(),
            checked: CheckedEntry {
                objects: checked.objects,
                bytes: checked.bytes,
                snapshots: checked.snapshots,
                packs: checked.packs,
            },
        }
    }
}

//! `xva`: looks at XVAs without a repository.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use xen_source::{Objection, Severity, inspect_xva};

use crate::advice::{Doing as _, Failure, Fault};
use crate::args::{XvaAction, XvaArgs};
use crate::exit::Exit;
use crate::job::Job;

/// The result, as JSON.
#[derive(Debug, Serialize)]
struct XvaEntry {
    importable: bool,
    findings: Vec<FindingEntry>,
}

/// What an importer would object to, as JSON.
#[derive(Debug, Serialize)]
struct FindingEntry {
    severity: &'static str,
    message: String,
}

/// Does what was asked for.
pub fn run(job: &Job, args: XvaArgs) -> Result<Exit, Failure> {
    match args.action {
        XvaAction::Check { file } => check(job, &file),
    }
}

/// Tells what an importer would object to; what fails every import is [`Exit::Failed`].
fn check(job: &Job, path: &Path) -> Result<Exit, Failure> {
    let doing = || format!("cannot check {}", path.display());
    let input: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(Fault::File).doing(doing)?),
    };
    let found = inspect_xva(input).map_err(Fault::File).doing(doing)?;
    let importable = !found.iter().any(|objection| objection.severity == Severity::Error);
    let mut text: String = found
        .iter()
        .map(|objection| format!("{}: {}\n", severity(objection), objection.what))
        .collect();
    text += match (importable, found.is_empty()) {
        (true, true) => "an importer has nothing to object to\n",
        (true, false) => "it can be imported\n",
        (false, _) => "an import would fail\n",
    };
    let entry = |objection: &Objection| FindingEntry {
        severity: severity(objection),
        message: objection.what.clone(),
    };
    let findings = found.iter().map(entry).collect();
    job.report.answer(&text, &XvaEntry { importable, findings })?;
    Ok(if importable { Exit::Done } else { Exit::Failed })
}

const fn severity(objection: &Objection) -> &'static str {
    match objection.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

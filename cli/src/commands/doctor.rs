//! `doctor`: looks for what would make backups of a pool fail, slow or incomplete.

mod coverage;
mod disks;
mod finding;
mod members;
mod storage;
mod words;

use serde::Serialize;
use xen_source::xapi::{Pool, XapiError, probe};

use crate::advice::{Doing as _, Failure};
use crate::args::DoctorArgs;
use crate::connection::Way;
use crate::exit::Exit;
use crate::job::Job;
use crate::size;
use finding::{Finding, Level};
use words::Words;

/// What was found, as JSON.
#[derive(Debug, Serialize)]
struct Diagnosis {
    message_type: &'static str,
    findings: Vec<Words>,
}

/// Checks one thing after the other; what cannot be checked does not stop the rest.
pub fn run(job: &Job, args: DoctorArgs) -> Result<Exit, Failure> {
    let way = Way::find(&job.config, args.pool)?;
    let findings = examine(job, &way);
    let findings = findings.iter().map(Finding::words).collect();
    let diagnosis = Diagnosis { message_type: "doctor", findings };
    job.report.answer(&diagnosis.text(), &diagnosis)?;
    Ok(match diagnosis.count(Level::Fail) {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}

fn examine(job: &Job, way: &Way) -> Vec<Finding> {
    let mut findings = members::reach(&way.settings, &way.addresses);
    let pool = match way.log_in(job) {
        Ok(pool) => pool,
        Err(failure) => {
            findings.push(Finding::failed("login", &failure));
            return findings;
        }
    };
    findings.push(members::login(way.user(), &pool));
    let others = pool.session().members().into_iter();
    let others = others.filter(|member| way.addresses.iter().all(|it| it.host() != member.host()));
    findings.extend(members::reach(&way.settings, &others.collect::<Vec<_>>()));
    findings.extend(members::greet(&pool, &way.settings.trust));
    match look(&pool) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::failed("pool", &as_failure(error))),
    }
    match coverage::check(job, &pool) {
        Ok(found) => findings.extend(found),
        Err(failure) => findings.push(Finding::failed("coverage", &failure)),
    }
    findings
}

/// What the records of the pool show.
fn look(pool: &Pool) -> Result<Vec<Finding>, XapiError> {
    let session = pool.session();
    let inventory = probe::inventory(session)?;
    let vms = pool.vms()?;
    let mut findings = members::versions(&inventory.hosts);
    findings.extend(inventory.hosts.iter().flat_map(|host| members::clock_and_key(session, host)));
    findings.push(members::rights(session));
    findings.extend(storage::check(&inventory, &vms, pool.record().default_sr.as_deref()));
    findings.push(storage::chains(&inventory, &vms));
    findings.push(storage::leftovers(pool));
    findings.push(disks::tracking(session, &vms));
    findings.push(disks::nbd(session, &inventory.networks, &vms));
    Ok(findings)
}

fn as_failure(error: XapiError) -> Failure {
    let failed: Result<(), XapiError> = Err(error);
    failed.doing(|| "cannot look at the pool".to_owned()).expect_err("it has failed")
}

impl Diagnosis {
    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|words| words.level == level).count()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let width = self.findings.iter().map(|words| words.check.len()).max().unwrap_or(0);
        for Words { check, level, message, hint } in &self.findings {
            text += &format!("{:<4}  {check:<width$}  {message}\n", level.name());
            if !hint.is_empty() {
                text += &format!("      {:<width$}  hint: {hint}\n", "");
            }
        }
        let (failed, warned) = (self.count(Level::Fail), self.count(Level::Warn));
        text + &format!("{failed} failed, {}\n", size::plural(warned as u64, "warning"))
    }
}

//! `pool`: what an administrator puts right on a pool.

use serde::Serialize;
use xen_source::xapi::VmRecord;
use xen_source::xapi::recovery::suspended;

use crate::advice::{Doing as _, ErrorMessage, Failure};
use crate::args::{FixSuspendedArgs, PoolAction, PoolAdminArgs};
use crate::connection;
use crate::exit::Exit;
use crate::job::Job;

/// What became of VMs without memory, as JSON.
#[derive(Debug, Serialize)]
struct Fixed {
    message_type: &'static str,
    dry_run: bool,
    reset: Vec<VmName>,
    failed: Vec<Stayed>,
}

/// A VM.
#[derive(Debug, Serialize)]
struct VmName {
    uuid: String,
    name: String,
}

/// One that could not be reset.
#[derive(Debug, Serialize)]
struct Stayed {
    #[serde(flatten)]
    vm: VmName,
    #[serde(flatten)]
    error: ErrorMessage,
}

/// Puts it right.
pub fn run(job: &Job, args: PoolAdminArgs) -> Result<Exit, Failure> {
    match args.action {
        PoolAction::FixSuspended(args) => fix_suspended(job, args),
    }
}

/// Resets what is suspended without memory. A VM that cannot be reset does not stop the others.
fn fix_suspended(job: &Job, args: FixSuspendedArgs) -> Result<Exit, Failure> {
    let FixSuspendedArgs { pool, dry_run } = args;
    let pool = connection::open(job, pool)?;
    let doing = || "cannot look for suspended VMs on the pool".to_owned();
    let found = suspended::find(&pool).doing(doing)?;
    let mut fixed =
        Fixed { message_type: "fixed_suspended", dry_run, reset: Vec::new(), failed: Vec::new() };
    for record in &found {
        let vm = VmName::of(record);
        let doing = || format!("cannot reset VM {} ({})", vm.name, vm.uuid);
        let reset = if dry_run { Ok(()) } else { suspended::reset(&pool, record).doing(doing) };
        match reset {
            Ok(()) => {
                let done = if dry_run { "would reset" } else { "reset" };
                job.report.step(&format!("{done} VM {} ({})\n", vm.name, vm.uuid))?;
                fixed.reset.push(vm);
            }
            Err(failure) => {
                fixed.failed.push(Stayed { vm, error: failure.message() });
                failure.tell(job.report.form);
            }
        }
    }
    job.report.outcome(&fixed.text(), &fixed)?;
    Ok(fixed.exit())
}

impl VmName {
    fn of(vm: &VmRecord) -> Self {
        Self { uuid: vm.uuid.clone(), name: vm.name.clone() }
    }
}

impl Fixed {
    fn text(&self) -> String {
        let would = if self.dry_run { "would be " } else { "" };
        match (self.reset.len(), self.failed.len()) {
            (0, 0) => "no VM is suspended without memory\n".to_owned(),
            (reset, 0) => format!("{reset} {would}reset\n"),
            (reset, failed) => format!("{reset} {would}reset, {failed} failed\n"),
        }
    }

    fn exit(&self) -> Exit {
        match (self.reset.is_empty(), self.failed.is_empty()) {
            (_, true) => Exit::Done,
            (true, false) => Exit::Failed,
            (false, false) => Exit::Partly,
        }
    }
}

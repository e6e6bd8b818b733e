//! `dr`: what is done about a disaster.

mod bring_up;
mod candidate;
mod choice;
mod outlook;
mod plan;
mod prepared;
mod present;
mod report;
mod run;
mod runbook;
mod stock;
mod test;

use crate::advice::Failure;
use crate::args::{DrAction, DrArgs, VerifyArgs};
use crate::exit::Exit;
use crate::job::Job;

/// Does it.
pub fn run(job: &Job, args: DrArgs) -> Result<Exit, Failure> {
    match args.action {
        DrAction::Plan(args) => plan::run(job, *args),
        DrAction::Run(args) => run::run(job, *args),
        DrAction::Test(args) => test::run(job, *args),
        DrAction::Runbook(args) => runbook::run(job, args),
    }
}

/// Tests a fail-over of which every disk is read back.
pub fn verify(job: &Job, args: VerifyArgs) -> Result<Exit, Failure> {
    let mut args = args.test;
    args.manner.verify = true;
    test::run(job, args)
}

//! `dr`: what is done about a disaster.

mod runbook;

use crate::advice::Failure;
use crate::args::{DrAction, DrArgs};
use crate::exit::Exit;
use crate::job::Job;

/// Does it.
pub fn run(job: &Job, args: DrArgs) -> Result<Exit, Failure> {
    match args.action {
        DrAction::Runbook(args) => runbook::run(job, args),
    }
}

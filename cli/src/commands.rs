//! The commands: each opens what it needs, calls the engine, and hands the result to the report.

mod backup;
mod cat;
mod check;
mod cleanup;
mod completions;
mod database;
mod demo;
mod diff;
mod doctor;
mod dr;
mod dump;
mod extraction;
mod init;
mod key;
mod ls;
mod man;
mod pool;
mod restore;
mod show;
mod snapshots;
mod stats;
mod vms;
mod xva;

use crate::advice::{Doing as _, Failure};
use crate::args::Command;
use crate::exit::Exit;
use crate::interrupt;
use crate::job::Job;

/// Does what was asked for.
pub fn run(job: &Job, command: Command) -> Result<Exit, Failure> {
    interrupt::install().doing(|| "cannot begin".to_owned())?;
    match command {
        Command::Init(args) => init::run(job, args),
        Command::Backup(args) => backup::run(job, *args),
        Command::Vms(args) => vms::run(job, args),
        Command::Cleanup(args) => cleanup::run(job, args),
        Command::Doctor(args) => doctor::run(job, args),
        Command::Pool(args) => pool::run(job, args),
        Command::Dr(args) => dr::run(job, args),
        Command::Verify(args) => dr::verify(job, *args),
        Command::Snapshots(args) => snapshots::run(job, args),
        Command::Show(args) => show::run(job, args),
        Command::Restore(args) => restore::run(job, *args),
        Command::Dump(args) => dump::run(job, args),
        Command::Ls(args) => ls::run(job, args),
        Command::Diff(args) => diff::run(job, args),
        Command::Check(args) => check::run(job, args),
        Command::Stats(args) => stats::run(job, args),
        Command::Key(args) => key::run(job, args),
        Command::Cat(args) => cat::run(job, args),
        Command::Xva(args) => xva::run(job, args),
        Command::Demo(args) => demo::run(job, args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

//! `restore`: a snapshot, or disks of it, become files, or a VM of a pool.

mod course;
mod elsewhere;
mod meant;
mod metadata;
mod new_file;
mod outcome;
mod plan;
mod pool_db;
mod stoppable;
mod to_files;
mod to_pool;
mod wished;

use crate::advice::{Failure, refused};
use crate::args::RestoreArgs;
use crate::exit::Exit;
use crate::job::Job;
pub use course::{Course, notes_text};
use plan::Target;
pub use stoppable::Stoppable;

/// Restores a snapshot.
pub fn run(job: &Job, mut args: RestoreArgs) -> Result<Exit, Failure> {
    // Were the target to exclude the pool by clap, what needs a pool would be taken without one.
    match (args.target.take(), args.to.pool.is_empty()) {
        (Some(target), true) if args.only_pool_db => pool_db::run(job, args, &Target::of(&target)),
        (Some(target), true) => to_files::run(job, args, &Target::of(&target)),
        (None, _) => to_pool::run(job, args),
        (Some(target), false) => refused(
            "cannot restore to two places at once",
            format!("one is {target}, and the other is a pool"),
            "run it once for each; nothing was done",
        ),
    }
}

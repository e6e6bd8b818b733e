//! The repositories that a fail-over takes VMs from: what each has.

use engine::reader::Reader;
use engine::repository::Repository;
use repo_format::snapshot::Snapshot;

use crate::advice::{Doing as _, Failure};
use crate::job::{Job, Writes};
use crate::selection;

/// A repository whose index and snapshots have been read.
pub struct Stock<'r> {
    /// Where it is.
    pub location: String,
    /// Reads it.
    pub reader: Reader<'r>,
    /// All that it has, oldest first.
    pub snapshots: Vec<Snapshot>,
}

/// Opens the repository of the job, and `others`: directories, or names in the configuration.
///
/// # Errors
///
/// If one cannot be opened. Without it older snapshots might be taken than there are.
pub fn open(job: &Job, others: &[String]) -> Result<Vec<Repository>, Failure> {
    let mut repositories = vec![job.open(Writes::Kept)?];
    for typed in others {
        repositories.push(job.other_place(typed)?.open(Writes::Kept, &job.report)?);
    }
    Ok(repositories)
}

/// Reads what they have.
///
/// # Errors
///
/// If an index or the list of snapshots cannot be read.
pub fn read<'r>(
    repositories: &'r [Repository],
    doing: &'static str,
) -> Result<Vec<Stock<'r>>, Failure> {
    let read = |repository: &'r Repository| {
        let reader = Reader::open(repository).doing(|| doing.to_owned())?;
        let location = repository.storage().location();
        Ok(Stock { location, reader, snapshots: selection::all(repository)? })
    };
    repositories.iter().map(read).collect()
}

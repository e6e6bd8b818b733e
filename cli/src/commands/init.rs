//! `init`: makes a repository.

use serde::Serialize;

use crate::advice::Failure;
use crate::args::InitArgs;
use crate::exit::Exit;
use crate::job::{Job, kdf_cost};
use crate::report::short_id;

/// A new repository, as JSON.
#[derive(Debug, Serialize)]
struct Initialized {
    message_type: &'static str,
    id: String,
    repository: String,
    format: u16,
}

/// Makes a repository.
pub fn run(job: &Job, args: InitArgs) -> Result<Exit, Failure> {
    let repository = job.create(kdf_cost(args.kdf))?;
    let id = repository.config().repository;
    let made = Initialized {
        message_type: "initialized",
        id: id.to_string(),
        repository: repository.storage().location(),
        format: repository.config().version(),
    };
    let text = format!(
        "created repository {} at {} (format {}, zstd, AES-256-GCM)\n\
         KEEP THE PASSWORD: without it nobody can read what you back up, and nobody can help\n",
        short_id(&id),
        made.repository,
        made.format,
    );
    job.report.outcome(&text, &made)?;
    Ok(Exit::Done)
}

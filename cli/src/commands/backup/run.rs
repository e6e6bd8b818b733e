//! What holds for all inputs of a run.

use std::num::NonZeroUsize;
use std::sync::Arc;

use engine::backup::{self, BackupRequest};
use engine::packer::{Ledger, Threads};
use engine::repository::Repository;

use super::input::Input;
use crate::job::{Job, Writes};
use crate::progress::{Extent, Progress};

/// What holds for all inputs.
pub struct Run<'a> {
    /// How it is told, and who computes.
    pub job: &'a Job,
    /// Where snapshots go.
    pub repository: &'a Repository,
    /// What every snapshot says.
    pub template: &'a BackupRequest,
    /// What becomes of what is stored.
    pub writes: Writes,
    /// Inputs that are read at once.
    pub lanes: NonZeroUsize,
}

impl Run<'_> {
    /// Packs for a lane.
    pub fn packs<'w>(
        &'w self,
        threads: Threads<'w>,
        ledger: Option<&Arc<Ledger>>,
    ) -> backup::Run<'w, 'w> {
        let packs = backup::Run::new(self.repository, threads, self.template.packing);
        match ledger {
            Some(ledger) => packs.beside(ledger),
            None => packs,
        }
    }

    /// For files it is not known what there is; each is told by itself.
    pub fn progress(&self, inputs: &[Input]) -> Progress {
        let bytes = inputs.iter().map(Input::size).fold(0, u64::saturating_add);
        match bytes {
            0 => Progress::new(&self.job.report),
            bytes => Progress::of_run(&self.job.report, Extent { inputs: inputs.len(), bytes }),
        }
    }
}

//! Inputs are saved, several at once if asked to. One that fails does not stop the others.

use std::num::NonZeroUsize;
use std::sync::Arc;

use engine::backup::{self, BackupRequest};
use engine::packer::{Ledger, LedgerLimits, Threads};
use engine::parallel::in_lanes;
use engine::repository::Repository;

use super::input::Input;
use super::lane::Lane;
use super::saved::Outcome;
use crate::advice::Failure;
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
    /// What became of each input, in their order.
    pub fn save(&self, inputs: &[Input]) -> Result<Vec<Outcome>, Failure> {
        let (workers, uploaders) = (self.job.workers()?, self.job.uploaders()?);
        let threads = Threads { workers: &workers, uploaders: &uploaders };
        let progress = self.progress(inputs);
        let ledger = (self.lanes.get() > 1).then(|| Ledger::new(LedgerLimits::USUAL));
        let outcomes = in_lanes(self.lanes, inputs, |turns| {
            let packs = || self.packs(threads, ledger.as_ref());
            let mut lane = Lane::new(self, &packs, &progress, inputs.len());
            turns.for_each(|(place, input)| lane.take(place, input));
            lane.finish()
        });
        let mut outcomes: Vec<(usize, Outcome)> = outcomes
            .into_iter()
            .collect::<Result<Vec<_>, Failure>>()?
            .into_iter()
            .flatten()
            .collect();
        outcomes.sort_by_key(|(place, _)| *place);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Packs for a lane.
    fn packs<'w>(
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
    fn progress(&self, inputs: &[Input]) -> Progress {
        let bytes = inputs.iter().map(Input::size).fold(0, u64::saturating_add);
        match bytes {
            0 => Progress::new(&self.job.report),
            bytes => Progress::of_run(&self.job.report, Extent { inputs: inputs.len(), bytes }),
        }
    }
}

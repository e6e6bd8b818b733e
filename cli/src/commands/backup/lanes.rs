//! Inputs are saved, several at once if asked to. One that fails does not stop the others.

use engine::packer::{Ledger, LedgerLimits, Threads};
use engine::parallel::in_lanes;

use super::input::Input;
use super::lane::Lane;
use super::run::Run;
use super::saved::Outcome;
use crate::advice::Failure;

/// What became of each input, in their order.
pub fn save(run: &Run<'_>, inputs: &[Input]) -> Result<Vec<Outcome>, Failure> {
    let (workers, uploaders) = (run.job.workers()?, run.job.uploaders()?);
    let threads = Threads { workers: &workers, uploaders: &uploaders };
    let progress = run.progress(inputs);
    let ledger = (run.lanes.get() > 1).then(|| Ledger::new(LedgerLimits::USUAL));
    let outcomes = in_lanes(run.lanes, inputs, |turns| {
        let packs = || run.packs(threads, ledger.as_ref());
        let mut lane = Lane::new(run, &packs, &progress, inputs.len());
        turns.for_each(|(place, input)| lane.take(place, input));
        lane.finish()
    });
    let mut outcomes: Vec<(usize, Outcome)> =
        outcomes.into_iter().collect::<Result<Vec<_>, Failure>>()?.into_iter().flatten().collect();
    outcomes.sort_by_key(|(place, _)| *place);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

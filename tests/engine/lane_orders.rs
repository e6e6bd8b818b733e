//! Lanes whose sources are read in any order, with and without faults: what is told is true, and stored once.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::backup::{Outcome, Run};
use engine::observer::Silent;
use engine::packer::{Ledger, LedgerLimits};
use engine::parallel::in_lanes;
use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};
use repo_tests::dice::Dice;
use repo_tests::faulty_storage::{Fault, FaultyStorage};
use repo_tests::repo::{TestRepo, request, threads};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk, SampleSource};

use crate::lanes::{HASTY, PATIENT, lock};

/// Lets one lane at a time read on, as the dice say.
struct Baton {
    turns: Mutex<Turns>,
    passed: Condvar,
}

struct Turns {
    dice: Dice,
    /// Lanes that read on.
    lanes: BTreeSet<usize>,
    /// Lanes that must have begun before any reads on.
    missing: BTreeSet<usize>,
    next: usize,
}

impl Baton {
    /// Of so many lanes; all begin before any goes on, if each `begins`.
    fn new(seed: u64, lanes: usize, begins: bool) -> Arc<Self> {
        let missing = (0..lanes).filter(|_| begins).collect();
        let turns = Turns { dice: Dice::new(seed), lanes: (0..lanes).collect(), missing, next: 0 };
        Arc::new(Self { turns: Mutex::new(turns), passed: Condvar::new() })
    }

    /// Somebody else may go on, or this lane.
    fn pass(&self, lane: usize) {
        let mut turns = self.choose(lane, false);
        while turns.next != lane || !turns.missing.is_empty() {
            turns = self.passed.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The lane has read all.
    fn leave(&self, lane: usize) {
        drop(self.choose(lane, true));
    }

    fn choose(&self, lane: usize, leaves: bool) -> MutexGuard<'_, Turns> {
        let mut turns = lock(&self.turns);
        turns.missing.remove(&lane);
        if leaves {
            turns.lanes.remove(&lane);
        }
        let Turns { dice, lanes, next, .. } = &mut *turns;
        if *next == lane && !lanes.is_empty() {
            let chosen = dice.below(lanes.len() as u64) as usize;
            *next = *lanes.iter().nth(chosen).expect("one of them");
        }
        self.passed.notify_all();
        turns
    }
}

/// A source that goes on only when it has the baton.
struct Paced {
    inner: SampleSource,
    lane: usize,
    baton: Arc<Baton>,
}

impl Source for Paced {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        self.baton.pass(self.lane);
        self.inner.next_disk()
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        self.baton.pass(self.lane);
        self.inner.next_segment(buffer)
    }

    fn facts(&self) -> SourceFacts {
        self.inner.facts()
    }
}

/// What all machines below are made of: so many pieces, each of some units.
const PIECES: u64 = 6;
const PIECE: u64 = 3 << 16;

/// A machine of small disks.
fn machine(dice: &mut Dice) -> Sample {
    let disk = |name: String, dice: &mut Dice| {
        (0..2).fold(SampleDisk::empty(&name, 2 * SEGMENT), |disk, segment| {
            let start = segment * SEGMENT;
            disk.with(start..start + PIECE, Fill::Noise(dice.below(PIECES)))
        })
    };
    Sample::of((0..1 + dice.below(3)).map(|number| disk(format!("xvd{number}"), dice)))
}

/// Three lanes of so many machines each. Returns the bytes of new chunks.
fn check_lanes(seed: u64, machines: usize, limits: LedgerLimits, fault: Option<Fault>) -> u64 {
    let mut dice = Dice::new(seed);
    let mut repo = TestRepo::new(seed);
    let lanes: Vec<Vec<Sample>> =
        (0..3).map(|_| (0..machines).map(|_| machine(&mut dice)).collect()).collect();
    let faulty = FaultyStorage::recording(repo.storage());
    let repository = repo.open_through(faulty.clone());
    if let Some(fault) = fault {
        faulty.fail_from_now(1 + dice.below(90) as usize, fault);
    }
    let (ledger, baton) = (Ledger::new(limits), Baton::new(seed, 3, fault.is_none()));
    let three = NonZeroUsize::new(3).expect("three");
    let saved = in_lanes(three, &lanes, |turns| {
        let mut saved = Vec::new();
        for (lane, samples) in turns {
            let mut run = Run::new(&repository, threads(), request().packing).beside(&ledger);
            let mut read = Vec::new();
            for sample in samples {
                let (inner, baton) = (sample.source(), Arc::clone(&baton));
                let id = run.read(&mut Paced { inner, lane, baton }, &request(), &Silent);
                read.extend(id.ok().map(|id| (id, sample.clone())));
            }
            baton.leave(lane);
            let outcomes = run.outcomes().into_iter().chain(run.finish());
            for Outcome { id, result } in outcomes {
                let sample = read.iter().find(|(read, _)| *read == id).expect("it was read");
                saved.extend(result.ok().map(|snapshot| (snapshot, sample.1.clone())));
            }
        }
        saved
    })
    .concat();
    assert!(fault.is_some() || saved.len() == 3 * machines, "{} are saved", saved.len());
    saved.iter().for_each(|(snapshot, sample)| repo.expect(snapshot, sample));
    repo.check_intact();
    saved.iter().map(|(snapshot, _)| snapshot.statistics.new_bytes).sum()
}

#[test]
fn lanes_in_any_order_store_everything_once() {
    for seed in 0..10 {
        let cost = check_lanes(seed, 1, PATIENT, None);
        assert!(cost <= PIECES * PIECE, "seed {seed}: {cost}");
    }
}

#[test]
fn lanes_that_remember_and_keep_little_are_right_nevertheless() {
    for seed in 0..8 {
        let limits = LedgerLimits {
            chunks_max: 1 + seed as usize,
            kept_bytes_max: (seed as usize % 4) * 60_000,
            patience: Duration::from_millis(1),
        };
        check_lanes(seed, 2, limits, None);
    }
}

#[test]
fn lanes_in_any_order_survive_any_fault() {
    for seed in 0..12 {
        let fault = [Fault::Refused, Fault::AnswerLost, Fault::Crash][seed as usize % 3];
        check_lanes(seed, 2, HASTY, Some(fault));
    }
}

//! A disk that is written to between two backups, and a source that tells what has changed.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use engine::snapshots;
use engine::source::{
    DiskInfo, NextSegment, SEGMENT_LEN, Source, SourceError, SourceFacts, StoredVersion,
};
use repo_tests::dice::Dice;
use repo_tests::repo::{TestRepo, back_up};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

pub const UNIT_LEN: usize = 64 << 10;
pub const VM: &str = "a VM's uuid";

/// What a disk holds, and how its source has called that state.
#[derive(Clone)]
pub struct State {
    pub bytes: Vec<u8>,
    pub version: String,
}

impl State {
    /// A disk of random bytes, with a hole behind them.
    pub fn random(dice: &mut Dice, data_len: usize, len: usize) -> Self {
        let mut bytes = vec![0; len];
        dice.fill(&mut bytes[..data_len]);
        Self { bytes, version: "night 0".to_owned() }
    }

    /// A disk with random bytes where a segment begins and where it ends.
    pub fn sparse(len: usize) -> Self {
        let places = (0..len.div_ceil(SEGMENT_LEN)).map(|number| number * SEGMENT_LEN);
        let mut bytes = vec![0; len];
        for place in places.chain([len.saturating_sub(UNIT_LEN + 3000)]) {
            let end = len.min(place + UNIT_LEN + 3000);
            Dice::new(place as u64 + 77).fill(&mut bytes[place..end]);
        }
        Self { bytes, version: "night 0".to_owned() }
    }

    /// The same later, after `write`.
    pub fn after(&self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = self.bytes.clone();
        write(&mut bytes);
        let number: u64 = self.version[6..].parse().expect("a number");
        Self { bytes, version: format!("night {}", number + 1) }
    }

    /// A full read.
    pub fn whole(&self) -> Told {
        Told::whole(self.disk())
    }

    /// What has changed since `before`, of which the repository has `base`.
    pub fn since(&self, before: &[u8], base: StoredVersion) -> Told {
        let numbers = 0..self.bytes.len().div_ceil(SEGMENT_LEN) as u64;
        let step = |number| match changed_units(before, &self.bytes, number) {
            0 => None,
            u64::MAX => Some(NextSegment::Filled { number }),
            units => Some(NextSegment::Partly { number, units }),
        };
        Told::new(self.disk(), Some(base), numbers.filter_map(step).collect())
    }

    pub fn disk(&self) -> SampleDisk {
        let len = self.bytes.len() as u64;
        let disk = SampleDisk::empty("xvda", len).with(0..len, Fill::Bytes(self.bytes.clone()));
        SampleDisk { version: self.version.clone(), ..disk }
    }
}

/// Units of a segment that were written to. What a shorter disk has lost was not, nor what a longer one has won.
pub fn changed_units(before: &[u8], now: &[u8], number: u64) -> u64 {
    let start = number as usize * SEGMENT_LEN;
    let is_changed = |unit: usize| {
        let range = start + unit * UNIT_LEN..start + (unit + 1) * UNIT_LEN;
        let cut =
            |bytes: &[u8]| bytes.get(range.start..range.end.min(bytes.len())).map(<[u8]>::to_vec);
        let (before, now) = (cut(before).unwrap_or_default(), cut(now).unwrap_or_default());
        let both = before.len().min(now.len());
        before[..both] != now[..both] || now[both..].iter().any(|byte| *byte != 0)
    };
    (0..64).fold(0, |units, unit| units | u64::from(is_changed(unit)) << unit)
}

/// Tells of a disk what it was made to tell.
pub struct Told {
    pub disk: SampleDisk,
    pub info: DiskInfo,
    pub steps: VecDeque<NextSegment>,
    pub is_begun: bool,
    pub seen: Arc<Mutex<Seen>>,
    /// Whether segments cannot be read once more.
    pub is_deaf: bool,
}

/// What a source was asked for beside what it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub read: BTreeSet<u64>,
    pub distrusted: usize,
}

impl Told {
    pub fn new(disk: SampleDisk, base: Option<StoredVersion>, steps: Vec<NextSegment>) -> Self {
        let info = DiskInfo {
            name: disk.name.clone(),
            key: disk.key.clone(),
            size_bytes: Some(disk.size_bytes),
            version: disk.version.clone(),
            base,
            ..DiskInfo::default()
        };
        let steps = steps.into();
        Self { disk, info, steps, is_begun: false, seen: Arc::default(), is_deaf: false }
    }

    pub fn whole(disk: SampleDisk) -> Self {
        let steps = all(&disk);
        Self::new(disk, None, steps)
    }

    /// It samples these segments, too, of those that it would leave out.
    pub fn sampling(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        let steps = numbers.into_iter().map(|number| NextSegment::Sample { number });
        steps.fold(self, Self::telling)
    }

    /// It keeps silent about these segments.
    pub fn hiding(mut self, numbers: &[u64]) -> Self {
        self.steps.retain(|step| !numbers.contains(&number_of(step)));
        self
    }

    /// It tells this, too.
    pub fn telling(mut self, step: NextSegment) -> Self {
        self.steps.push_back(step);
        self.steps.make_contiguous().sort_by_key(number_of);
        self
    }

    pub fn seen(&self) -> Arc<Mutex<Seen>> {
        Arc::clone(&self.seen)
    }
}

pub fn all(disk: &SampleDisk) -> Vec<NextSegment> {
    disk.delivered().into_iter().map(|number| NextSegment::Filled { number }).collect()
}

pub fn number_of(step: &NextSegment) -> u64 {
    match step {
        NextSegment::Filled { number }
        | NextSegment::Partly { number, .. }
        | NextSegment::Sample { number } => *number,
        NextSegment::End { .. } => u64::MAX,
    }
}

impl Source for Told {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let is_begun = std::mem::replace(&mut self.is_begun, true);
        Ok((!is_begun).then(|| self.info.clone()))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let size_bytes = self.disk.size_bytes;
        let step = self.steps.pop_front().unwrap_or(NextSegment::End { size_bytes });
        if !matches!(step, NextSegment::End { .. }) {
            self.disk.write(number_of(&step) * SEGMENT, buffer);
        }
        if let NextSegment::Partly { units, .. } = step {
            let places = buffer.chunks_mut(UNIT_LEN).enumerate();
            let others = places.filter(|(unit, _)| units & 1 << unit == 0);
            others.for_each(|(_, place)| place.fill(0xee));
        }
        Ok(step)
    }

    fn facts(&self) -> SourceFacts {
        let vm_uuid = Some(VM.to_owned());
        SourceFacts { container: "raw".to_owned(), vm_uuid, ..SourceFacts::default() }
    }

    fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        if self.is_deaf {
            let (place, source) = ("a segment".to_owned(), io::Error::other("the cable is out"));
            return Err(SourceError::Io { place, source });
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).read.insert(number);
        self.disk.write(number * SEGMENT, buffer);
        Ok(())
    }

    fn distrust_base(&mut self) -> Result<(), SourceError> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).distrusted += 1;
        self.steps = all(&self.disk).into();
        Ok(())
    }
}

/// A repository that holds a disk, and how.
pub struct Stored {
    pub repo: TestRepo,
    pub state: State,
    pub base: StoredVersion,
}

impl Stored {
    pub fn new(seed: u64, state: State) -> Self {
        let repo = TestRepo::new(seed);
        let base = StoredVersion {
            key: String::new(),
            version: String::new(),
            size_bytes: 0,
            id: [0; 32],
        };
        let mut stored = Self { repo, base, state: state.clone() };
        let whole = state.whole();
        stored.check(&state, whole);
        stored
    }

    /// A disk of three segments and a bit, of which the last two hold nothing.
    pub fn sample() -> Self {
        let mut dice = Dice::new(1);
        Self::new(1, State::random(&mut dice, 2 * SEGMENT_LEN + 9000, 3 * SEGMENT_LEN + 5000))
    }

    pub fn fork(&self) -> Self {
        Self { repo: self.repo.fork(), state: self.state.clone(), base: self.base.clone() }
    }

    pub fn since(&self, now: &State) -> Told {
        now.since(&self.state.bytes, self.base.clone())
    }

    /// A backup of what the source tells has the disk that a full read has, and restores. What the source was asked for.
    #[track_caller]
    pub fn check(&mut self, now: &State, mut told: Told) -> Seen {
        let seen = told.seen();
        self.repo.clock().fetch_add(60_000, Ordering::Relaxed);
        let full = back_up(self.repo.fork().repository(), &mut now.whole()).expect("a backup");
        let made = back_up(self.repo.repository(), &mut told).expect("a backup");
        assert_eq!(made.disks, full.disks);
        assert_eq!(made.statistics.data_bytes, full.statistics.data_bytes);
        assert_eq!(made.statistics.new_bytes, full.statistics.new_bytes);
        self.repo.expect(&made, &Sample::of([now.disk()]));
        self.repo.check_all_restore();
        self.base = snapshots::versions(&self.repo.snapshots(), VM).remove(0);
        self.state = now.clone();
        assert_eq!(self.base.version, now.version);
        seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same for what has changed, and it is not read once more.
    #[track_caller]
    pub fn check_changes(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let now = self.state.after(write);
        let told = self.since(&now);
        assert_eq!(self.check(&now, told), Seen::default());
    }
}

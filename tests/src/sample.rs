//! Disks that are described, not stored: a source for backups, and what a restore of them must give.
//!
//! ```text
//! Sample = disks = size + extents (where, how long, what fill); what no extent covers is a hole
//! ```
//!
//! Bytes are made when they are asked for, so a disk of 16 TiB costs what its extents cost. A disk is compared by
//! [`DiskHashes`]: the hash of every segment that is not all zero, which a restore gives too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;

use engine::source::{
    Content, ContentError, DiskInfo, DiskSink, NextSegment, Role, SEGMENT_LEN, Source, SourceError,
    SourceFacts,
};

/// Bytes of a segment, as an offset.
pub const SEGMENT: u64 = SEGMENT_LEN as u64;

/// Bytes of a block, as an offset.
pub const BLOCK: u64 = 4096;

/// What an extent holds. `seed` chooses among contents of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// Bytes that cannot be compressed and occur nowhere else.
    Noise(u64),
    /// Lines of 64 characters that count: compresses well, repeats nowhere.
    Text(u64),
    /// 4 KiB of noise, again and again.
    Repeated(u64),
    /// Zeros that the source delivers, as if it did not know that they are a hole.
    Zeros,
    /// These bytes, then zeros.
    Bytes(Vec<u8>),
}

impl Fill {
    /// Writes what stands at `offset` of the extent.
    fn write(&self, offset: u64, out: &mut [u8]) {
        match self {
            Self::Noise(seed) => noise_at("noise", *seed, offset, out),
            Self::Zeros => out.fill(0),
            Self::Text(seed) => write_blocks(offset, out, |number| {
                format!("{seed:020} this is line {number:020} of a long text\n").into_bytes()
            }),
            Self::Repeated(seed) => {
                let mut block = vec![0; 4096];
                noise_at("repeated", *seed, 0, &mut block);
                write_blocks(offset, out, |_| block.clone());
            }
            Self::Bytes(bytes) => {
                out.fill(0);
                let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                let len = out.len().min(bytes.len() - start);
                out[..len].copy_from_slice(&bytes[start..start + len]);
            }
        }
    }
}

fn noise_at(kind: &str, seed: u64, offset: u64, out: &mut [u8]) {
    let mut stream =
        blake3::Hasher::new().update(kind.as_bytes()).update(&seed.to_le_bytes()).finalize_xof();
    stream.set_position(offset);
    stream.fill(out);
}

/// Writes part of an endless row of blocks of one length.
fn write_blocks(offset: u64, out: &mut [u8], block: impl Fn(u64) -> Vec<u8>) {
    let len = block(0).len() as u64;
    let (mut number, mut skip) = (offset / len, (offset % len) as usize);
    let mut rest = out;
    while !rest.is_empty() {
        let bytes = block(number);
        let count = rest.len().min(bytes.len() - skip);
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&bytes[skip..skip + count]);
        (number, skip, rest) = (number + 1, 0, tail);
    }
}

/// A disk or stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleDisk {
    /// What it is.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// What recognises it on another night.
    pub key: String,
    /// What the source calls this state of it; may be empty.
    pub version: String,
    /// Virtual size.
    pub size_bytes: u64,
    /// Whether the source knows the size before the end.
    pub size_known: bool,
    /// Where it is no hole; a later extent covers an earlier one.
    pub extents: Vec<(Range<u64>, Fill)>,
}

impl SampleDisk {
    /// A disk that is one hole.
    #[must_use]
    pub fn empty(name: &str, size_bytes: u64) -> Self {
        Self {
            role: Role::Disk,
            name: name.to_owned(),
            key: format!("key of {name}"),
            version: String::new(),
            size_bytes,
            size_known: true,
            extents: Vec::new(),
        }
    }

    /// A disk that is full of noise.
    #[must_use]
    pub fn noise(name: &str, size_bytes: u64, seed: u64) -> Self {
        Self::empty(name, size_bytes).with(0..size_bytes, Fill::Noise(seed))
    }

    /// A stream.
    #[must_use]
    pub fn stream(role: Role, name: &str, bytes: &[u8]) -> Self {
        let len = bytes.len() as u64;
        let stream = Self { role, size_known: false, ..Self::empty(name, len) };
        stream.with(0..len, Fill::Bytes(bytes.to_vec()))
    }

    /// The same disk with something at `range`.
    #[must_use]
    pub fn with(mut self, range: Range<u64>, fill: Fill) -> Self {
        self.extents.push((range, fill));
        self
    }

    /// The same disk with noise of their own at these blocks of 4 KiB, other noise for each `seed`.
    #[must_use]
    pub fn with_blocks(self, blocks: impl IntoIterator<Item = u64>, seed: u64) -> Self {
        blocks.into_iter().fold(self, |disk, block| {
            disk.with(block * BLOCK..(block + 1) * BLOCK, Fill::Noise((seed << 32) + block))
        })
    }

    /// The same disk with another size.
    #[must_use]
    pub fn resized(self, size_bytes: u64) -> Self {
        Self { size_bytes, ..self }
    }

    /// Numbers of the segments that the source delivers.
    #[must_use]
    pub fn delivered(&self) -> BTreeSet<u64> {
        let mut numbers = BTreeSet::new();
        for (range, _) in &self.extents {
            let end = range.end.min(self.size_bytes);
            if range.start < end {
                numbers.extend(range.start / SEGMENT..end.div_ceil(SEGMENT));
            }
        }
        numbers
    }

    /// Writes the bytes from `start` on; those behind the end of the disk are zero.
    pub fn write(&self, start: u64, out: &mut [u8]) {
        out.fill(0);
        let within = start..(start + out.len() as u64).min(self.size_bytes);
        for (range, fill) in &self.extents {
            let (from, to) = (range.start.max(within.start), range.end.min(within.end));
            if from < to {
                let place = (from - start) as usize..(to - start) as usize;
                fill.write(from - range.start, &mut out[place]);
            }
        }
    }

    /// All bytes; for small disks.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size_bytes).expect("a small disk")];
        self.write(0, &mut bytes);
        bytes
    }

    /// What a restore must give.
    #[must_use]
    pub fn hashes(&self) -> DiskHashes {
        let mut hashes = DiskHashes {
            role: self.role,
            name: self.name.clone(),
            key: self.key.clone(),
            size_bytes: self.size_bytes,
            segments: BTreeMap::new(),
        };
        let mut buffer = vec![0; SEGMENT_LEN];
        for number in self.delivered() {
            let start = number * SEGMENT;
            let len = (self.size_bytes - start).min(SEGMENT) as usize;
            self.write(start, &mut buffer[..len]);
            hashes.add(start, &buffer[..len]);
        }
        hashes
    }
}

/// Disks and streams of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// In order.
    pub disks: Vec<SampleDisk>,
    /// Name of the VM.
    pub vm_name: Option<String>,
    /// Its uuid, if the source knows one.
    pub vm_uuid: Option<String>,
}

impl Sample {
    /// These disks.
    #[must_use]
    pub fn of(disks: impl IntoIterator<Item = SampleDisk>) -> Self {
        let vm_name = Some("sample".to_owned());
        Self { disks: disks.into_iter().collect(), vm_name, vm_uuid: None }
    }

    /// One small disk of noise and text, and a stream: the least that uses every kind of object.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        let disk = SampleDisk::empty("xvda", 3 << 20)
            .with(0..300 << 10, Fill::Noise(seed))
            .with(1 << 20..(1 << 20) + 100_000, Fill::Text(seed));
        let record = format!("<vm><name>the machine {seed}</name></vm>");
        Self::of([SampleDisk::stream(Role::Record, "ova.xml", record.as_bytes()), disk])
    }

    /// What a restore must give.
    #[must_use]
    pub fn hashes(&self) -> Vec<DiskHashes> {
        self.disks.iter().map(SampleDisk::hashes).collect()
    }

    /// A source that delivers it.
    #[must_use]
    pub fn source(&self) -> SampleSource {
        SampleSource { sample: self.clone(), disk: None, next: Vec::new(), meanwhile: None }
    }
}

/// A disk by the hashes of its segments, cut at its end; segments that are all zero are left out.
#[derive(Clone, PartialEq, Eq)]
pub struct DiskHashes {
    /// What it is.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// What recognises it on another night.
    pub key: String,
    /// Virtual size.
    pub size_bytes: u64,
    /// By number.
    pub segments: BTreeMap<u64, blake3::Hash>,
}

impl DiskHashes {
    fn add(&mut self, start: u64, bytes: &[u8]) {
        if bytes.iter().any(|byte| *byte != 0) {
            self.segments.insert(start / SEGMENT, blake3::hash(bytes));
        }
    }
}

impl fmt::Debug for DiskHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {} bytes:", self.role, self.name, self.size_bytes)?;
        self.segments
            .iter()
            .try_for_each(|(number, hash)| write!(f, " {number}={}", &hash.to_hex()[..8]))
    }
}

/// Delivers a [`Sample`].
pub struct SampleSource {
    sample: Sample,
    /// The disk under way.
    disk: Option<usize>,
    /// Segments of it that are left, the next one last.
    next: Vec<u64>,
    meanwhile: Option<(Place, Meanwhile)>,
}

/// What happens at a [`Place`].
type Meanwhile = Box<dyn FnMut() -> Result<(), SourceError> + Send>;

/// A place in what a source delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before a segment is delivered: the disk's place, and the segment's number.
    Segment(usize, u64),
    /// Before the end of a disk.
    DiskEnd(usize),
    /// Behind the last disk, before the source says that this was all.
    End,
}

impl SampleSource {
    /// Does something when the source comes to `place`; an error is the source's own.
    #[must_use]
    pub fn at(
        self,
        place: Place,
        meanwhile: impl FnMut() -> Result<(), SourceError> + Send + 'static,
    ) -> Self {
        Self { meanwhile: Some((place, Box::new(meanwhile))), ..self }
    }

    /// Fails at `place`.
    #[must_use]
    pub fn failing_at(self, place: Place, failure: Failure) -> Self {
        self.at(place, move || Err(failure.error()))
    }

    fn pass(&mut self, place: Place) -> Result<(), SourceError> {
        match &mut self.meanwhile {
            Some((wanted, meanwhile)) if *wanted == place => meanwhile(),
            _ => Ok(()),
        }
    }
}

impl Source for SampleSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let number = self.disk.map_or(0, |number| number + 1);
        self.disk = Some(number);
        let Some(disk) = self.sample.disks.get(number) else {
            self.pass(Place::End)?;
            return Ok(None);
        };
        self.next = disk.delivered().into_iter().rev().collect();
        Ok(Some(DiskInfo {
            role: disk.role,
            name: disk.name.clone(),
            key: disk.key.clone(),
            size_bytes: disk.size_known.then_some(disk.size_bytes),
            version: disk.version.clone(),
            base: None,
        }))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let disk = self.disk.expect("next_disk comes first");
        let Some(number) = self.next.pop() else {
            self.pass(Place::DiskEnd(disk))?;
            return Ok(NextSegment::End { size_bytes: self.sample.disks[disk].size_bytes });
        };
        self.pass(Place::Segment(disk, number))?;
        self.sample.disks[disk].write(number * SEGMENT, buffer);
        Ok(NextSegment::Filled { number })
    }

    fn facts(&self) -> SourceFacts {
        SourceFacts {
            container: "raw".to_owned(),
            vm_name: self.sample.vm_name.clone(),
            vm_uuid: self.sample.vm_uuid.clone(),
            ..SourceFacts::default()
        }
    }
}

/// Every way in which a source can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// [`SourceError::Unrecognised`]
    Unrecognised,
    /// [`SourceError::Cut`]
    Cut,
    /// [`SourceError::Damaged`]
    Damaged,
    /// [`SourceError::Io`]
    Io,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unrecognised, Self::Cut, Self::Damaged, Self::Io];

    fn error(self) -> SourceError {
        let place = "the member of the sample".to_owned();
        match self {
            Self::Unrecognised => SourceError::Unrecognised { what: "a sample".to_owned() },
            Self::Cut => SourceError::Cut { place },
            Self::Damaged => SourceError::Damaged { place, what: "wrong checksum".to_owned() },
            Self::Io => SourceError::Io { place, source: io::Error::other("the cable is out") },
        }
    }

    /// Whether `error` is of this kind.
    #[must_use]
    pub const fn is(self, error: &SourceError) -> bool {
        matches!(
            (self, error),
            (Self::Unrecognised, SourceError::Unrecognised { .. })
                | (Self::Cut, SourceError::Cut { .. })
                | (Self::Damaged, SourceError::Damaged { .. })
                | (Self::Io, SourceError::Io { .. })
        )
    }
}

/// Restores into hashes. Fails, besides, if the segments break the promises of [`DiskSink`].
pub fn restored_hashes(content: &dyn Content) -> Result<Vec<DiskHashes>, ContentError> {
    let mut disks = Vec::new();
    for (number, stored) in content.disks().iter().enumerate() {
        let hashes = DiskHashes {
            role: stored.role,
            name: stored.name.clone(),
            key: stored.key.clone(),
            size_bytes: stored.size_bytes,
            segments: BTreeMap::new(),
        };
        let mut sink = HashingSink { hashes, end: 0 };
        content.read_disk(number, &mut sink)?;
        disks.push(sink.hashes);
    }
    Ok(disks)
}

struct HashingSink {
    hashes: DiskHashes,
    end: u64,
}

impl DiskSink for HashingSink {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset_bytes + bytes.len() as u64;
        let size_bytes = self.hashes.size_bytes;
        assert_eq!(offset_bytes % SEGMENT, 0, "a segment begins where none does");
        assert!(offset_bytes >= self.end, "segments do not rise");
        assert_eq!(end, (offset_bytes + SEGMENT).min(size_bytes), "a segment ends where none does");
        self.hashes.add(offset_bytes, bytes);
        self.end = end;
        Ok(())
    }
}

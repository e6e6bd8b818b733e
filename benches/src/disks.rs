//! Disks that are made on the fly: what the rows back up, and what they restore into.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use engine::source::{
    Content, ContentError, DiskInfo, DiskSink, NextSegment, Role, SEGMENT_LEN, Source, SourceError,
    SourceFacts, StoredDisk,
};

/// The uuids of the one VM that is backed up for many nights, and of its disk.
const VM_UUID: &str = "d4a9f6f2-0c59-4f0e-9a5e-0f6a1c3b7e60";
const DISK_KEY: &str = "5b8f1c0e-7d34-4f6b-8d27-3a4e9c2b1f60";

/// A source of one disk, whose segments a function fills.
pub struct MadeDisk<N, F> {
    size_bytes: u64,
    numbers: N,
    fill: F,
    is_begun: bool,
    is_of_vm: bool,
}

impl<N, F> MadeDisk<N, F>
where
    N: Iterator<Item = u64> + Send,
    F: FnMut(u64, &mut [u8]) + Send,
{
    /// A disk of `size_bytes` with data in the segments `numbers`, which rise; `fill` makes each.
    pub fn new(size_bytes: u64, numbers: impl IntoIterator<IntoIter = N>, fill: F) -> Self {
        let numbers = numbers.into_iter();
        Self { size_bytes, numbers, fill, is_begun: false, is_of_vm: false }
    }

    /// The same disk of the same VM every night.
    pub fn of_vm(mut self) -> Self {
        self.is_of_vm = true;
        self
    }
}

/// A source that delivers `image`, padded to whole segments.
pub fn of_image(image: &[u8]) -> impl Source {
    image_disk(image)
}

/// The same as the one disk of the one VM.
pub fn of_vm_image(image: &[u8]) -> impl Source {
    image_disk(image).of_vm()
}

/// A source that delivers the file at `path`, whole segments, as the one disk of the one VM.
pub fn of_vm_file(path: &Path) -> io::Result<impl Source> {
    let file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let fill = move |number: u64, buffer: &mut [u8]| {
        let read = file.read_exact_at(buffer, number * SEGMENT_LEN as u64);
        read.expect("the file of the disk can be read");
    };
    Ok(MadeDisk::new(size_bytes, 0..size_bytes / SEGMENT_LEN as u64, fill).of_vm())
}

fn image_disk(image: &[u8]) -> MadeDisk<Range<u64>, impl FnMut(u64, &mut [u8]) + Send> {
    let count = image.len().div_ceil(SEGMENT_LEN) as u64;
    MadeDisk::new(image.len() as u64, 0..count, move |number, buffer: &mut [u8]| {
        let start = number as usize * SEGMENT_LEN;
        let bytes = &image[start..image.len().min(start + SEGMENT_LEN)];
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer[bytes.len()..].fill(0);
    })
}

impl<N, F> Source for MadeDisk<N, F>
where
    N: Iterator<Item = u64> + Send,
    F: FnMut(u64, &mut [u8]) + Send,
{
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let info = DiskInfo {
            role: Role::Disk,
            name: "xvda".to_owned(),
            key: if self.is_of_vm { DISK_KEY.to_owned() } else { String::new() },
            size_bytes: Some(self.size_bytes),
            ..DiskInfo::default()
        };
        Ok((!std::mem::replace(&mut self.is_begun, true)).then_some(info))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        match self.numbers.next() {
            Some(number) => {
                (self.fill)(number, buffer);
                Ok(NextSegment::Filled { number })
            }
            None => Ok(NextSegment::End { size_bytes: self.size_bytes }),
        }
    }

    fn facts(&self) -> SourceFacts {
        let vm_uuid = self.is_of_vm.then(|| VM_UUID.to_owned());
        SourceFacts { container: "raw".to_owned(), vm_uuid, ..SourceFacts::default() }
    }
}

/// Stored content of one disk that was never stored, all of it one chunk again and again: what an XVA is written from.
pub struct ChunkContent {
    segment: Vec<u8>,
    disks: [StoredDisk; 1],
}

impl ChunkContent {
    /// A disk of `count` times `chunk`, which divides a segment.
    pub fn new(chunk: &[u8], count: usize) -> Self {
        let disk = StoredDisk {
            role: Role::Disk,
            name: "xvda".to_owned(),
            key: String::new(),
            size_bytes: (count * chunk.len()) as u64,
        };
        Self { segment: chunk.repeat(SEGMENT_LEN / chunk.len()), disks: [disk] }
    }
}

impl Content for ChunkContent {
    fn disks(&self) -> &[StoredDisk] {
        &self.disks
    }

    fn read_stream(&self, _: usize, _: u64) -> Result<Vec<u8>, ContentError> {
        Err(ContentError::Invalid { what: "there are no streams".to_owned() })
    }

    fn read_disk(&self, disk: usize, sink: &mut dyn DiskSink) -> Result<(), ContentError> {
        let mut offset_bytes = 0;
        while offset_bytes < self.disks[disk].size_bytes {
            let left = self.disks[disk].size_bytes - offset_bytes;
            let len = SEGMENT_LEN.min(usize::try_from(left).unwrap_or(SEGMENT_LEN));
            sink.segment(offset_bytes, &self.segment[..len]).map_err(ContentError::Output)?;
            offset_bytes += len as u64;
        }
        Ok(())
    }
}

/// Counts what comes and keeps nothing.
#[derive(Debug, Default)]
pub struct BlackHole(pub u64);

impl DiskSink for BlackHole {
    fn segment(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

/// Compares what comes with a file; segments that never come are to be zeros there.
pub struct Compared {
    file: File,
    bytes: Vec<u8>,
    /// Up to here the file was compared.
    reached: u64,
}

impl Compared {
    /// With the file at `path`.
    pub fn with(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, bytes: vec![0; SEGMENT_LEN], reached: 0 })
    }

    /// The disk has ended; whether the file ends as it does.
    pub fn finish(mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        self.expect_zeros(end)
    }

    fn expect_zeros(&mut self, end: u64) -> io::Result<()> {
        let zeros = vec![0; SEGMENT_LEN];
        while self.reached < end {
            self.expect(&zeros[..(end - self.reached).min(SEGMENT_LEN as u64) as usize])?;
        }
        Ok(())
    }

    fn expect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let found = &mut self.bytes[..bytes.len()];
        self.file.read_exact_at(found, self.reached)?;
        if found != bytes {
            return Err(io::Error::other(format!(
                "the disk differs at or behind {}",
                self.reached
            )));
        }
        self.reached += bytes.len() as u64;
        Ok(())
    }
}

impl DiskSink for Compared {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.expect_zeros(offset_bytes)?;
        self.expect(bytes)
    }
}

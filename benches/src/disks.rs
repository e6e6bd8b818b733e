//! Disks that are made on the fly: what the rows back up, and what they restore into.

use std::io;

use engine::source::{
    Content, ContentError, DiskInfo, DiskSink, NextSegment, Role, SEGMENT_LEN, Source, SourceError,
    SourceFacts, StoredDisk,
};

/// A source of one disk, whose segments a function fills.
pub struct MadeDisk<N, F> {
    size_bytes: u64,
    numbers: N,
    fill: F,
    is_begun: bool,
}

impl<N, F> MadeDisk<N, F>
where
    N: Iterator<Item = u64> + Send,
    F: FnMut(u64, &mut [u8]) + Send,
{
    /// A disk of `size_bytes` with data in the segments `numbers`, which rise; `fill` makes each.
    pub fn new(size_bytes: u64, numbers: impl IntoIterator<IntoIter = N>, fill: F) -> Self {
        Self { size_bytes, numbers: numbers.into_iter(), fill, is_begun: false }
    }
}

/// A source that delivers `image`, padded to whole segments.
pub fn of_image(image: &[u8]) -> impl Source {
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
            key: String::new(),
            size_bytes: Some(self.size_bytes),
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
        SourceFacts { container: "raw".to_owned(), ..SourceFacts::default() }
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

//! Restore: a snapshot becomes disks again, window by window, every byte verified.

use std::num::NonZeroUsize;

use repo_format::disk::Disk;
use repo_format::id::DiskId;
use repo_format::snapshot::{DiskRole, Snapshot};

use crate::horizon::{Horizon, Share, WINDOW};
use crate::observer::{Event, Observer};
use crate::parallel::Workers;
use crate::reader::{ContentReadError, Reader};
use crate::source::{Content, ContentError, DiskSink, Role, SEGMENT_LEN, StoredDisk};
use crate::walk::{Segments, segment_bytes};

/// A snapshot that can be read.
pub struct SnapshotContent<'r> {
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    observer: &'r dyn Observer,
    disks: Vec<StoredDisk>,
    ids: Vec<DiskId>,
    share: Share,
}

impl<'r> SnapshotContent<'r> {
    /// The content of `snapshot`.
    #[must_use]
    pub fn new(
        reader: &'r Reader<'r>,
        workers: &'r Workers,
        snapshot: &Snapshot,
        observer: &'r dyn Observer,
    ) -> Self {
        let disk = |disk: &repo_format::snapshot::SnapshotDisk| StoredDisk {
            role: source_role(disk.role),
            name: disk.name.clone(),
            key: disk.key.clone(),
            size_bytes: disk.size_bytes,
        };
        let disks = snapshot.disks.iter().map(disk).collect();
        let ids = snapshot.disks.iter().map(|disk| disk.id).collect();
        Self { reader, workers, observer, disks, ids, share: Share::of(NonZeroUsize::MIN) }
    }

    /// The same, of which a disk is read beside those of others: of so many streams, with this one, each takes its part
    /// of the memory that one alone would take. What is not said is alone.
    #[must_use]
    pub fn one_of(self, streams: NonZeroUsize) -> Self {
        Self { share: Share::of(streams), ..self }
    }

    /// The disk's entry, which must say what the snapshot says.
    fn open_disk(&self, number: usize) -> Result<(DiskId, Disk), ContentReadError> {
        let id = self.ids[number];
        let disk = self.reader.disk(id)?;
        match disk.size_bytes() == self.disks[number].size_bytes {
            true => Ok((id, disk)),
            false => Err(ContentReadError::Tree {
                disk: id,
                source: repo_format::FormatError::Invalid { what: "size in the snapshot" },
            }),
        }
    }

    /// Sends the segments of a disk, in order.
    fn read(&self, number: usize, sink: &mut dyn DiskSink) -> Result<(), ContentError> {
        let (id, disk) = self.open_disk(number).map_err(repository)?;
        let name = self.disks[number].name.as_str();
        let size_bytes = disk.size_bytes();
        self.observer.event(Event::DiskBegins { name, size_bytes: Some(size_bytes) });
        let walk = Segments::of(self.reader, id, &disk).map_err(repository)?;
        let mut horizon = Horizon::over(self.reader, self.workers, walk, self.share);
        let mut passed = 0;
        let mut window = horizon.next_window().map_err(repository)?;
        while let Some(ready) = window {
            // The next window begins while this one is rebuilt, and is rebuilt while this one is written.
            window = horizon.next_window().map_err(repository)?;
            let segments = horizon.finish(ready).map_err(repository)?;
            for (number, bytes) in segments {
                let offset = number * SEGMENT_LEN as u64;
                let len = segment_bytes(number, size_bytes);
                sink.segment(offset, &bytes[..len]).map_err(ContentError::Output)?;
                horizon.give_back(bytes);
                let end = offset + len as u64;
                self.observer.event(Event::Advanced { by: end - passed });
                passed = end;
            }
        }
        self.observer.event(Event::Advanced { by: size_bytes - passed });
        Ok(())
    }
}

impl Content for SnapshotContent<'_> {
    fn disks(&self) -> &[StoredDisk] {
        &self.disks
    }

    fn read_stream(&self, disk: usize, limit_bytes: u64) -> Result<Vec<u8>, ContentError> {
        let size_bytes = self.disks[disk].size_bytes;
        match usize::try_from(size_bytes) {
            Ok(len) if size_bytes <= limit_bytes => {
                let mut whole = Whole(vec![0; len]);
                self.read(disk, &mut whole)?;
                Ok(whole.0)
            }
            _ => {
                let name = &self.disks[disk].name;
                let what =
                    format!("stream {name} has {size_bytes} bytes, too many to be read whole");
                Err(ContentError::Invalid { what })
            }
        }
    }

    fn read_disk(&self, disk: usize, sink: &mut dyn DiskSink) -> Result<(), ContentError> {
        self.read(disk, sink)
    }

    fn segment_numbers(&self, disk: usize) -> Result<Vec<u64>, ContentError> {
        let (id, entry) = self.open_disk(disk).map_err(repository)?;
        let mut walk = Segments::of(self.reader, id, &entry).map_err(repository)?;
        let mut numbers = Vec::new();
        loop {
            let window = walk.next_window(WINDOW).map_err(repository)?;
            if window.is_empty() {
                return Ok(numbers);
            }
            numbers.extend(window.iter().map(|(number, _)| *number));
        }
    }
}

/// Collects a stream.
struct Whole(Vec<u8>);

impl DiskSink for Whole {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> std::io::Result<()> {
        let start = usize::try_from(offset_bytes).map_err(std::io::Error::other)?;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

fn repository(error: ContentReadError) -> ContentError {
    ContentError::Repository(Box::new(error))
}

const fn source_role(role: DiskRole) -> Role {
    match role {
        DiskRole::Disk => Role::Disk,
        DiskRole::Memory => Role::Memory,
        DiskRole::Record => Role::Record,
        DiskRole::Layout => Role::Layout,
        DiskRole::File => Role::File,
    }
}

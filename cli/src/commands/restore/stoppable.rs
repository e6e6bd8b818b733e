//! The content of a snapshot, until the program is asked to end.

use std::io;

use engine::source::{Content, ContentError, DiskSink, StoredDisk};

use crate::interrupt;

/// Delivers what `content` has. Once the program is asked to end it fails instead, so that what
/// was made on the pool goes as after any failure.
pub struct Stoppable<'c> {
    content: &'c dyn Content,
}

impl<'c> Stoppable<'c> {
    /// The same content.
    pub const fn new(content: &'c dyn Content) -> Self {
        Self { content }
    }
}

impl Content for Stoppable<'_> {
    fn disks(&self) -> &[StoredDisk] {
        self.content.disks()
    }

    fn read_stream(&self, disk: usize, limit_bytes: u64) -> Result<Vec<u8>, ContentError> {
        self.content.read_stream(disk, limit_bytes)
    }

    fn read_disk(&self, disk: usize, sink: &mut dyn DiskSink) -> Result<(), ContentError> {
        go_on().map_err(ContentError::Output)?;
        self.content.read_disk(disk, &mut StoppableSink(sink))
    }

    fn segment_numbers(&self, disk: usize) -> Result<Vec<u64>, ContentError> {
        self.content.segment_numbers(disk)
    }
}

struct StoppableSink<'s>(&'s mut dyn DiskSink);

impl DiskSink for StoppableSink<'_> {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        go_on()?;
        self.0.segment(offset_bytes, bytes)
    }
}

fn go_on() -> io::Result<()> {
    match interrupt::is_asked() {
        false => Ok(()),
        true => Err(io::ErrorKind::Interrupted.into()),
    }
}

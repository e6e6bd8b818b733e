//! A snapshot in memory.

use engine::source::{
    Content, ContentError, DiskSink, NextSegment, Role, SEGMENT_LEN, Source, SourceError,
    SourceFacts, StoredDisk,
};

/// Disks as a source delivered them.
#[derive(Debug, Default)]
pub struct MemoryContent {
    pub disks: Vec<StoredDisk>,
    pub bytes: Vec<Vec<u8>>,
    pub facts: SourceFacts,
}

impl MemoryContent {
    /// Takes everything from `source`, and checks that it keeps the border's promises.
    pub fn take(source: &mut dyn Source) -> Result<Self, SourceError> {
        let mut content = Self::default();
        let mut buffer = vec![0xA5; SEGMENT_LEN];
        while let Some(info) = source.next_disk()? {
            let mut bytes = Vec::new();
            let mut next_number = 0;
            let size_bytes = loop {
                match source.next_segment(&mut buffer)? {
                    NextSegment::End { size_bytes } => break size_bytes,
                    NextSegment::Filled { number } => {
                        assert!(number >= next_number, "segments rise");
                        bytes.resize(number as usize * SEGMENT_LEN, 0);
                        bytes.extend_from_slice(&buffer);
                        buffer.fill(0xA5);
                        next_number = number + 1;
                    }
                    NextSegment::Partly { .. } | NextSegment::Sample { .. } => {
                        panic!("changes to nothing")
                    }
                }
            };
            let beyond = bytes.get(size_bytes as usize..).unwrap_or_default();
            assert!(beyond.iter().all(|byte| *byte == 0), "bytes past the end are zero");
            assert!(info.size_bytes.is_none_or(|announced| announced == size_bytes));
            bytes.resize(size_bytes as usize, 0);
            assert!(content.disks.iter().all(|disk| disk.name != info.name), "names differ");
            let (role, name, key) = (info.role, info.name, info.key);
            content.disks.push(StoredDisk { role, name, key, size_bytes });
            content.bytes.push(bytes);
        }
        content.facts = source.facts();
        Ok(content)
    }

    /// Places of the disks and memory images.
    pub fn disk_places(&self) -> Vec<usize> {
        let is_disk = |disk: &StoredDisk| matches!(disk.role, Role::Disk | Role::Memory);
        (0..self.disks.len()).filter(|place| is_disk(&self.disks[*place])).collect()
    }

    /// Without the layout, so that only a new XVA can be written.
    pub fn forget_layout(&mut self) {
        if let Some(place) = self.disks.iter().position(|disk| disk.role == Role::Layout) {
            self.disks.remove(place);
            self.bytes.remove(place);
        }
    }
}

impl Content for MemoryContent {
    fn disks(&self) -> &[StoredDisk] {
        &self.disks
    }

    fn read_stream(&self, disk: usize, limit_bytes: u64) -> Result<Vec<u8>, ContentError> {
        assert!(self.bytes[disk].len() as u64 <= limit_bytes);
        Ok(self.bytes[disk].clone())
    }

    fn read_disk(&self, disk: usize, sink: &mut dyn DiskSink) -> Result<(), ContentError> {
        for (number, segment) in self.bytes[disk].chunks(SEGMENT_LEN).enumerate() {
            if segment.iter().any(|byte| *byte != 0) {
                let offset_bytes = (number * SEGMENT_LEN) as u64;
                sink.segment(offset_bytes, segment).map_err(ContentError::Output)?;
            }
        }
        Ok(())
    }
}

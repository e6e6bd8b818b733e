//! What is written reads again; what is broken is refused, whatever it is.

use std::fs;

use proptest::prelude::*;

use crate::disk::{DiskError, DiskReader};
use crate::raw::{RawSegment, RawWriter};

use super::reader::Qcow2Reader;
use super::writer::Qcow2Writer;

const SEGMENT: usize = 4 << 20;

/// A disk of three segments and a bit, of which the second is a hole.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 3 * SEGMENT + 1536];
    for (at, byte) in disk.iter_mut().enumerate() {
        if at / SEGMENT != 1 {
            *byte = (at / 777) as u8;
        }
    }
    disk
}

fn written(disk: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let segments = (0u64..).zip(disk.chunks(SEGMENT));
    let present: Vec<_> = segments.filter(|(_, bytes)| bytes.iter().any(|b| *b != 0)).collect();
    let numbers: Vec<u64> = present.iter().map(|(number, _)| *number).collect();
    let raw = RawWriter::to_plain(&mut out);
    let announced = (&*numbers, SEGMENT as u64);
    let mut writer = Qcow2Writer::begin(raw, disk.len() as u64, announced).expect("begun");
    for (number, bytes) in present {
        writer.segment(number * SEGMENT as u64, bytes).expect("memory");
    }
    writer.end().expect("memory");
    out
}

/// The disk, or of a larger one its first segments.
fn read(bytes: &[u8]) -> Result<Vec<u8>, DiskError> {
    let path = tempfile::NamedTempFile::new().expect("a file");
    fs::write(path.path(), bytes).expect("written");
    let mut reader = Qcow2Reader::of_file(path.reopen().expect("a file"))?;
    let mut disk = Vec::new();
    let mut buffer = vec![0xaa; SEGMENT];
    for _ in 0..8 {
        match reader.next_segment(&mut buffer)? {
            RawSegment::Filled(number) if number < 8 => {
                disk.resize(number as usize * SEGMENT, 0);
                disk.extend_from_slice(&buffer);
            }
            RawSegment::Filled(_) => break,
            RawSegment::End(size) => disk.resize(size.min(32 << 20) as usize, 0),
        }
    }
    Ok(disk)
}

#[test]
fn what_is_written_reads_again() {
    for len in [0, 512, SEGMENT, disk().len()] {
        let disk = &disk()[..len];
        assert!(read(&written(disk)).expect("read") == disk, "{len} bytes");
    }
}

#[test]
fn what_is_not_read_is_refused_with_its_reason() {
    let whole = written(&disk());
    let refused = |at: usize, byte: u8, reason: &str| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        let error = read(&bytes).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(0, 0, "no qcow2");
    refused(7, 4, "version 4");
    refused(15, 9, "backing file");
    refused(35, 1, "encrypted");
    refused(79, 2, "corrupt");
    refused(79, 4, "another file");
    refused(79, 16, "features");
    for len in [0, 71, 104, 65536, 131_072, whole.len() - 65536] {
        assert!(read(&whole[..len]).is_err(), "{len} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Header, the entry of L1, and the first entries of L2.
    #[test]
    fn nothing_foreign_makes_it_panic(
        flips in prop::collection::vec((0usize..112, any::<u8>()), 0..4),
        entries in prop::collection::vec((0usize..160, any::<u8>()), 0..4),
    ) {
        let mut bytes = written(&disk()[..SEGMENT]);
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        for (at, byte) in entries {
            bytes[if at < 8 { 65536 + at } else { 131_072 + at - 8 }] = byte;
        }
        let _ = read(&bytes);
    }
}

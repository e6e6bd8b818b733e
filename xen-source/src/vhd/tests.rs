//! What is written reads again; what is broken is refused, whatever it is.

use std::fs::{self, File};
use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::disk::{DiskError, DiskReader};
use crate::raw::{RawSegment, RawWriter};
use footer::{DiskType, Footer};
use reader::VhdReader;
use writer::VhdWriter;

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

fn written(disk: &[u8], id: [u8; 16]) -> Vec<u8> {
    let mut out = Vec::new();
    let segments = (0u64..).zip(disk.chunks(SEGMENT));
    let present: Vec<_> = segments.filter(|(_, bytes)| bytes.iter().any(|b| *b != 0)).collect();
    let numbers: Vec<u64> = present.iter().map(|(number, _)| *number).collect();
    let raw = RawWriter::to_plain(&mut out);
    let announced = (&*numbers, SEGMENT as u64);
    let mut writer = VhdWriter::begin(raw, disk.len() as u64, announced, id).expect("begun");
    for (number, bytes) in present {
        writer.segment(number * SEGMENT as u64, bytes).expect("memory");
    }
    writer.end().expect("memory");
    out
}

fn delivered(mut reader: impl DiskReader) -> Result<Vec<u8>, DiskError> {
    let mut disk = Vec::new();
    let mut buffer = vec![0xaa; SEGMENT];
    loop {
        match reader.next_segment(&mut buffer)? {
            RawSegment::Filled(number) => {
                disk.resize(number as usize * SEGMENT, 0);
                disk.extend_from_slice(&buffer);
            }
            RawSegment::End(size) => {
                disk.resize(size as usize, 0);
                return Ok(disk);
            }
        }
    }
}

fn from_files(files: &[&[u8]]) -> Result<Vec<u8>, DiskError> {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |(place, bytes): (usize, &&[u8])| {
        let path = folder.path().join(place.to_string());
        fs::write(&path, bytes).expect("written");
        (place.to_string(), File::open(path).expect("there"))
    };
    VhdReader::of_chain(files.iter().enumerate().map(open).collect()).and_then(delivered)
}

fn from_pipe(bytes: &[u8]) -> Result<Vec<u8>, DiskError> {
    VhdReader::of_stream(Box::new(Cursor::new(bytes.to_vec()))).and_then(delivered)
}

/// Puts the right checksum where a footer or header has it.
fn seal(bytes: &mut [u8], at: usize) {
    let sum = checksum(bytes, at);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}

fn fixed(disk: &[u8]) -> Vec<u8> {
    let size_bytes = disk.len() as u64;
    let disk_type = DiskType::Fixed;
    let footer = Footer { header_offset: 0, size_bytes, disk_type, id: [3; 16] };
    [disk, &footer.encode()].concat()
}

/// A child of `id` that has one sector of `0x77` in its first block, and no other.
fn child(size_bytes: u64, parent: [u8; 16], sector: usize) -> Vec<u8> {
    let disk_type = DiskType::Differencing;
    let footer = Footer { header_offset: 512, size_bytes, disk_type, id: [9; 16] }.encode();
    let entries = size_bytes.div_ceil(BLOCK_LEN as u64) as u32;
    let mut header = header::Header::encode(1536, entries);
    header[40..56].copy_from_slice(&parent);
    seal(&mut header, 36);
    let mut bat = [0xff; 512];
    bat[..4].copy_from_slice(&4u32.to_be_bytes());
    let mut bitmap = [0; 512];
    bitmap[sector / 8] = 0x80 >> (sector % 8);
    let block = vec![0x77; BLOCK_LEN];
    [&footer[..], &header, &bat, &bitmap, &block, &footer].concat()
}

#[test]
fn what_is_written_reads_again_from_file_and_pipe() {
    let disk = disk();
    let vhd = written(&disk, [1; 16]);
    assert!(from_files(&[&vhd]).expect("read") == disk);
    assert!(from_pipe(&vhd).expect("read") == disk);
    assert_eq!(vhd.len(), 2048 + 512 + 5 * (512 + BLOCK_LEN) + 512);
}

#[test]
fn a_fixed_disk_reads_from_file_and_pipe() {
    for len in [0, 512, SEGMENT, SEGMENT + 512, 2 * SEGMENT - 512] {
        let disk = &disk()[..len];
        let vhd = fixed(disk);
        assert!(from_files(&[&vhd]).expect("read") == disk);
        let piped = piped::FixedStream::new(Box::new(Cursor::new(vhd.clone())));
        assert!(delivered(piped).expect("read") == disk);
        let cut = piped::FixedStream::new(Box::new(Cursor::new(vhd[..vhd.len() - 1].to_vec())));
        assert!(delivered(cut).is_err());
    }
}

#[test]
fn a_child_lies_over_its_parent_sector_by_sector() {
    let disk = disk();
    let base = written(&disk, [1; 16]);
    let mut wanted = disk.clone();
    wanted[13 * 512..14 * 512].fill(0x77);
    let child = child(disk.len() as u64, [1; 16], 13);
    assert!(from_files(&[&base, &child]).expect("read") == wanted);
    let wrong = from_files(&[&written(&disk, [2; 16]), &child]).expect_err("another base");
    assert!(wrong.to_string().contains("another disk"), "{wrong}");
    let alone = from_files(&[&child]).expect_err("no base");
    assert!(alone.to_string().contains("needs its parent"), "{alone}");
    let twice = from_files(&[&base, &base]).expect_err("no child");
    assert!(twice.to_string().contains("no parent"), "{twice}");
}

#[test]
fn sectors_that_a_bitmap_denies_are_zero() {
    let mut lone = child(SEGMENT as u64, [0; 16], 5);
    let footer = Footer {
        header_offset: 512,
        size_bytes: SEGMENT as u64,
        disk_type: DiskType::Dynamic,
        id: [9; 16],
    };
    let end = lone.len() - 512;
    lone[..512].copy_from_slice(&footer.encode());
    lone[end..].copy_from_slice(&footer.encode());
    let mut wanted = vec![0; SEGMENT];
    wanted[5 * 512..6 * 512].fill(0x77);
    assert!(from_files(&[&lone]).expect("read") == wanted);
    assert!(from_pipe(&lone).expect("read") == wanted);
}

#[test]
fn blocks_that_overlap_or_lie_outside_are_refused() {
    let disk = disk();
    let vhd = written(&disk, [1; 16]);
    for entry in [0u32, 1, 3, 4, 7, 9, 1 << 20, u32::MAX - 1] {
        let mut broken = vhd.clone();
        broken[2048..2052].copy_from_slice(&entry.to_be_bytes());
        assert!(from_files(&[&broken]).is_err(), "block at sector {entry}");
    }
    for cut in [0, 1, 511, 512, 2047, 2100, vhd.len() - 512, vhd.len() - 1] {
        // One byte less is the footer of an old program.
        let cut_file = &vhd[..cut - usize::from(cut > vhd.len() - 512)];
        assert!(from_files(&[cut_file]).is_err(), "a file of {cut} bytes");
        assert!(from_pipe(&vhd[..cut]).is_err(), "a pipe of {cut} bytes");
    }
}

#[test]
fn disks_of_more_than_2040_gib_are_refused() {
    assert!(writer::refusal(2040 << 30).is_none());
    assert!(writer::refusal((2040 << 30) + 1).is_some_and(|what| what.contains("2040 GiB")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Footer and header are sealed again, so that what lies behind the checksums is reached.
    #[test]
    fn nothing_foreign_makes_it_panic(
        flips in prop::collection::vec((0usize..2600, any::<u8>()), 1..6),
        len in prop::option::of(0usize..5000),
    ) {
        let mut vhd = child(SEGMENT as u64 + 512, [0; 16], 9);
        vhd[63] = 3;
        for (at, byte) in flips {
            vhd[at] = byte;
        }
        seal(&mut vhd[..512], 64);
        seal(&mut vhd[512..1536], 36);
        let end = vhd.len() - 512;
        vhd.copy_within(..512, end);
        vhd.truncate(len.unwrap_or(usize::MAX));
        // The disk itself may be of any size, so only its beginning is asked for.
        let mut buffer = vec![0; SEGMENT];
        if let Ok(mut reader) = VhdReader::of_stream(Box::new(Cursor::new(vhd.clone()))) {
            let _ = reader.next_segment(&mut buffer);
        }
        let path = tempfile::NamedTempFile::new().expect("a file");
        fs::write(path.path(), &vhd).expect("written");
        if let Ok(mut reader) = VhdReader::of_file(path.reopen().expect("a file")) {
            for _ in 0..4 {
                let _ = reader.next_segment(&mut buffer);
            }
        }
    }
}

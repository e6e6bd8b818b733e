//! Raw disks: holes, sparse writing, odd sizes.

use std::fs;

use super::*;

const SEGMENT: usize = 4 << 20;

fn segments(reader: &mut RawReader) -> (Vec<u64>, Vec<u8>, u64) {
    let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
    let mut buffer = vec![0xA5; SEGMENT];
    loop {
        match reader.next_segment(&mut buffer).expect("readable") {
            RawSegment::End(size_bytes) => {
                bytes.resize(size_bytes as usize, 0);
                return (numbers, bytes, size_bytes);
            }
            RawSegment::Filled(number) => {
                numbers.push(number);
                bytes.resize(number as usize * SEGMENT, 0);
                bytes.extend_from_slice(&buffer);
            }
        }
    }
}

#[test]
fn holes_of_a_file_are_passed_over_and_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.raw");
    let file = File::create_new(&path).expect("a file");
    let size_bytes = 10 * SEGMENT as u64 + 1000;
    let mut writer = RawWriter::to_new_file(&file);
    let mut segment = vec![0; SEGMENT];
    segment[1 << 20] = 1;
    writer.segment(3 * SEGMENT as u64, &segment).expect("written");
    writer.end(size_bytes).expect("written");

    let read = File::open(&path).and_then(RawReader::of_file);
    let mut reader = read.expect("opened");
    assert_eq!(reader.size_bytes(), Some(size_bytes));
    let (numbers, bytes, _) = segments(&mut reader);
    assert!(bytes == fs::read(&path).expect("read"));
    assert_eq!(bytes[3 * SEGMENT + (1 << 20)], 1);
    assert!(numbers.contains(&3));
    let has_holes = next_data(&file, 0, size_bytes).expect("sought") != Some(0);
    assert!(!has_holes || numbers == [3], "{numbers:?}");
}

#[test]
fn stream_is_read_to_its_end() {
    for len in [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT] {
        let bytes: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
        let mut reader = RawReader::of_stream(Box::new(io::Cursor::new(bytes.clone())));
        assert_eq!(reader.size_bytes(), None);
        let (_, found, size_bytes) = segments(&mut reader);
        assert_eq!(size_bytes, len as u64);
        assert!(found[..len] == bytes);
    }
}

#[test]
fn zeros_are_written_to_a_pipe() {
    let mut out = Vec::new();
    let mut writer = RawWriter::to_plain(&mut out);
    writer.segment(5, b"abc").expect("written");
    assert!(writer.segment(7, b"back").is_err());
    let mut out = Vec::new();
    let mut writer = RawWriter::to_plain(&mut out);
    writer.segment(2, b"abc").expect("written");
    writer.end(7).expect("written");
    assert_eq!(out, b"\0\0abc\0\0");
}

//! XVAs through the crate and out again: the same bytes from the layout, the same disks from a new
//! one, and an error from everything that is not whole.

mod kit;

use std::io::{Read, Write};

use engine::source::{Role, SourceError};
use kit::importer::import;
use kit::maker::{Archive, Headers, MIB, any_archive};
use kit::memory::MemoryContent;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;
use xen_source::{ChecksumKind, Form, Input, Kind, Macs, XvaOptions, open, open_disks, write_xva};

fn read_as(kind: Option<Kind>, bytes: &[u8]) -> Result<MemoryContent, SourceError> {
    let bytes: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let name = "stdin".to_owned();
    MemoryContent::take(&mut *open(Input::Stream { name, bytes }, kind)?)
}

fn read(bytes: &[u8]) -> Result<MemoryContent, SourceError> {
    read_as(Some(Kind::Xva), bytes)
}

fn as_it_was() -> XvaOptions {
    XvaOptions { checksum: None, name: None, macs: Macs::Keep, disks: None, seed: [3; 32] }
}

fn write(content: &MemoryContent, options: &XvaOptions) -> (Form, Vec<u8>) {
    let mut out = Vec::new();
    let form = write_xva(content, &mut out, options).expect("written");
    (form, out)
}

#[track_caller]
fn check_not_whole(bytes: &[u8]) {
    match read(bytes) {
        Err(SourceError::Cut { .. } | SourceError::Damaged { .. }) => {}
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[track_caller]
fn check_says_export_failed(kind: Option<Kind>, bytes: &[u8]) {
    match read_as(kind, bytes) {
        Err(SourceError::Damaged { what, .. }) => {
            assert!(what.contains("export failed") && what.contains("SR_BACKEND"), "{what}");
        }
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

const PAGE: &[u8] =
    b"HTTP/1.1 500 Internal Error\r\ncontent-length: 99\r\nconnection: close\r\n\r\n\
    <html><body><h1>HTTP 500 internal server error</h1><h1> Additional information </h1>\
    SR_BACKEND_FAILURE: [ 1; 2 ]</body></html>";

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn archive_comes_out_as_it_came_in(archive in any_archive()) {
        let made = archive.make();
        let content = read(&made).expect("a good archive");
        let roles: Vec<Role> = content.disks.iter().map(|disk| disk.role).collect();
        prop_assert_eq!(roles[0], Role::Record);
        prop_assert_eq!(*roles.last().expect("a layout"), Role::Layout);
        for (place, stored) in archive.order().into_iter().zip(content.disk_places()) {
            prop_assert_eq!(&content.disks[stored].key, &Archive::vdi_uuid(place));
            prop_assert!(content.bytes[stored] == archive.disks[place].bytes());
        }
        let (form, written) = write(&content, &as_it_was());
        prop_assert_eq!(form, Form::Exact);
        prop_assert!(written == made);
    }

    #[test]
    fn new_archive_is_imported_with_the_same_disks(archive in any_archive(), sha1: bool) {
        let mut content = read(&archive.make()).expect("a good archive");
        content.forget_layout();
        let checksum = Some(if sha1 { ChecksumKind::Sha1 } else { ChecksumKind::Xxh64 });
        let options = XvaOptions { checksum, ..as_it_was() };
        let (form, written) = write(&content, &options);
        prop_assert_eq!(form, Form::Canonical);
        let imported = import(&written).expect("imported");
        prop_assert_eq!(imported.disks.len(), archive.disks.len());
        for (place, disk) in archive.disks.iter().enumerate() {
            let found = &imported.disks[&Archive::vdi_uuid(place)];
            prop_assert!(found.bytes == disk.bytes());
            let device = (!disk.suspend).then(|| place.to_string());
            prop_assert_eq!(&found.userdevice, &device);
        }
        let again = read(&written).expect("read back");
        prop_assert_eq!(write(&again, &as_it_was()), (Form::Exact, written));
    }

    #[test]
    fn cut_anywhere_is_an_error(archive in any_archive(), places in vec(any::<Index>(), 4)) {
        let made = archive.make();
        let whole = made.len() - archive.tail.len();
        for place in places {
            check_not_whole(&made[..place.index(whole)]);
        }
    }

    #[test]
    fn changed_byte_is_an_error_or_comes_out_again(
        archive in any_archive(),
        places in vec((any::<Index>(), 0..8), 3),
    ) {
        let made = archive.make();
        let (_, boundaries) = archive.make_with_boundaries();
        for (place, bit) in places {
            // Anywhere, and once more near a header, where it is more telling.
            let header = boundaries[place.index(boundaries.len())];
            let near = (header + place.index(1100)).min(made.len() - 1);
            for at in [place.index(made.len()), near] {
                let mut changed = made.clone();
                changed[at] ^= 1u8 << bit;
                if let Ok(content) = read(&changed) {
                    let (form, written) = write(&content, &as_it_was());
                    prop_assert_eq!(form, Form::Exact);
                    prop_assert!(written == changed);
                }
            }
        }
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes: Vec<u8>) {
        let _verdict = read(&bytes);
        let _verdict = read_as(None, &bytes);
    }

    #[test]
    fn any_blocks_get_a_verdict(
        // Headers with a valid sum, so that what is behind them is reached.
        name in "ova.xml|Ref:12/0000000[0-9](.xxhash)?|[a-z/]{0,99}",
        size: u64,
        kind in any::<u8>(),
        at in 0..12usize,
    ) {
        let sample = Archive { headers: Headers::Gnu, ..Archive::sample() };
        let (mut made, boundaries) = sample.make_with_boundaries();
        let start = boundaries[at % boundaries.len()];
        made.splice(start..start, hostile_header(&name, size, kind));
        if let Ok(content) = read(&made) {
            prop_assert_eq!(write(&content, &as_it_was()), (Form::Exact, made));
        }
    }
}

fn hostile_header(name: &str, size: u64, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124] = 0x80;
    block[128..136].copy_from_slice(&size.to_be_bytes());
    block[156] = kind;
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    block
}

#[test]
fn cut_at_a_boundary_is_an_error() {
    let archive = Archive::sample();
    let (made, boundaries) = archive.make_with_boundaries();
    for boundary in boundaries.into_iter().chain([made.len()]) {
        for cut in [boundary.saturating_sub(1), boundary, boundary + 1] {
            if cut < made.len() {
                check_not_whole(&made[..cut]);
            }
        }
    }
}

#[test]
fn wrong_checksum_is_an_error() {
    let (mut made, boundaries) = Archive::sample().make_with_boundaries();
    made[boundaries[1] + 512 + 77] ^= 1;
    match read(&made) {
        Err(SourceError::Damaged { place, what }) => {
            assert!(place.starts_with("Ref:12/00000000 at byte"), "{place}");
            assert_eq!(what, "its checksum is wrong");
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn failed_export_is_named_wherever_its_page_stands() {
    let (made, boundaries) = Archive::sample().make_with_boundaries();
    let inside = boundaries[1] + 512 + 300_000;
    let near_the_end_of_a_chunk = boundaries[2] - 40;
    let cuts = [0, boundaries[1], boundaries[2], inside, near_the_end_of_a_chunk, made.len()];
    for cut in cuts {
        let bytes = [&made[..cut], PAGE].concat();
        check_says_export_failed(Some(Kind::Xva), &bytes);
        check_says_export_failed(None, &bytes);
    }
}

#[test]
fn failed_export_is_named_behind_a_cut_compression() {
    let made = Archive::sample().make();
    for packed in [gzip(&made), zstd(&made)] {
        let bytes = [&packed[..packed.len() / 2], PAGE].concat();
        check_says_export_failed(None, &bytes);
        check_not_whole(&packed[..packed.len() - 3]);
        check_not_whole(&packed[..packed.len() / 2]);
    }
}

#[test]
fn compressed_archive_is_read_and_the_tar_comes_out() {
    let made = Archive::sample().make();
    let in_two = [gzip(&made[..99_999]), gzip(&made[99_999..])].concat();
    for (packed, name) in [(gzip(&made), "gzip"), (in_two, "gzip"), (zstd(&made), "zstd")] {
        let content = read_as(None, &packed).expect("a good archive");
        assert_eq!(content.facts.compression, name);
        assert_eq!(content.facts.bytes_read, packed.len() as u64);
        assert_eq!(write(&content, &as_it_was()), (Form::Exact, made.clone()));
    }
}

#[test]
fn facts_are_told() {
    let content = read(&Archive::sample().make()).expect("a good archive");
    let facts = &content.facts;
    assert_eq!((&*facts.container, &*facts.compression), ("xva", ""));
    assert_eq!(facts.vm_uuid.as_deref(), Some("6f1d3c52-0b6e-4a3c-9d5e-0c1a7b2f9e01"));
    assert_eq!(facts.vm_name.as_deref(), Some("demo <vm>"));
    assert_eq!(facts.host_name.as_deref(), Some("xs1"));
    assert_eq!(facts.checksums_verified, 4);
    let names: Vec<&str> = content.disks.iter().map(|disk| &*disk.name).collect();
    assert_eq!(names, ["ova.xml", "xvda", "xvdb", "layout"]);
}

#[test]
fn absurd_sizes_are_refused() {
    let (made, boundaries) = Archive::sample().make_with_boundaries();
    for boundary in &boundaries[..4] {
        for size in [u64::MAX, u64::MAX >> 1, 1 << 40, (MIB as u64) + 1] {
            let mut bytes = made.clone();
            let header = &mut bytes[*boundary..*boundary + 512];
            let name = header.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            let name = String::from_utf8(name).expect("ASCII");
            header.copy_from_slice(&hostile_header(&name, size, 0));
            assert!(read(&bytes).is_err());
        }
    }
    let record = Archive::sample().record();
    assert!(record.contains("5241856"));
    for size in ["18446744073709551615", "99999999999999999999", "-1", "1125899906842625"] {
        let made = replaced_record(&record.replace("5241856", size));
        assert!(read(&made).is_err());
    }
}

/// The sample with another record.
fn replaced_record(record: &str) -> Vec<u8> {
    let (made, boundaries) = Archive::sample().make_with_boundaries();
    let mut bytes = hostile_header("ova.xml", record.len() as u64, 0).to_vec();
    bytes.extend_from_slice(record.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(&made[boundaries[1]..]);
    bytes
}

#[test]
fn other_sizes_than_the_records_are_refused() {
    let record = Archive::sample().record();
    for size in ["5241344", "5242880", "1048576", "512", "0"] {
        check_not_whole(&replaced_record(&record.replace("5241856", size)));
    }
}

#[test]
fn old_exports_are_refused() {
    let record = Archive::sample().record();
    let old =
        record.replace("<name>export_vsn</name><value>2<", "<name>export_vsn</name><value>1<");
    check_not_whole(&replaced_record(&old));
}

#[test]
fn foreign_members_are_refused() {
    let (made, boundaries) = Archive::sample().make_with_boundaries();
    for boundary in &boundaries {
        let mut bytes = made.clone();
        bytes.splice(*boundary..*boundary, hostile_header("README", 0, 0));
        assert!(read(&bytes).is_err());
    }
}

#[test]
fn disk_in_chunks_of_odd_length_at_its_end_is_read_and_rounded_in_a_new_archive() {
    let mut archive = Archive::sample();
    archive.disks[0].size_bytes -= 100;
    let made = archive.make();
    let mut content = read(&made).expect("tar pads");
    assert_eq!(write(&content, &as_it_was()), (Form::Exact, made));
    content.forget_layout();
    let imported = import(&write(&content, &as_it_was()).1).expect("imported");
    let mut expected = archive.disks[0].bytes();
    expected.resize(expected.len() + 100, 0);
    assert!(imported.disks[&Archive::vdi_uuid(0)].bytes == expected);
}

#[test]
fn vm_is_renamed_and_its_cards_get_addresses() {
    let content = read(&Archive::sample().make()).expect("a good archive");
    let name = Some("a <new> & better name".to_owned());
    let options = XvaOptions { name, macs: Macs::Replace, ..as_it_was() };
    let (form, written) = write(&content, &options);
    assert_eq!(form, Form::Canonical);
    let imported = import(&written).expect("imported");
    assert_eq!(imported.name_label, "a &lt;new&gt; &amp; better name");
    assert_eq!(imported.macs.len(), 1);
    assert_ne!(imported.macs[0], "02:00:00:12:34:56");
    assert_eq!(imported.macs[0].len(), 17);
}

#[test]
fn one_disk_of_two_is_written() {
    let content = read(&Archive::sample().make()).expect("a good archive");
    for (place, stored) in content.disk_places().into_iter().enumerate() {
        let options = XvaOptions { disks: Some(vec![stored]), ..as_it_was() };
        let imported = import(&write(&content, &options).1).expect("imported");
        assert_eq!(imported.disks.len(), 1);
        let uuid = Archive::vdi_uuid(place);
        assert!(imported.disks[&uuid].bytes == Archive::sample().disks[place].bytes());
    }
}

#[test]
fn raw_disks_become_a_vm() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Archive::sample();
    let mut paths = Vec::new();
    for (place, disk) in sample.disks.iter().enumerate().rev() {
        let path = folder.path().join(format!("disk{place}.img"));
        std::fs::write(&path, disk.bytes()).expect("a disk");
        paths.push(path);
    }
    let mut source = open_disks(&paths, None, Some("web")).expect("disks");
    let content = MemoryContent::take(&mut *source).expect("read");
    assert_eq!(content.facts.vm_name.as_deref(), Some("web"));
    let options = XvaOptions { name: Some("web".to_owned()), ..as_it_was() };
    let imported = import(&write(&content, &options).1).expect("imported");
    assert_eq!(imported.name_label, "web");
    let mut disks: Vec<_> = imported.disks.values().collect();
    disks.sort_by_key(|disk| disk.name_label.clone());
    assert_eq!(disks[0].name_label, "xvda");
    assert!(disks[0].bytes == sample.disks[1].bytes());
    assert!(disks[1].bytes == sample.disks[0].bytes());
}

#[test]
fn other_files_are_kept_as_they_are() {
    let text = b"some text".to_vec();
    for bytes in [Vec::new(), text.clone(), gzip(&text), zstd(&text), vec![0; 5 * MIB]] {
        let content = read_as(None, &bytes).expect("any file");
        assert_eq!(content.disks[0].role, Role::File);
        assert!(content.bytes == [bytes.clone()]);
        assert_eq!(content.facts.container, "file");
    }
    let made = Archive::sample().make();
    let content = read_as(Some(Kind::File), &made).expect("any file");
    assert!(content.bytes == [made]);
    assert!(matches!(
        read(b"some text".repeat(99).as_slice()),
        Err(SourceError::Unrecognised { .. })
    ));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

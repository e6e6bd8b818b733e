//! Rows "second export of an unchanged disk": what it adds, as an XVA and as a raw file.

use std::io::Cursor;
use std::sync::Arc;

use engine::source::{SEGMENT_LEN, Source};
use xen_source::xva::layout::{KeepAlives, Layout};
use xen_source::xva::ova::fresh::{FreshDisk, disk_id, record};
use xen_source::xva::ova::seed::Seed;
use xen_source::xva::writer::XvaWriter;
use xen_source::{ChecksumKind, Input, Kind, open, open_disks};

use super::Measured;
use crate::Scale;
use crate::repositories::{Bytes, Pools, in_memory, store};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

/// Backs a VM's export up; then another export of the same disk, with other `Ref:` numbers, keep-alive members where
/// there were none, and another record (every uuid and the order of ids are new); then the disk as a raw file.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let image = image(scale.pick(32, 256));
    let data_bytes = image.iter().filter(|segment| !segment.is_empty()).count() * SEGMENT_LEN;
    let (repository, storage) = in_memory()?;
    let pools = Pools::start(2)?;
    let add = |input: &mut dyn Source| -> Measured<u64> {
        let before = Bytes::on(&*storage)?;
        store(&repository, &pools, input)?;
        Ok(Bytes::on(&*storage)?.since(before).total())
    };
    let first = export(&image, "Ref:012", [1; 32], &[])?;
    let second = export(&image, "Ref:9077", [2; 32], &[(5, 1), (30, 2)])?;
    add(&mut *open(first, Some(Kind::Xva))?)?;
    let as_xva = add(&mut *open(second, Some(Kind::Xva))?)?;
    let file = tempfile::Builder::new().suffix(".raw").tempfile()?;
    for (number, segment) in (0..).zip(&image) {
        let offset = number * SEGMENT_LEN as u64;
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), segment, offset)?;
    }
    file.as_file().set_len((image.len() * SEGMENT_LEN) as u64)?;
    let as_raw = add(&mut *open_disks(&[file.path().to_owned()], None, None)?)?;
    let row = |name, budget, added: u64, limit: f64| {
        let share = 100.0 * added as f64 / data_bytes as f64;
        let measured = format!("{share:.3} %: {added} bytes for {} MiB", data_bytes >> 20);
        Row { name, budget, measured, verdict: Verdict::of(share <= limit) }
    };
    Ok(vec![
        row("second XVA of an unchanged disk", "<= 0.2 % of the data", as_xva, 0.2),
        row("the same disk as a raw file", "< 0.1 % of the data", as_raw, 0.1),
    ])
}

/// Segments of a disk; every fourth is a hole, which is an empty vector.
fn image(segments: usize) -> Vec<Vec<u8>> {
    let segment = |number: usize| match number % 4 {
        1 => Vec::new(),
        _ => sample(Look::Compressible, 20 + number as u64, SEGMENT_LEN),
    };
    (0..segments).map(segment).collect()
}

/// An XVA of the disk, with keep-alives after so many chunks.
fn export(
    image: &[Vec<u8>],
    id: &str,
    seed: [u8; 32],
    keep_alives: &[(u64, u64)],
) -> Measured<Input> {
    let size_bytes = (image.len() * SEGMENT_LEN) as u64;
    let disk = FreshDisk { name: "xvda".to_owned(), size_bytes };
    let record = record("bench", &[disk], &mut Seed::new(seed)).replace(&disk_id(0, 1), id);
    let mut layout = Layout::canonical([id.to_owned()], ChecksumKind::Xxh64);
    let entry = |&(chunks_since, count): &(u64, u64)| KeepAlives { chunks_since, count };
    layout.disks[0].keep_alives = keep_alives.iter().map(entry).collect();
    let mut writer = XvaWriter::begin(Vec::new(), layout, record.as_bytes())?;
    let mut disk = writer.next_disk(size_bytes)?;
    for (number, segment) in (0..).zip(image) {
        if !segment.is_empty() {
            disk.segment(number * SEGMENT_LEN as u64, segment)?;
        }
    }
    disk.end()?;
    let archive: Arc<[u8]> = writer.finish()?.into();
    Ok(Input::Stream { name: "bench".to_owned(), bytes: Box::new(Cursor::new(archive)) })
}

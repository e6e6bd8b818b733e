//! A restore opens a frame once, though its chunks lie in windows that are far apart. What happens when packs fail on
//! the way is in `reader_rules`.

use std::collections::BTreeMap;

use engine::reader::Reader;
use repo_format::object_name::ObjectName;
use repo_tests::faulty_storage::Call;
use repo_tests::repo::{TestRepo, list_snapshots, restore_through};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

/// Segments of which each begins with noise; the second half has that of the first in another order.
const SEGMENTS: u64 = 72;
const NOISE: u64 = 192 << 10;

/// A disk of several windows whose second half is the first, shuffled.
fn shuffled() -> Sample {
    let half = SEGMENTS / 2;
    let fill = |disk: SampleDisk, segment: u64| {
        let (start, seed) =
            (segment * SEGMENT, if segment < half { segment } else { segment * 7 % half });
        disk.with(start..start + NOISE, Fill::Noise(seed))
    };
    Sample::of([(0..SEGMENTS).fold(SampleDisk::empty("xvda", SEGMENTS * SEGMENT), fill)])
}

#[test]
fn a_frame_that_several_windows_need_is_read_once() {
    let repo = TestRepo::with(1, &[&shuffled()]);
    let (recording, machine) = repo.open_recording();
    let reader = Reader::open(&machine).expect("a reader");
    let snapshot = &list_snapshots(&machine).expect("a list")[0];
    let before = recording.calls().len();
    let restored = restore_through(&reader, snapshot).expect("a restore");
    assert_eq!(restored, shuffled().hashes());
    let mut reads = BTreeMap::new();
    for call in recording.calls().into_iter().skip(before) {
        if let Call::ReadRange(ObjectName::Pack(pack), range) = call {
            *reads.entry((pack, range.start, range.end)).or_insert(0) += 1;
        }
    }
    let noise_frames = (NOISE * SEGMENTS / 2) >> 20;
    assert!(reads.len() as u64 > noise_frames, "{reads:?}");
    // Two workers may both find that a pack's key is not there yet.
    reads.retain(|(_, start, _), times| *start > 0 && *times > 1);
    assert_eq!(reads, BTreeMap::new());
}

//! Disks by NBD: holes are not read, and what NBD does not give comes as a stream.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::source::{NextSegment, Role, SEGMENT_LEN, Source, SourceError, StoredVersion};
use serde_json::json;

use super::host::Host;
use super::maker::Archive;
use super::world::{DISK_UUID, Outcome, Pauses, Shared, login, settings};
use crate::raw::RawWriter;
use crate::vhd::writer::VhdWriter;
use crate::xapi::nbd::tests::server::{Fault, Script, Server, disk};
use crate::xapi::options::{Event, Observer, SourceOptions, Transfer};
use crate::xapi::{DataChannel, Pool, Settings, Tracking, connect_with};

const UNIT_LEN: usize = 64 << 10;
const LIVE: &str = "OpaqueRef:vdi";
/// Changed are unit 3 of segment 0, segment 2, unit 0 of segment 4 and unit 15 of segment 5.
const CHANGED: &str = "EAAAAAAAAAAAAAAAAAAAAP//////////AAAAAAAAAACAAAAAAAAAAAABAAAAAAAA";
const CHANGED_UNITS: [(usize, u64); 4] = [(0, 1 << 3), (2, u64::MAX), (4, 1), (5, 1 << 15)];

#[derive(Default)]
struct Ways(Mutex<Vec<(&'static str, bool, String)>>);

impl Observer for Ways {
    fn event(&self, event: Event) {
        if let Event::DiskBegins { transfer, changes_only, reason, .. } = event {
            self.0.lock().expect("a lock").push((transfer, changes_only, reason));
        }
    }
}

/// A pool whose disk is to be had by NBD.
struct Lab {
    world: Shared,
    _host: Host,
    pool: Pool,
    nbd: Server,
    ways: Arc<Ways>,
    pauses: Pauses,
}

/// A disk of 21 MiB; `holes` are segments of zeros.
fn disk_with(holes: &[usize]) -> Vec<u8> {
    let mut disk = disk(5 * SEGMENT_LEN + (1 << 20));
    holes.iter().for_each(|hole| disk[hole * SEGMENT_LEN..][..SEGMENT_LEN].fill(0));
    disk
}

/// The disk before what [`CHANGED`] says.
fn before(disk: &[u8]) -> Vec<u8> {
    let mut before = disk.to_vec();
    for (segment, units) in CHANGED_UNITS {
        for unit in (0..64).filter(|unit| units >> unit & 1 == 1) {
            before[segment * SEGMENT_LEN + unit * UNIT_LEN..][..UNIT_LEN].fill(0x55);
        }
    }
    before
}

/// A dynamic VHD without segments of zeros.
fn vhd(disk: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let segments = || (0u64..).zip(disk.chunks(SEGMENT_LEN));
    let full = segments().filter(|(_, segment)| segment.iter().any(|byte| *byte != 0));
    let numbers: Vec<u64> = full.clone().map(|(number, _)| number).collect();
    let (out, size_bytes) = (RawWriter::to_plain(&mut bytes), disk.len() as u64);
    let numbered = (&numbers[..], SEGMENT_LEN as u64);
    let mut writer = VhdWriter::begin(out, size_bytes, numbered, [7; 16]).expect("a VHD");
    for (number, segment) in full {
        writer.segment(number * SEGMENT_LEN as u64, segment).expect("a segment");
    }
    writer.end().expect("an end");
    bytes
}

/// What the pool says about where the disk is to be had.
fn infos(server: &Server) -> serde_json::Value {
    let info = server.info();
    json!([{"exportname": *info.export_name, "address": info.address, "port": info.port,
        "cert": "", "subject": info.subject}])
}

impl Lab {
    /// `stream` is what an export of the disk gives out, whatever was asked for.
    fn new(disk: &[u8], stream: Vec<u8>) -> Self {
        let (world, nbd) = (Shared::new(), Server::start(Script::new(disk.to_vec())));
        let host = world.host();
        let mut archive = Archive::sample();
        archive.disks.truncate(1);
        world.get().export = archive.make();
        world.get().disk = stream;
        let lab_settings = Settings {
            data: DataChannel::Plain { port: 80 },
            stall_timeout: Some(Duration::from_secs(5)),
            ..settings()
        };
        let (logged_in, pauses) = (login(vec![host.address.clone()], "secret"), Pauses::default());
        let pool =
            connect_with(logged_in, lab_settings, Box::new(pauses.clone())).expect("a session");
        let lab = Self { world, _host: host, pool, nbd, ways: Arc::default(), pauses };
        lab.set(LIVE, "virtual_size", json!(disk.len().to_string()));
        lab.set(LIVE, "get_nbd_info", infos(&lab.nbd));
        lab
    }

    fn set(&self, vdi: &str, field: &str, value: serde_json::Value) {
        let mut world = self.world.get();
        let key = ("VDI".to_owned(), vdi.to_owned());
        world.objects.get_mut(&key).expect("a disk").insert(field.to_owned(), value);
    }

    /// The pool tells the changes since an earlier state of a disk of `size_bytes`.
    fn track(&self, size_bytes: usize) -> StoredVersion {
        self.set(LIVE, "cbt_enabled", json!(true));
        let mut world = self.world.get();
        let mut trace = world.record("VDI", LIVE).clone();
        let changed = [("uuid", json!("trace-uuid")), ("is_a_snapshot", json!(true))];
        let told = [("snapshot_of", json!(LIVE)), ("list_changed_blocks", json!(CHANGED))];
        trace.extend(changed.into_iter().chain(told).map(|(key, value)| (key.into(), value)));
        world.objects.insert(("VDI".into(), "OpaqueRef:trace".into()), trace);
        let (key, version) = (DISK_UUID.to_owned(), "trace-uuid".to_owned());
        StoredVersion { key, version, size_bytes: size_bytes as u64, id: [1; 32] }
    }

    /// Hangs up at every read from the `first` on.
    fn hang_up(&self, first: usize) {
        self.nbd.script().faults = (first..10_000).map(|read| (read, Fault::HangUp)).collect();
    }

    /// The VM at its disk.
    fn open(
        &self,
        tracking: Tracking,
        versions: Vec<StoredVersion>,
    ) -> Result<Box<dyn Source>, SourceError> {
        let vm = self.pool.vms().expect("VMs").remove(0).record;
        let options = SourceOptions::new(self.ways.clone());
        let mut options = SourceOptions { transfer: Transfer::Nbd, versions, ..options };
        options.changes.tracking = tracking;
        let mut source = self.pool.source(&vm, options)?;
        while source.next_disk()?.is_some_and(|info| info.role != Role::Disk) {}
        Ok(Box::new(source))
    }

    #[track_caller]
    fn check_ways(&self, expected: &[(&str, &str)]) {
        let ways = self.ways.0.lock().expect("a lock");
        assert_eq!(ways.len(), expected.len(), "{ways:?}");
        for ((transfer, _, reason), (way, why)) in ways.iter().zip(expected) {
            assert!(transfer == way && reason.starts_with(why), "{ways:?}");
            assert_eq!(why.is_empty(), reason.is_empty(), "{ways:?}");
        }
    }

    #[track_caller]
    fn check_nothing_stays(&self) {
        let world = self.world.get();
        assert_eq!(world.tasks.len(), 0, "tasks");
        assert!(!world.objects.contains_key(&("VDI".into(), "OpaqueRef:disk".into())));
    }
}

/// Lays what follows of the current disk over `bytes`; the numbers of what was delivered.
fn lay_over(source: &mut dyn Source, bytes: &mut [u8]) -> Result<Vec<u64>, SourceError> {
    let (mut numbers, mut buffer) = (Vec::new(), vec![0xee; SEGMENT_LEN]);
    loop {
        let (number, units) = match source.next_segment(&mut buffer)? {
            NextSegment::End { size_bytes } => {
                assert_eq!(bytes.len() as u64, size_bytes);
                return Ok(numbers);
            }
            NextSegment::Filled { number } => (number, u64::MAX),
            NextSegment::Partly { number, units } => (number, units),
            NextSegment::Sample { number } => panic!("segment {number} is no sample"),
        };
        assert!(numbers.last().is_none_or(|last| *last < number), "{number} after {numbers:?}");
        numbers.push(number);
        let start = number as usize * SEGMENT_LEN;
        for unit in (0..64).filter(|unit| units >> unit & 1 == 1) {
            let at = (start + unit * UNIT_LEN).min(bytes.len());
            let end = (at + UNIT_LEN).min(bytes.len());
            bytes[at..end].copy_from_slice(&buffer[at - start..end - start]);
        }
    }
}

#[track_caller]
fn check_full(lab: &Lab, disk: &[u8]) {
    let mut source = lab.open(Tracking::Off, Vec::new()).expect("a VM");
    let mut found = vec![0; disk.len()];
    lay_over(&mut *source, &mut found).expect("a whole disk");
    assert!(found == disk, "the disk is another one");
    while source.next_disk().expect("the rest").is_some() {}
    lab.check_nothing_stays();
}

#[test]
fn holes_are_not_read() {
    let disk = disk_with(&[0, 2, 3]);
    let lab = Lab::new(&disk, vhd(&disk));
    check_full(&lab, &disk);
    let reads = lab.nbd.script().reads.clone();
    assert_eq!(reads.iter().map(|(_, len)| u64::from(*len)).sum::<u64>(), 9 << 20);
    lab.check_ways(&[("nbd", "")]);
}

#[test]
fn without_a_vhd_everything_is_read() {
    let disk = disk_with(&[0, 2, 3]);
    let small = vhd(&disk[..SEGMENT_LEN * 2]);
    for stream in [disk.clone(), small, vhd(&disk)[..1000].to_vec()] {
        let lab = Lab::new(&disk, stream);
        check_full(&lab, &disk);
        let reads = lab.nbd.script().reads.clone();
        assert_eq!(reads.iter().map(|(_, len)| u64::from(*len)).sum::<u64>(), 21 << 20);
        lab.check_ways(&[("nbd", "its holes are read, too")]);
    }
}

#[test]
fn what_nbd_does_not_give_comes_as_a_stream() {
    let disk = disk_with(&[2]);
    for (stream, way) in [(vhd(&disk), "vhd"), (disk.clone(), "raw")] {
        for first in 0..8 {
            let lab = Lab::new(&disk, stream.clone());
            lab.hang_up(first);
            check_full(&lab, &disk);
            let whole = if way == "vhd" { "" } else { "its holes are read, too" };
            lab.check_ways(&[("nbd", whole), (way, "NBD failed: ")]);
        }
    }
}

#[test]
fn nbd_that_gives_nothing_is_left_after_three_seconds_and_what_gives_something_is_kept() {
    let disk = disk_with(&[]);
    let lab = Lab::new(&disk, vhd(&disk));
    lab.hang_up(0);
    check_full(&lab, &disk);
    lab.check_ways(&[("nbd", ""), ("vhd", "NBD failed: ")]);
    let waited: Duration = lab.pauses.0.lock().expect("a lock").iter().sum();
    assert_eq!(waited, Duration::from_secs(3), "one connection and one renewal");

    // Six failures in a row end a connection for good; a segment that comes lets it fail as often.
    let lab = Lab::new(&disk, vhd(&disk));
    let failing = (0..6).flat_map(|segment| 8 * segment..8 * segment + 6);
    lab.nbd.script().faults = failing.map(|read| (read, Fault::HangUp)).collect();
    check_full(&lab, &disk);
    lab.check_ways(&[("nbd", "")]);
}

#[test]
fn a_host_that_refuses_the_disk_is_looked_for_anew_once() {
    let disk = disk_with(&[]);
    let other = Server::start(Script::new(disk.clone()));
    for is_elsewhere in [true, false] {
        let lab = Lab::new(&disk, vhd(&disk));
        lab.hang_up(2);
        let mut source = lab.open(Tracking::Off, Vec::new()).expect("a VM");
        lab.nbd.script().export = None;
        let asked = || lab.world.get().has_called("VDI.get_nbd_info");
        let before = asked();
        if is_elsewhere {
            lab.set("OpaqueRef:disk", "get_nbd_info", infos(&other));
        }
        let mut found = vec![0; disk.len()];
        lay_over(&mut *source, &mut found).expect("a whole disk");
        assert!(found == disk, "the disk is another one");
        assert_eq!(asked(), before + 1);
        match is_elsewhere {
            true => lab.check_ways(&[("nbd", "")]),
            false => lab.check_ways(&[("nbd", ""), ("vhd", "NBD failed: ")]),
        }
    }
}

#[test]
fn if_the_stream_fails_too_both_are_told() {
    let disk = disk_with(&[]);
    let lab = Lab::new(&disk, vhd(&disk));
    lab.hang_up(1);
    let mut source = lab.open(Tracking::Off, Vec::new()).expect("a VM");
    lab.world.get().outcome = Outcome::Failure("SR_BACKEND_FAILURE_46");
    let mut found = vec![0; disk.len()];
    let error = lay_over(&mut *source, &mut found).expect_err("no disk");
    assert!(error.to_string().contains("NBD failed: disk "), "{error}");
    assert!(format!("{error:?}").contains("SR_BACKEND_FAILURE_46"), "{error:?}");
    lab.world.get().outcome = Outcome::Success;
    drop(source);
    lab.check_nothing_stays();
}

#[test]
fn whoever_requires_changes_gets_no_stream() {
    let disk = disk_with(&[]);
    let lab = Lab::new(&disk, vhd(&disk));
    let version = lab.track(disk.len());
    lab.hang_up(0);
    let mut source = lab.open(Tracking::Require, vec![version]).expect("a VM");
    let error = lay_over(&mut *source, &mut before(&disk)).expect_err("no disk");
    assert!(format!("{error:?}").contains("by NBD"), "{error:?}");
    lab.check_ways(&[("nbd", "")]);
}

#[test]
fn changes_that_nbd_does_not_give_come_as_a_stream_and_no_more_than_they() {
    let disk = disk_with(&[1, 4]); // segment 4 has become a hole
    let named = CHANGED_UNITS.map(|(segment, _)| segment as u64);
    for first in 0..6 {
        let lab = Lab::new(&disk, vhd(&disk));
        let version = lab.track(disk.len());
        lab.hang_up(first);
        let mut source = lab.open(Tracking::Use, vec![version]).expect("a VM");
        let mut found = before(&disk);
        let numbers = lay_over(&mut *source, &mut found).expect("the changes");
        assert!(found == disk, "the disk is another one");
        assert_eq!(numbers, named);
        let ways: Vec<_> = lab.ways.0.lock().expect("a lock").clone();
        let changes_only = ways.iter().map(|way| way.1);
        let expected = if first < 5 { &[true, false][..] } else { &[true] }; // there are five reads
        assert!(changes_only.eq(expected.iter().copied()), "{ways:?}");
        check_doubted(&mut *source, &disk);
        lab.check_nothing_stays();
    }
}

/// Of a disk with a base, which NBD does not give any more, segments come in any order, and all of
/// it, once more.
#[track_caller]
fn check_doubted(source: &mut dyn Source, disk: &[u8]) {
    let mut buffer = vec![0xee; SEGMENT_LEN];
    for number in [0, 3, 4, 5, 1] {
        source.read_segment(number as u64, &mut buffer).expect("a segment");
        let mut expected = disk[number * SEGMENT_LEN..].to_vec();
        expected.resize(SEGMENT_LEN.max(expected.len()), 0);
        assert!(buffer == expected[..SEGMENT_LEN], "segment {number}");
    }
    source.distrust_base().expect("a disk");
    let mut found = vec![0; disk.len()];
    let numbers = lay_over(source, &mut found).expect("a whole disk");
    assert!(found == disk, "the disk is another one");
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([0, 2, 3, 5]));
    while source.next_disk().expect("the rest").is_some() {}
}

//! A VM disk by disk: the same as in one archive, and nothing of ours stays on the pool.

use std::sync::{Arc, Mutex};

use engine::source::{DiskInfo, NextSegment, Role, SEGMENT_LEN, Source, SourceError};

use super::host::Host;
use super::maker::Archive;
use super::world::{DISK_UUID, Shared, VM, connect};
use crate::xapi::options::{Event, Observer, SourceOptions, Transfer};
use crate::xapi::{Pool, Tracking};

/// Ways and reasons.
#[derive(Default)]
struct Ways(Mutex<Vec<(&'static str, String)>>);

impl Observer for Ways {
    fn event(&self, event: Event) {
        if let Event::DiskBegins { transfer, reason, .. } = event {
            self.0.lock().expect("a lock").push((transfer, reason));
        }
    }
}

fn world() -> (Shared, Host, Pool) {
    let world = Shared::new();
    let host = world.host();
    let mut archive = Archive::sample();
    archive.disks.truncate(1);
    world.get().export = archive.make();
    let (pool, _) = connect(&[&host]).expect("a session");
    (world, host, pool)
}

type Disks = Vec<(DiskInfo, Vec<u8>)>;

/// All disks and streams but the layout, with what is in them.
fn read(
    pool: &Pool,
    transfer: Transfer,
    tracking: Tracking,
) -> Result<(Disks, Arc<Ways>), SourceError> {
    let ways = Arc::new(Ways::default());
    let vm = pool.vms().expect("VMs").remove(0).record;
    let mut options = SourceOptions { transfer, ..SourceOptions::new(ways.clone()) };
    options.changes.tracking = tracking;
    let mut source = pool.source(&vm, options)?;
    let (mut disks, mut buffer) = (Vec::new(), vec![0; SEGMENT_LEN]);
    while let Some(info) = source.next_disk()? {
        let mut bytes = Vec::new();
        let size_bytes = loop {
            match source.next_segment(&mut buffer)? {
                NextSegment::Filled { number } => {
                    bytes.resize(number as usize * SEGMENT_LEN, 0);
                    bytes.extend_from_slice(&buffer);
                }
                NextSegment::End { size_bytes } => break size_bytes,
                other => panic!("{other:?} without a base"),
            }
        };
        bytes.resize(size_bytes as usize, 0);
        disks.push((info, bytes));
    }
    disks.retain(|(info, _)| info.role != Role::Layout);
    Ok((disks, ways))
}

#[track_caller]
fn check_nothing_stays(world: &Shared) {
    let world = world.get();
    assert_eq!(world.tasks.len(), 0, "tasks");
    let names: Vec<_> = world.objects.keys().map(|(_, name)| name.as_str()).collect();
    let own = ["OpaqueRef:pbd", "OpaqueRef:sr", "OpaqueRef:vbd", "OpaqueRef:vdi", VM];
    assert_eq!(names, own);
}

#[test]
fn disks_that_come_alone_are_those_of_the_archive() {
    let (world, _host, pool) = world();
    let (archived, _) = read(&pool, Transfer::Xva, Tracking::Off).expect("a whole VM");
    world.get().disk.clone_from(&archived[1].1);
    for transfer in [Transfer::Vdi, Transfer::Nbd] {
        let (alone, ways) = read(&pool, transfer, Tracking::Off).expect("a whole VM");
        assert_eq!(alone, archived, "{transfer:?}");
        assert_eq!(alone[1].0.key, DISK_UUID);
        let ways = ways.0.lock().expect("a lock");
        // What this host gives out is no VHD.
        assert!(ways[0].0 == "raw" && ways[0].1.contains("no VHD of it"), "{ways:?}");
    }
    check_nothing_stays(&world);
}

#[test]
fn a_device_may_be_larger_than_its_disk_and_not_smaller() {
    let (world, _host, pool) = world();
    let (archived, _) = read(&pool, Transfer::Xva, Tracking::Off).expect("a whole VM");
    for (len, is_whole) in [(SEGMENT_LEN * 3, true), (archived[1].1.len() - 512, false)] {
        let mut disk = archived[1].1.clone();
        disk.resize(len, 7);
        world.get().disk = disk;
        match read(&pool, Transfer::Vdi, Tracking::Off) {
            Ok((alone, _)) => assert!(is_whole && alone == archived, "{len}"),
            Err(error) => assert!(!is_whole, "{len}: {error}"),
        }
    }
    check_nothing_stays(&world);
}

#[test]
fn a_disk_without_tracking_is_not_read_where_that_is_required() {
    let (world, _host, pool) = world();
    let error = read(&pool, Transfer::Auto, Tracking::Require).err().expect("an error");
    assert!(format!("{error:?}").contains("tracking of its changes is off"), "{error:?}");
    check_nothing_stays(&world);
}

//! Which blocks of a disk hold data: NBD of hosts does not tell, the table at the beginning of a VHD
//! does (contract 4.2, 5.3).

use crate::disk::DiskReader;
use crate::source::read_error;
use crate::vhd::reader::VhdReader;
use crate::vhd::{BLOCK_LEN, DISK_LEN_MAX};
use crate::xapi::changed::{Part, UNIT_LEN, UNITS};
use crate::xapi::export::{self, VdiFormat};
use crate::xapi::exported::failed;
use crate::xapi::objects::VdiRecord;
use crate::xapi::session::Session;

use super::innermost;

/// Units of a block.
const BLOCK_UNITS: u64 = BLOCK_LEN as u64 / UNIT_LEN;
/// Blocks of a segment.
const BLOCKS: u64 = UNITS / BLOCK_UNITS;

const _: () = assert!(UNITS.is_multiple_of(BLOCK_UNITS), "segments are whole blocks");

/// What has to be read of a disk: the parts that may hold data, in order. The export that tells is
/// given up behind its table, before any data.
///
/// # Errors
///
/// Why that is not known, in words; everything has to be read then.
pub fn parts(session: &Session, name: &str, disk: &VdiRecord) -> Result<Vec<(u64, Part)>, String> {
    let size_bytes = disk.size_bytes;
    if size_bytes > DISK_LEN_MAX {
        return Err("it is too large for a VHD".to_owned());
    }
    let untold = |error| format!("no VHD of it: {}", innermost(&error));
    let stream = export::vdi(session, name, &disk.reference, VdiFormat::Vhd, None, size_bytes);
    let stream = stream.map_err(|error| untold(failed(name, error)))?;
    let table = VhdReader::of_stream(Box::new(stream));
    let table = table.map_err(|error| untold(read_error(name, error)))?;
    match table.size_bytes() {
        Some(found) if found >= size_bytes => Ok(plan(size_bytes, |from| table.next_data(from))),
        _ => Err("its VHD is smaller than it".to_owned()),
    }
}

/// The blocks that hold data by `next_data`, which tells where data begins at or after an offset.
fn plan(size_bytes: u64, next_data: impl Fn(u64) -> Option<u64>) -> Vec<(u64, Part)> {
    let mut parts: Vec<(u64, Part)> = Vec::new();
    let mut from = 0;
    while let Some(data) = next_data(from).filter(|data| *data < size_bytes) {
        let block = data / BLOCK_LEN as u64;
        let units = ((1 << BLOCK_UNITS) - 1) << (block % BLOCKS * BLOCK_UNITS);
        match parts.last_mut() {
            Some((number, Part::Allocated(known))) if *number == block / BLOCKS => *known |= units,
            _ => parts.push((block / BLOCKS, Part::Allocated(units))),
        }
        from = (block + 1) * BLOCK_LEN as u64;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LOW: u64 = u32::MAX as u64;
    const HIGH: u64 = LOW << 32;

    /// Data lies in `runs` of whole MiB, from and up to.
    #[track_caller]
    fn check(size: u64, runs: &[(u64, u64)], expected: &[(u64, u64)]) {
        let next = |from: u64| {
            let run = runs.iter().find(|run| run.1 * MIB > from);
            run.map(|run| from.max(run.0 * MIB))
        };
        let expected = expected.iter().map(|(number, units)| (*number, Part::Allocated(*units)));
        assert_eq!(plan(size * MIB, next), expected.collect::<Vec<_>>());
    }

    #[test]
    fn blocks_of_two_mib_are_read_where_there_is_data() {
        check(20, &[], &[]);
        check(20, &[(0, 2)], &[(0, LOW)]);
        check(20, &[(2, 4)], &[(0, HIGH)]);
        check(20, &[(2, 6), (14, 16)], &[(0, HIGH), (1, LOW), (3, HIGH)]);
        // Blocks of other sizes.
        check(20, &[(8, 16)], &[(2, LOW | HIGH), (3, LOW | HIGH)]);
        check(20, &[(7, 8), (8, 9)], &[(1, HIGH), (2, LOW)]);
        // What lies behind the end of the disk.
        check(5, &[(4, 6), (6, 8)], &[(1, LOW)]);
    }
}

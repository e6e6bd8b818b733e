//! Room on storage repositories, seen to before anything is done (contract 8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::XapiError;
use super::objects::{PbdRecord, SrRecord, VdiRecord};
use super::options::{Event, SourceOptions};
use super::session::Session;
use super::snapshot::record;
use super::task;
use super::value::Value;

/// Kinds of storage on which every disk and every snapshot takes its whole size.
pub const THICK: [&str; 4] = ["lvm", "lvmoiscsi", "lvmohba", "lvmofcoe"];

/// The storage repositories that were scanned, so that each is scanned once. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Scans(Arc<Mutex<BTreeSet<String>>>);

impl Scans {
    /// Whether `sr` is not among them. It is from now on.
    fn is_new(&self, sr: &str) -> bool {
        let mut scanned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scanned.insert(sr.to_owned())
    }
}

/// Sees that there is room for a snapshot of `disks`. Hosts know how full a storage repository is
/// since its last scan.
///
/// # Errors
///
/// [`XapiError::NoRoom`], [`XapiError::NotAttached`], or what the pool said. That it could not be
/// scanned is only told to the observer: some users may not.
pub fn check(
    session: &Session,
    scans: &Scans,
    disks: &[VdiRecord],
    options: &SourceOptions,
) -> Result<(), XapiError> {
    for (sr, bytes) in sizes(disks) {
        if options.scan && scans.is_new(sr) {
            let label = "scan of a storage repository";
            if let Err(error) = task::run(session, label, "SR.scan", &[Value::from(sr)]) {
                let sr = record::<SrRecord>(session, sr)?.name;
                options.observer.event(Event::NotScanned { sr, error });
            }
        }
        if options.force {
            continue;
        }
        let sr: SrRecord = record(session, sr)?;
        check_attached(session, &sr)?;
        check_room(&sr, bytes, options.min_free_percent)?;
    }
    Ok(())
}

/// Virtual sizes of disks by their storage repositories, in bytes.
fn sizes(disks: &[VdiRecord]) -> BTreeMap<&str, u64> {
    let mut sizes = BTreeMap::new();
    for disk in disks {
        if let Some(sr) = &disk.sr {
            let bytes: &mut u64 = sizes.entry(&**sr).or_default();
            *bytes = bytes.saturating_add(disk.size_bytes);
        }
    }
    sizes
}

fn check_attached(session: &Session, sr: &SrRecord) -> Result<(), XapiError> {
    for pbd in &sr.pbds {
        match record::<PbdRecord>(session, pbd) {
            Ok(pbd) if pbd.is_attached => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    Err(XapiError::NotAttached { sr: sr.name.clone() })
}

/// Whether `sr` has room for a snapshot of disks of `size_bytes` (virtual) in all. What a snapshot
/// on thin storage will take is not known; there, a share of the whole has to be free.
fn check_room(sr: &SrRecord, size_bytes: u64, min_free_percent: u8) -> Result<(), XapiError> {
    // Some kinds of storage do not tell their size.
    if sr.size_bytes == 0 {
        return Ok(());
    }
    let free_bytes = sr.size_bytes.saturating_sub(sr.used_bytes);
    let needed_bytes = if THICK.contains(&&*sr.kind) {
        size_bytes
    } else {
        sr.size_bytes / 100 * u64::from(min_free_percent)
    };
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(XapiError::NoRoom { sr: sr.name.clone(), needed_bytes, free_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[track_caller]
    fn check(kind: &str, size_gib: u64, used_gib: u64, disks_gib: u64, expected: Result<(), &str>) {
        let sr = SrRecord {
            reference: "r".into(),
            uuid: "u".into(),
            name: "nfs".into(),
            kind: kind.into(),
            content_type: "user".into(),
            is_shared: true,
            size_bytes: size_gib * GIB,
            used_bytes: used_gib * GIB,
            pbds: Vec::new(),
            uses_vhd: None,
        };
        let found = check_room(&sr, disks_gib * GIB, 5).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{kind} {size_gib} {used_gib}");
    }

    #[test]
    fn thick_storage_needs_the_sizes_of_all_disks() {
        let error = Err("a snapshot needs 214.0 GiB, SR nfs has 180.0 GiB");
        for kind in THICK {
            check(kind, 1000, 820, 180, Ok(()));
            check(kind, 1000, 820, 214, error);
        }
    }

    #[test]
    fn thin_storage_needs_a_share_of_itself() {
        for kind in ["ext", "nfs", "linstor", ""] {
            check(kind, 1000, 950, 4000, Ok(()));
            check(kind, 1000, 951, 1, Err("a snapshot needs 50.0 GiB, SR nfs has 49.0 GiB"));
            check(kind, 1000, 2000, 1, Err("a snapshot needs 50.0 GiB, SR nfs has 0 B"));
        }
    }

    #[test]
    fn storage_that_does_not_tell_its_size_is_believed() {
        check("lvm", 0, 0, 100, Ok(()));
        check("smb", 0, 0, 100, Ok(()));
    }

    #[test]
    fn each_is_scanned_once() {
        let scans = Scans::default();
        assert!(scans.is_new("a") && scans.is_new("b"));
        assert!(!scans.clone().is_new("a"));
    }
}

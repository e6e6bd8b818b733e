//! How disks can be read: all of them or what has changed, by NBD or not.

use xen_source::xapi::objects::NetworkRecord;
use xen_source::xapi::{Disk, Session, Vm, probe};

use super::as_failure;
use super::finding::Finding;

/// Of how many disks changes are tracked, and could be.
pub fn tracking(session: &Session, vms: &[Vm]) -> Finding {
    // Older hosts do not say what their drivers can do; that is no fault.
    let kinds = match probe::tracking_kinds(session) {
        Err(error) if error.api().is_none() => {
            return Finding::failed("cbt", &as_failure(error));
        }
        answer => answer.ok().filter(|kinds| !kinds.is_empty()),
    };
    let disks: Vec<&Disk> = vms.iter().flat_map(|vm| &vm.disks).collect();
    let able = kinds.map(|kinds| {
        let is_able = |disk: &&&Disk| disk.sr.as_ref().is_some_and(|sr| kinds.contains(&sr.kind));
        disks.iter().filter(is_able).count()
    });
    let enabled = disks.iter().filter(|disk| disk.record.has_cbt).count();
    Finding::Tracking { disks: disks.len(), able, enabled }
}

/// Which networks are for NBD, and whether a disk can be had there.
pub fn nbd(session: &Session, networks: &[NetworkRecord], vms: &[Vm]) -> Finding {
    let with = |purpose: &str| -> Vec<String> {
        let is_for = |network: &&NetworkRecord| network.purposes.iter().any(|it| it == purpose);
        networks.iter().filter(is_for).map(|network| network.name.clone()).collect()
    };
    let (secure, insecure) = (with("nbd"), with("insecure_nbd"));
    let disk = vms.iter().flat_map(|vm| &vm.disks).next();
    let is_offered = !(secure.is_empty() && insecure.is_empty());
    let ways = match disk.filter(|_| is_offered) {
        None => None,
        Some(disk) => match probe::nbd_ways(session, &disk.record) {
            Ok(ways) => Some(ways),
            Err(error) => return Finding::failed("nbd", &as_failure(error)),
        },
    };
    Finding::Nbd { secure, insecure, ways }
}

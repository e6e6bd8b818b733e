//! What a pool has that a restore has to know.

use crate::xapi::error::XapiError;
use crate::xapi::objects::{
    HostRecord, NetworkRecord, PbdRecord, PoolRecord, Record, SrRecord, VbdRecord, VdiRecord,
    VifRecord, VmRecord, records,
};
use crate::xapi::session::Session;
use crate::xapi::time;

/// Facts about a pool, all of one moment.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The pool itself.
    pub pool: PoolRecord,
    /// Its members.
    pub hosts: Vec<HostRecord>,
    /// Its storage.
    pub srs: Vec<SrRecord>,
    /// What joins storage and hosts.
    pub pbds: Vec<PbdRecord>,
    /// Its networks.
    pub networks: Vec<NetworkRecord>,
    /// VMs, snapshots, templates and hosts' own domains.
    pub vms: Vec<VmRecord>,
    /// Network cards of VMs.
    pub vifs: Vec<VifRecord>,
    /// Drives.
    pub vbds: Vec<VbdRecord>,
    /// Disks.
    pub vdis: Vec<VdiRecord>,
    /// What the coordinator's clock says; empty if it does not tell.
    pub now: String,
}

impl Inventory {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What the pool said.
    pub fn read(session: &Session) -> Result<Self, XapiError> {
        Ok(Self {
            pool: all::<PoolRecord>(session)?.into_iter().next().unwrap_or_else(|| session.pool()),
            hosts: all(session)?,
            srs: all(session)?,
            pbds: all(session)?,
            networks: all(session)?,
            vms: all(session)?,
            vifs: all(session)?,
            vbds: all(session)?,
            vdis: all(session)?,
            now: time::now(session),
        })
    }

    /// xapi's version on the coordinator, major and minor, if it tells.
    pub fn xapi_version(&self) -> Option<(u64, u64)> {
        let is_coordinator =
            |host: &&HostRecord| self.pool.coordinator.as_ref() == Some(&host.reference);
        let host = self.hosts.iter().find(is_coordinator)?;
        let mut numbers = host.versions.get("xapi")?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

fn all<R: Record>(session: &Session) -> Result<Vec<R>, XapiError> {
    records(&session.call(&format!("{}.get_all_records", R::CLASS), &[])?)
}

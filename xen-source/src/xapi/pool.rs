//! A pool as the command line sees it.

use std::collections::BTreeMap;

use engine::source::SourceError;

use super::address::Address;
use super::error::XapiError;
use super::export::{self, Download};
use super::leftovers::{self, Leftover};
use super::objects::records;
use super::objects::{HostRecord, PoolRecord, Record, SrRecord, VbdRecord, VdiRecord, VmRecord};
use super::options::SourceOptions;
use super::request::Settings;
use super::session::{Login, Pause, RealPause, Session};
use super::source::PoolSource;
use super::storage::Scans;
use super::value::Value;

/// A pool that we are logged in to.
#[derive(Debug, Clone)]
pub struct Pool {
    session: Session,
    scans: Scans,
}

/// A VM with its disks.
#[derive(Debug, Clone)]
pub struct Vm {
    /// Name, uuid, tags, power state.
    pub record: VmRecord,
    /// In the order of their places in the VM.
    pub disks: Vec<Disk>,
}

/// A disk of a VM.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The disk.
    pub record: VdiRecord,
    /// Its place in the VM, such as `0`.
    pub userdevice: String,
    /// Where it lies.
    pub sr: Option<SrRecord>,
}

/// Logs in to the pool that has a member at one of the addresses (contract 1.3, 1.4).
///
/// # Errors
///
/// What the last address said; a refused password at once.
pub fn connect(login: Login, settings: Settings) -> Result<Pool, XapiError> {
    connect_with(login, settings, Box::new(RealPause))
}

/// The same, waiting by `pause`.
///
/// # Errors
///
/// As [`connect`].
pub fn connect_with(
    login: Login,
    settings: Settings,
    pause: Box<dyn Pause>,
) -> Result<Pool, XapiError> {
    Ok(Pool { session: Session::open(login, settings, pause)?, scans: Scans::default() })
}

impl Pool {
    /// For calls that have no method here.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The pool's own record.
    pub fn record(&self) -> PoolRecord {
        self.session.pool()
    }

    /// Its members.
    ///
    /// # Errors
    ///
    /// What the pool said; so below.
    pub fn hosts(&self) -> Result<Vec<HostRecord>, XapiError> {
        self.all()
    }

    /// Names of its members and the memory that each has for VMs to come, in bytes.
    pub fn free_memory(&self) -> Result<Vec<(String, u64)>, XapiError> {
        let free = |host: HostRecord| {
            let own = [Value::from(&*host.reference)];
            let bytes = self.session.call("host.compute_free_memory", &own)?.int().unwrap_or(0);
            Ok((host.name, u64::try_from(bytes).unwrap_or(0)))
        };
        self.hosts()?.into_iter().map(free).collect()
    }

    /// Its VMs, by name: no templates, no snapshots, no control domains.
    pub fn vms(&self) -> Result<Vec<Vm>, XapiError> {
        self.with_disks(|vm| !vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain)
    }

    /// The templates that people made, by name: not those that came with the product.
    pub fn templates(&self) -> Result<Vec<Vm>, XapiError> {
        self.with_disks(|vm| {
            let note = vm.other_config.get("default_template");
            let is_default = vm.is_default_template || note.is_some_and(|note| note == "true");
            vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain && !is_default
        })
    }

    fn with_disks(&self, is_one: impl Fn(&VmRecord) -> bool) -> Result<Vec<Vm>, XapiError> {
        let vms = self.all::<VmRecord>()?.into_iter();
        let vbds = self.all::<VbdRecord>()?;
        let vdis = by_reference(self.all::<VdiRecord>()?, |vdi| &vdi.reference);
        let srs = by_reference(self.all::<SrRecord>()?, |sr| &sr.reference);
        let vbds = by_reference(vbds, |vbd| &vbd.reference);
        let mut found: Vec<Vm> = vms
            .filter(is_one)
            .map(|record| {
                let disks = disks_of(&record, &vbds, &vdis, &srs);
                Vm { record, disks }
            })
            .collect();
        found.sort_by(|a, b| {
            (&a.record.name, &a.record.uuid).cmp(&(&b.record.name, &b.record.uuid))
        });
        Ok(found)
    }

    /// Reads a VM by a snapshot, which is taken now, or a template. When the source is dropped
    /// nothing of it stays on the pool; see [`PoolSource`].
    ///
    /// # Errors
    ///
    /// [`SourceError::Io`], whose source is an [`XapiError`] if the pool refused.
    pub fn source(&self, vm: &VmRecord, options: SourceOptions) -> Result<PoolSource, SourceError> {
        PoolSource::open(&self.session, &self.scans, vm, options)
    }

    /// What earlier backups left behind, and what those at work have there now.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, XapiError> {
        leftovers::find(&self.session)
    }

    /// Removes one of them, or starts it if it is a VM that was shut down.
    pub fn remove(&self, leftover: &Leftover) -> Result<(), XapiError> {
        leftovers::remove(&self.session, leftover)
    }

    /// The pool's database. Contains secrets (contract 7).
    pub fn database(&self) -> Result<Download, XapiError> {
        export::database(&self.session)
    }

    /// The records of all VMs (contract 2.2).
    pub fn metadata(&self) -> Result<Download, XapiError> {
        export::metadata(&self.session, None)
    }

    /// The system of a member (contract 7).
    pub fn host_backup(&self, host: &HostRecord) -> Result<Download, XapiError> {
        let address = Address::parse(&host.address)?.with_port_of(&self.session.coordinator());
        export::host(&self.session, &address)
    }

    fn all<R: Record>(&self) -> Result<Vec<R>, XapiError> {
        records(&self.session.call(&format!("{}.get_all_records", R::CLASS), &[])?)
    }
}

fn by_reference<R>(records: Vec<R>, reference: impl Fn(&R) -> &String) -> BTreeMap<String, R> {
    records.into_iter().map(|record| (reference(&record).clone(), record)).collect()
}

fn disks_of(
    vm: &VmRecord,
    vbds: &BTreeMap<String, VbdRecord>,
    vdis: &BTreeMap<String, VdiRecord>,
    srs: &BTreeMap<String, SrRecord>,
) -> Vec<Disk> {
    let vbds = vm.vbds.iter().filter_map(|vbd| vbds.get(vbd)).filter(|vbd| vbd.is_disk);
    let mut disks: Vec<Disk> = vbds
        .filter_map(|vbd| {
            let record = vdis.get(vbd.vdi.as_ref()?)?.clone();
            let sr = record.sr.as_ref().and_then(|sr| srs.get(sr)).cloned();
            Some(Disk { record, userdevice: vbd.userdevice.clone(), sr })
        })
        .collect();
    let place = |disk: &Disk| disk.userdevice.parse().unwrap_or(u32::MAX);
    disks.sort_by_key(place);
    disks
}

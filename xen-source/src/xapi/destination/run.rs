//! Walks a plan.

use std::io;

use engine::source::{Content, ContentError};

use super::restored::Trouble;
use super::send::{deliver, send};
use super::{Event, Observer, Plan, RestoreError, Restored, RestoredDisk, Step, TargetDisk};
use super::{devices, made, verify};
use crate::sink::write_for_pool;
use crate::xapi::error::XapiError;
use crate::xapi::import::{self, Identity};
use crate::xapi::limits::SHUTDOWN_TIMEOUT;
use crate::xapi::objects::{PowerState, VbdRecord, VdiRecord, VmRecord};
use crate::xapi::origin::ORIGIN;
use crate::xapi::power;
use crate::xapi::session::Session;
use crate::xapi::snapshot::{BY, MARK, POWER_MARK, TAKING, record};
use crate::xapi::task;
use crate::xapi::unfinished::{RESTORE, unmark};
use crate::xapi::value::Value;
use crate::xva::ova::for_pool::ForPool;

/// Walks `plan`. Nothing that it made stays when it fails, and a VM that was to be replaced is as
/// before; what cannot be made so goes to the observer. A VM that is whole and does not start stays.
///
/// # Errors
///
/// [`RestoreError`].
pub fn restore(
    session: &Session,
    content: &dyn Content,
    plan: &Plan,
    observer: &dyn Observer,
) -> Result<Restored, RestoreError> {
    let disks = plan.disks.iter().map(|_| None).collect();
    let mut run = Run { session, content, plan, observer, vm: None, disks, old: Old::AsBefore };
    for (number, step) in plan.steps.iter().enumerate() {
        observer.event(Event::Begins { number, step: step.clone() });
        let Err(trouble) = run.step_unless_stopped(step) else { continue };
        match (step, trouble) {
            (Step::Unmark, Trouble::Pool(error)) => {
                observer.event(Event::MarkStays { of_vm: plan.has_vm, error });
            }
            (Step::DestroyReplaced { name }, Trouble::Pool(error)) => {
                observer.event(Event::ReplacedStays { name: name.clone(), error });
            }
            (Step::Start { .. }, Trouble::Pool(source)) => {
                let uuid = run.vm.map(|vm| vm.uuid).unwrap_or_default();
                let (name, source) = (plan.name.clone(), Box::new(source));
                return Err(RestoreError::NotStarted { name, uuid, source });
            }
            (step, trouble) => {
                run.undo();
                return Err(trouble.of(step));
            }
        }
    }
    Ok(run.restored())
}

/// A restore that is under way.
struct Run<'a> {
    session: &'a Session,
    content: &'a dyn Content,
    plan: &'a Plan,
    observer: &'a dyn Observer,
    vm: Option<VmRecord>,
    /// What has become of the disks of the plan.
    disks: Vec<Option<Made>>,
    old: Old,
}

struct Made {
    record: VdiRecord,
    is_verified: bool,
}

/// What has become of the VM that is replaced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Old {
    AsBefore,
    ShutDown,
    Renamed,
}

impl Run<'_> {
    /// Until the VM is whole, somebody may stop it.
    fn step_unless_stopped(&mut self, step: &Step) -> Result<(), Trouble> {
        let is_whole =
            matches!(step, Step::DestroyReplaced { .. } | Step::Unmark | Step::Start { .. });
        if !is_whole && self.observer.is_stopped() {
            return Err(ContentError::Output(io::ErrorKind::Interrupted.into()).into());
        }
        self.step(step)
    }

    fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Import { .. } => self.import(&self.places()),
            Step::ImportRecord { .. } => self.import(&[]),
            Step::SendDisk { number, .. } => self.send_disk(*number),
            Step::AddCard { number, .. } => {
                let card = &self.plan.cards[*number];
                devices::create_card(self.session, self.vm()?, card)?;
                Ok(())
            }
            Step::Verify { number, .. } => self.verify(*number),
            Step::ShutDown { .. } => self.shut_down(),
            Step::Rename { name } => self.rename(self.vm()?, name),
            Step::Swap { name, replaced } => self.swap(name, replaced),
            Step::DestroyReplaced { .. } => match &self.plan.replaced {
                Some(old) => {
                    Ok(made::destroy_replaced(self.session, &self.plan.mark, &old.reference)?)
                }
                None => Ok(()),
            },
            Step::Unmark => self.unmark(),
            Step::Start { is_paused } => self.start(self.vm()?, *is_paused),
        }
    }

    /// Places of the plan's disks in the content.
    fn places(&self) -> Vec<usize> {
        self.plan.disks.iter().map(|target| target.disk.place).collect()
    }

    fn vm(&self) -> Result<&str, Trouble> {
        let missing = XapiError::Record { field: "imported VM" };
        self.vm.as_ref().map(|vm| &*vm.reference).ok_or(Trouble::Pool(missing))
    }

    /// The VM, with the disks at these places.
    fn import(&mut self, places: &[usize]) -> Result<(), Trouble> {
        let (session, plan) = (self.session, self.plan);
        let name = plan.name_meanwhile();
        let identity = if plan.uuid.is_some() { Identity::Same } else { Identity::New };
        if let Some(uuid) = &plan.uuid
            && session.call("VM.get_by_uuid", &[Value::from(&**uuid)]).is_ok()
        {
            // The host would destroy it (contract 2.3).
            return Err(Trouble::Taken { uuid: uuid.clone() });
        }
        let wanted = ForPool {
            name: &name,
            uuid: plan.uuid.as_deref(),
            is_suspended: plan.has_memory,
            mark: (RESTORE, &plan.mark),
            version: plan.claimed_version,
            checksum: plan.checksum,
            dropped_notes: &[RESTORE, MARK, BY, TAKING, POWER_MARK, ORIGIN],
        };
        let import = import::vm(session, &plan.name, Some(&plan.record_sr.uuid), identity)?;
        deliver(import, |out| write_for_pool(self.content, out, places, &wanted))?;
        // By its mark, since results of tasks may be lost.
        let (vms, _) = made::find(session, &plan.mark)?;
        let vm = vms.into_iter().next().ok_or(XapiError::Record { field: "imported VM" })?;
        made::mark::<VmRecord>(session, &vm.reference, &vm.uuid)?;
        if !places.is_empty() {
            self.take_disks(&vm)?;
        }
        self.vm = Some(vm);
        Ok(())
    }

    /// Finds the plan's disks in the drives of the imported VM.
    fn take_disks(&mut self, vm: &VmRecord) -> Result<(), Trouble> {
        let drives: Result<Vec<VbdRecord>, _> =
            vm.vbds.iter().map(|vbd| record(self.session, vbd)).collect();
        let drives = drives?;
        for (number, TargetDisk { disk, .. }) in self.plan.disks.iter().enumerate() {
            let is_its = |vbd: &&VbdRecord| vbd.is_disk && vbd.userdevice == disk.userdevice;
            let vdi = match disk.is_memory {
                true => vm.suspend_vdi.as_ref(),
                false => drives.iter().find(is_its).and_then(|vbd| vbd.vdi.as_ref()),
            };
            let vdi = vdi.ok_or(XapiError::Record { field: "disk of the imported VM" })?;
            self.take(number, vdi)?;
        }
        Ok(())
    }

    fn take(&mut self, number: usize, vdi: &str) -> Result<(), Trouble> {
        let record: VdiRecord = record(self.session, vdi)?;
        made::mark::<VdiRecord>(self.session, vdi, &record.uuid)?;
        self.disks[number] = Some(Made { record, is_verified: false });
        Ok(())
    }

    fn send_disk(&mut self, number: usize) -> Result<(), Trouble> {
        let target = &self.plan.disks[number];
        let vdi = devices::create_disk(self.session, target, &self.plan.mark)?;
        self.take(number, &vdi)?;
        let place = target.disk.place;
        let id = id_of_vhd(&self.plan.mark, number);
        send(self.session, self.content, place, &vdi, target.form, id)?;
        if let Some(vm) = &self.vm {
            devices::create_drive(self.session, &vm.reference, &vdi, target)?;
        }
        Ok(())
    }

    fn verify(&mut self, number: usize) -> Result<(), Trouble> {
        let place = self.plan.disks[number].disk.place;
        if let Some(made) = &mut self.disks[number] {
            verify::verify(self.session, self.content, place, &made.record)?;
            made.is_verified = true;
        }
        Ok(())
    }

    fn shut_down(&mut self) -> Result<(), Trouble> {
        let Some(old) = &self.plan.replaced else { return Ok(()) };
        let vm: VmRecord = record(self.session, &old.reference)?;
        self.old = Old::ShutDown; // it may end while we are told that it failed
        Ok(power::shut_down(self.session, &vm, SHUTDOWN_TIMEOUT)?)
    }

    fn swap(&mut self, name: &str, replaced: &str) -> Result<(), Trouble> {
        if let Some(old) = &self.plan.replaced {
            self.old = Old::Renamed;
            self.rename(&old.reference, replaced)?;
        }
        self.rename(self.vm()?, name)
    }

    fn rename(&self, vm: &str, name: &str) -> Result<(), Trouble> {
        let params = [Value::from(vm), Value::from(name)];
        self.session.call("VM.set_name_label", &params)?;
        Ok(())
    }

    /// Takes all marks away, in a second try those that stayed: somebody may take a disk of no VM that keeps its mark
    /// for one that was not finished.
    fn unmark(&self) -> Result<(), Trouble> {
        let disks = self.disks.iter().flatten().map(|made| ("VDI", &*made.record.reference));
        let vm = self.vm.iter().map(|vm| ("VM", &*vm.reference));
        let mut marked: Vec<_> = disks.chain(vm).collect();
        marked.retain(|(class, reference)| unmark(self.session, class, reference).is_err());
        let again = marked.iter().map(|(class, own)| unmark(self.session, class, own));
        Ok(again.fold(Ok(()), Result::and)?)
    }

    fn start(&self, vm: &str, is_paused: bool) -> Result<(), Trouble> {
        let label = format!("start of {}", self.plan.name);
        let params = [Value::from(vm), Value::from(is_paused), Value::from(false)];
        task::run(self.session, &label, "VM.start", &params)?;
        Ok(())
    }

    /// Takes away what was made, and puts the VM that was to be replaced back.
    fn undo(&self) {
        made::remove(self.session, &self.plan.mark, self.observer);
        let Some(old) = self.plan.replaced.as_ref().filter(|_| self.old > Old::AsBefore) else {
            return;
        };
        let is_back = match self.old {
            Old::Renamed => self.rename(&old.reference, &old.name),
            Old::ShutDown | Old::AsBefore => Ok(()),
        };
        let is_back = is_back.and_then(|()| {
            let now: VmRecord = record(self.session, &old.reference)?;
            match old.is_shut_down && now.power_state == PowerState::Halted {
                true => self.start(&old.reference, false),
                false => Ok(()),
            }
        });
        if let Err(Trouble::Pool(error)) = is_back {
            self.observer.event(Event::NotBack { name: old.name.clone(), error });
        }
    }

    fn restored(self) -> Restored {
        let Self { plan, vm, disks, .. } = self;
        let kept = plan.replaced.as_ref().filter(|old| !old.is_destroyed);
        let disks = plan.disks.iter().zip(disks).filter_map(|(target, made)| {
            let Made { record, is_verified } = made?;
            Some(RestoredDisk {
                place: target.disk.place,
                name: target.disk.name.clone(),
                reference: record.reference,
                uuid: record.uuid,
                sr: target.sr.name.clone(),
                size_bytes: target.disk.size_bytes,
                is_verified,
            })
        });
        Restored {
            name: plan.name.clone(),
            disks: disks.collect(),
            macs: plan.cards.iter().map(|card| card.mac.clone()).collect(),
            replaced: kept.map(|old| (old.uuid.clone(), old.new_name.clone())),
            is_started: plan.steps.iter().any(|step| matches!(step, Step::Start { .. })),
            reference: vm.as_ref().map(|vm| vm.reference.clone()),
            uuid: vm.map(|vm| vm.uuid),
        }
    }
}

/// An id that the VHDs of one restore do not share.
fn id_of_vhd(mark: &str, number: usize) -> [u8; 16] {
    let uuid = mark.split([' ', ':']).next().unwrap_or_default();
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    let base = u128::from_str_radix(&digits, 16).unwrap_or_default();
    base.wrapping_add(number as u128).to_be_bytes()
}

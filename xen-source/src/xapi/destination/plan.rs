//! What a restore will do: decided before anything is done.

mod cards;
mod identity;
mod storage;

use super::{
    After, Inventory, Objection, Scope, Step, StoredCard, StoredVm, VmDisk, Wish, WishedForm,
};
use crate::xapi::unfinished::{MEANWHILE, mark_of};
use crate::xva::checksum::ChecksumKind;
use crate::xva::ova::seed::Seed;

/// How a VM comes into the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In one stream.
    Xva,
    /// Record first, then disk by disk.
    Disks,
}

/// What a restore will do. Made by [`plan()`] only.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name that the VM will have.
    pub name: String,
    /// How it comes.
    pub way: Way,
    /// Whether there will be a VM.
    pub has_vm: bool,
    /// Where the VM's record goes.
    pub record_sr: TargetSr,
    /// The disks that come, and where they go.
    pub disks: Vec<TargetDisk>,
    /// The network cards that it will have.
    pub cards: Vec<Card>,
    /// The uuid that it keeps, if it does.
    pub uuid: Option<String>,
    /// The VM that it replaces.
    pub replaced: Option<Replaced>,
    /// What becomes of it when it is there.
    pub after: After,
    /// Whether its memory comes along.
    pub has_memory: bool,
    /// The version of xapi that its record claims, if not its own.
    pub claimed_version: Option<(u64, u64)>,
    /// Checksums that the pool knows.
    pub(super) checksum: ChecksumKind,
    /// Whether every disk is read back.
    pub verify: bool,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// The VM's memory, in bytes.
    pub memory_bytes: u64,
    /// The note that tells what this restore has made.
    pub(super) mark: String,
}

/// An SR that disks go to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetSr {
    /// Names it until xapi restarts.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// What people call it.
    pub name: String,
}

/// How a disk is sent that is sent alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskForm {
    /// Raw, only what is no hole.
    Sparse,
    /// Raw, every byte.
    Raw,
    /// As VHD.
    Vhd,
}

/// A disk, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetDisk {
    /// The stored disk.
    pub disk: VmDisk,
    /// Where it goes.
    pub sr: TargetSr,
    /// How it is sent if it is sent alone.
    pub form: DiskForm,
}

/// A network card to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// As it was.
    pub stored: StoredCard,
    /// Its network's reference.
    pub network: String,
    /// Its network's uuid.
    pub network_uuid: String,
    /// Its network's name.
    pub network_name: String,
    /// The address that it will have.
    pub mac: String,
}

/// A VM that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Names it until xapi restarts.
    pub reference: String,
    /// Names it for ever.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The name that it gets.
    pub new_name: String,
    /// Whether it is shut down first.
    pub is_shut_down: bool,
    /// Whether it is destroyed, with its disks, in the end.
    pub is_destroyed: bool,
}

/// Decides how `vm` comes into the pool.
///
/// # Errors
///
/// All that speaks against it.
pub fn plan(pool: &Inventory, vm: &StoredVm, wish: &Wish) -> Result<Plan, Vec<Objection>> {
    let mut against = Vec::new();
    let has_vm = wish.scope == Scope::Vm;
    let mut seed = Seed::new(wish.seed);
    let mark = mark_of(&seed.uuid(), &pool.now);
    let replaced = identity::replaced(pool, vm, wish, &mut against);
    identity::check(pool, vm, wish, &mut against);
    let claimed_version = identity::claimed_version(pool, vm, wish, &mut against);
    let (record_sr, disks) = storage::targets(pool, vm, wish, &mut against);
    let cards = match has_vm {
        true => cards::cards(pool, vm, wish, &mut seed, replaced.as_ref(), &mut against),
        false => Vec::new(),
    };
    let has_memory = disks.iter().any(|target| target.disk.is_memory);
    let is_together = disks.iter().all(|target| target.sr.uuid == record_sr.uuid);
    let way = match has_vm && is_together && wish.form == WishedForm::Auto {
        true => Way::Xva,
        false => Way::Disks,
    };
    if has_memory && way == Way::Disks {
        against.push(Objection::MemoryNeedsOneSr);
    }
    if !has_vm && disks.is_empty() {
        against.push(Objection::NothingChosen);
    }
    against.retain(|objection| !(wish.force && objection.may_be_wrong()));
    if !against.is_empty() {
        return Err(against);
    }
    let mut plan = Plan {
        name: wish.name.as_ref().unwrap_or(&vm.name).clone(),
        way,
        has_vm,
        record_sr,
        disks,
        cards,
        uuid: vm.uuid.clone().filter(|_| wish.keep_uuid && has_vm),
        replaced,
        after: wish.after,
        has_memory,
        claimed_version,
        checksum: identity::checksum(pool),
        verify: wish.verify,
        steps: Vec::new(),
        memory_bytes: vm.memory_bytes,
        mark,
    };
    plan.steps = plan.steps_in_order();
    Ok(plan)
}

impl Plan {
    /// What the VM is called until it is whole.
    pub fn name_meanwhile(&self) -> String {
        format!("{MEANWHILE}{}", self.name)
    }

    fn steps_in_order(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let (name, sr) = (self.name_meanwhile(), self.record_sr.name.clone());
        match self.way {
            Way::Xva => steps.push(Step::Import { name, sr }),
            Way::Disks if self.has_vm => steps.push(Step::ImportRecord { name }),
            Way::Disks => {}
        }
        let named = |number: usize| {
            let TargetDisk { disk, sr, .. } = &self.disks[number];
            (disk.name.clone(), sr.name.clone())
        };
        if self.way == Way::Disks {
            steps.extend((0..self.disks.len()).map(|number| {
                let (disk, sr) = named(number);
                Step::SendDisk { number, disk, sr }
            }));
        }
        steps.extend(self.cards.iter().enumerate().map(|(number, card)| {
            let (device, network) = (card.stored.device.clone(), card.network_name.clone());
            Step::AddCard { number, device, network }
        }));
        if self.verify {
            steps.extend((0..self.disks.len()).map(|number| {
                let (disk, _) = named(number);
                Step::Verify { number, disk }
            }));
        }
        self.end_with(&mut steps);
        steps
    }

    /// What follows when the VM and its disks are there.
    fn end_with(&self, steps: &mut Vec<Step>) {
        let name = self.name.clone();
        match &self.replaced {
            Some(old) => {
                let replaced = old.new_name.clone();
                if old.is_shut_down {
                    steps.push(Step::ShutDown { vm: old.name.clone() });
                }
                steps.push(Step::Swap { name, replaced: replaced.clone() });
                steps.push(Step::Unmark);
                // The old one goes when nobody can take the new one for unfinished any more.
                if old.is_destroyed {
                    steps.push(Step::DestroyReplaced { name: replaced });
                }
            }
            None => {
                steps.extend(self.has_vm.then_some(Step::Rename { name }));
                steps.push(Step::Unmark);
            }
        }
        match self.after {
            After::Start if self.has_vm => steps.push(Step::Start { is_paused: false }),
            After::StartPaused if self.has_vm => steps.push(Step::Start { is_paused: true }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! What speaks for and against a fail-over, summed over all VMs. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use xen_source::xapi::destination::{DiskForm, Inventory, Objection, Plan, Wish, plan};
use xen_source::xapi::fail_over::{place, sum};
use xen_source::xapi::storage::THICK;

use super::candidate::{Candidate, Found};
use crate::advice::Objections;
use crate::clock;
use crate::report::short_id;
use crate::size;
use crate::text::{Align, Table};

/// What would become of a fail-over.
pub struct Outlook {
    /// For each VM its plan, or what is in its way.
    pub plans: Vec<Result<Plan, Vec<Objection>>>,
    /// What storage needs.
    pub storage: Vec<StorageNeed>,
    /// What memory is needed.
    pub memory: MemoryNeed,
    /// Where network cards go.
    pub networks: Vec<NetworkUse>,
}

/// What a storage repository needs for all disks that go there. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StorageNeed {
    sr: String,
    uuid: String,
    needs: u64,
    /// `None` if it does not tell its size.
    free: Option<u64>,
}

/// What memory all VMs need if they run. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    needs: u64,
    free: u64,
    /// Names of VMs that no host has memory for.
    homeless: Vec<String>,
}

/// A network where cards were, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NetworkUse {
    old: String,
    /// `None`: there is none.
    new: Option<String>,
}

/// Whether the VMs are to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// Hosts need memory for them.
    Wanted,
    /// They stay off.
    No,
}

impl Outlook {
    /// Looks at all VMs against one inventory. `hosts` are members and their free memory in bytes.
    pub fn of(
        inventory: &Inventory,
        hosts: &[(String, u64)],
        candidates: &[Candidate],
        wish: impl Fn(&Candidate) -> Wish,
    ) -> Self {
        let plans: Vec<_> =
            candidates.iter().map(|it| plan(inventory, &it.vm, &wish(it))).collect();
        let storage = storage(inventory, &plans);
        let memory = memory(hosts, candidates);
        let networks = networks(&plans);
        Self { plans, storage, memory, networks }
    }

    /// Whether nothing is in the way.
    pub fn is_feasible(&self, running: Running) -> bool {
        self.plans.iter().all(Result::is_ok)
            && self.storage.iter().all(StorageNeed::fits)
            && (running == Running::No || self.memory.homeless.is_empty())
    }

    /// A line for each VM, and the sums.
    pub fn text(&self, found: &Found, running: Running) -> String {
        let is_one = found.repositories.len() == 1;
        let mut table = Table::new(&[
            ("VM", Align::Left),
            ("Snapshot", Align::Left),
            ("Time", Align::Left),
            ("vApp", Align::Left),
            ("Order", Align::Right),
            ("Memory", Align::Right),
            ("Disks", Align::Right),
            ("Size", Align::Right),
            ("State", Align::Left),
            (if is_one { "" } else { "Repository" }, Align::Left),
        ]);
        for (candidate, plan) in found.candidates.iter().zip(&self.plans) {
            let app = candidate.app.clone();
            table.row([
                candidate.vm.name.clone(),
                short_id(&candidate.snapshot.id),
                clock::local(candidate.snapshot.time),
                app.clone().unwrap_or_default(),
                app.map(|_| candidate.start.order.to_string()).unwrap_or_default(),
                size::bytes(candidate.start.memory_bytes),
                candidate.vm.disks.len().to_string(),
                size::bytes(size_of(candidate)),
                if plan.is_ok() { "ready".to_owned() } else { "IN THE WAY".to_owned() },
                if is_one { String::new() } else { found.location(candidate).to_owned() },
            ]);
        }
        let mut text = found.sources_text() + &table.lines("");
        found.lost.iter().for_each(|lost| text += &format!("IN THE WAY: {lost}\n"));
        found.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
        for need in &self.storage {
            text += &need.text();
        }
        text += &self.memory.text(running);
        text += &self.networks_text();
        text + &self.objections_text(&found.candidates)
    }

    fn networks_text(&self) -> String {
        let uses: Vec<String> = self.networks.iter().map(NetworkUse::text).collect();
        match uses.is_empty() {
            true => String::new(),
            false => format!("networks: {}\n", uses.join(", ")),
        }
    }

    /// Each objection once, with the VMs that it concerns.
    fn objections_text(&self, candidates: &[Candidate]) -> String {
        let mut concerned: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (candidate, plan) in candidates.iter().zip(&self.plans) {
            for message in messages(plan.as_ref().err()) {
                concerned.entry(message).or_default().push(&candidate.vm.name);
            }
        }
        let line = |(message, vms): (String, Vec<&str>)| match *vms {
            // It tells the name itself.
            [vm] if message.contains(vm) => format!("{message}\n"),
            _ => format!("{message}: {}\n", vms.join(", ")),
        };
        concerned.into_iter().map(line).collect()
    }
}

/// What is in the way of a VM, in words.
pub fn messages(against: Option<&Vec<Objection>>) -> Vec<String> {
    let against = Objections(against.cloned().unwrap_or_default());
    against.messages().into_iter().map(|it| it.message).collect()
}

/// Bytes of its disks, holes included.
pub fn size_of(candidate: &Candidate) -> u64 {
    sum(&candidate.vm.disks.iter().map(|disk| disk.size_bytes).collect::<Vec<_>>())
}

fn storage(inventory: &Inventory, plans: &[Result<Plan, Vec<Objection>>]) -> Vec<StorageNeed> {
    let mut needs: BTreeMap<&str, u64> = BTreeMap::new();
    for target in plans.iter().flatten().flat_map(|plan| &plan.disks) {
        let sr = inventory.srs.iter().find(|sr| sr.uuid == target.sr.uuid);
        let is_thick = sr.is_some_and(|sr| THICK.contains(&&*sr.kind));
        let is_whole = is_thick || target.form == DiskForm::Raw;
        let bytes = if is_whole { target.disk.size_bytes } else { target.disk.data_bytes };
        let need = needs.entry(&target.sr.uuid).or_default();
        *need = need.saturating_add(bytes);
    }
    let need = |(uuid, needs): (&str, u64)| {
        let sr = inventory.srs.iter().find(|sr| sr.uuid == uuid)?;
        let free = sr.size_bytes.saturating_sub(sr.used_bytes);
        let free = (sr.size_bytes > 0).then_some(free);
        Some(StorageNeed { sr: sr.name.clone(), uuid: uuid.to_owned(), needs, free })
    };
    needs.into_iter().filter_map(need).collect()
}

fn memory(hosts: &[(String, u64)], candidates: &[Candidate]) -> MemoryNeed {
    let starts =
        candidates.iter().map(|it| if it.is_template() { 0 } else { it.start.memory_bytes });
    let needs: Vec<u64> = starts.collect();
    let free: Vec<u64> = hosts.iter().map(|(_, free)| *free).collect();
    let places = place(&needs, &free).err().map(|short| short.places).unwrap_or_default();
    let homeless = places.into_iter().map(|place| candidates[place].vm.name.clone()).collect();
    MemoryNeed { needs: sum(&needs), free: sum(&free), homeless }
}

fn networks(plans: &[Result<Plan, Vec<Objection>>]) -> Vec<NetworkUse> {
    let mut uses = Vec::new();
    for plan in plans {
        match plan {
            Ok(plan) => uses.extend(plan.cards.iter().map(|card| NetworkUse {
                old: card.stored.network_name.clone(),
                new: Some(card.network_name.clone()),
            })),
            Err(objections) => uses.extend(objections.iter().filter_map(NetworkUse::missing)),
        }
    }
    uses.sort();
    uses.dedup();
    uses
}

impl StorageNeed {
    fn fits(&self) -> bool {
        self.free.is_none_or(|free| free >= self.needs)
    }

    fn text(&self) -> String {
        let free = match self.free {
            Some(free) => format!("has {}", size::bytes(free)),
            None => "does not tell how much it has".to_owned(),
        };
        let verdict = if self.fits() { "" } else { ": NOT ENOUGH" };
        format!("needs {} on SR {} ({free}){verdict}\n", size::bytes(self.needs), self.sr)
    }
}

impl MemoryNeed {
    fn text(&self, running: Running) -> String {
        let verdict = match (running, &*self.homeless) {
            (Running::No, _) => "; VMs stay off".to_owned(),
            (Running::Wanted, []) => String::new(),
            (Running::Wanted, homeless) => format!(": NO HOST FOR {}", homeless.join(", ")),
        };
        let (needs, free) = (size::bytes(self.needs), size::bytes(self.free));
        format!("needs {needs} of memory (hosts have {free}){verdict}\n")
    }
}

impl NetworkUse {
    fn missing(objection: &Objection) -> Option<Self> {
        match objection {
            Objection::NoNetwork { name, .. } => Some(Self { old: name.clone(), new: None }),
            _ => None,
        }
    }

    fn text(&self) -> String {
        let Self { old, new } = self;
        match new {
            Some(new) => format!("{old} -> {new}"),
            None => format!("{old} -> MISSING (use --network {old}=...)"),
        }
    }
}

#[cfg(test)]
pub mod tests;

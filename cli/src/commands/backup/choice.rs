//! What of a pool is backed up: a function of what was typed and what the pool has.

use std::path::PathBuf;

use xen_source::xapi::{HostRecord, PowerState, Vm};

use super::selector::{Selector, Unclear, VmSelector, host};
use super::words;
use crate::advice::{Failure, refused};
use crate::args::SelectionArgs;
use crate::left_out::{DiskRules, Nobak, Reason};
use crate::report::power_name;

/// What was typed to choose.
#[derive(Debug, Clone)]
pub struct Choice {
    vms: Vec<VmSelector>,
    states: Vec<PowerState>,
    hosts: Hosts,
    database: bool,
    args: SelectionArgs,
    disks: DiskRules,
    /// Selectors as they were typed.
    typed: Vec<String>,
}

/// The hosts whose systems are backed up.
#[derive(Debug, Clone)]
enum Hosts {
    All,
    Named(Vec<String>),
}

/// What is read of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its record and its disks, but those that are left out.
    Whole,
    /// Its record.
    Metadata,
}

/// What was chosen, and what chose nothing.
#[derive(Debug)]
pub struct Chosen {
    /// In the order of the pool.
    pub vms: Vec<ChosenVm>,
    /// What is read of them.
    pub part: Part,
    /// Whether the database of the pool is.
    pub database: bool,
    /// In the order of the pool.
    pub hosts: Vec<HostRecord>,
    /// A selector that chose nothing, and why not.
    pub missing: Vec<(String, Failure)>,
}

/// A VM that was chosen.
#[derive(Debug, Clone)]
pub struct ChosenVm {
    /// The VM with all its disks.
    pub vm: Vm,
    /// For each of its disks, in their order, why it is left out, if it is.
    pub left_out: Vec<Option<Reason>>,
}

impl Choice {
    /// Reads selectors and what limits them.
    ///
    /// # Errors
    ///
    /// If a text is no selector.
    pub fn parse(typed: &[PathBuf], args: SelectionArgs) -> Result<Self, Failure> {
        let typed: Vec<String> =
            typed.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        Self::of(typed, args)
    }

    /// Reads what [`Self::text`] wrote, perhaps by another release.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn parse_text(text: &str) -> Result<Self, Failure> {
        let unknown = |what: String| {
            let hint = "nothing was done; name the VMs again, or use the release that wrote this";
            refused(format!("cannot choose by {text}"), what, hint)
        };
        let Some(words) = words::split(text) else {
            return unknown("a quote is not closed".to_owned());
        };
        let mut args = SelectionArgs::default();
        let (flags, typed): (Vec<_>, Vec<_>) =
            words.into_iter().partition(|word| word.starts_with("--"));
        for flag in flags {
            if args.take_word(&flag).is_none() {
                return unknown(format!("{flag} is not known"));
            }
        }
        Self::of(typed, args)
    }

    /// What was typed, so that a later run can choose in the same way.
    pub fn text(&self) -> String {
        let words: Vec<String> = self.typed.iter().cloned().chain(self.args.words()).collect();
        let text = words::joined(&words);
        debug_assert!(Self::parse_text(&text).is_ok(), "what is written can be read: {text}");
        text
    }

    fn of(typed: Vec<String>, args: SelectionArgs) -> Result<Self, Failure> {
        let nobak = if args.ignore_nobak { Nobak::Ignore } else { Nobak::Honour };
        let (mut vms, mut states, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
        let mut database = args.with_pool_db || args.everything;
        for text in &typed {
            match Selector::parse(text)? {
                Selector::Vms(selector) => vms.push(selector),
                Selector::Power(state) => states.push(state),
                Selector::Host(name) => hosts.push(name),
                Selector::Database => database = true,
            }
        }
        let all_hosts = args.with_hosts || args.everything;
        // A state alone leaves those of all VMs that are in it.
        if args.everything || (vms.is_empty() && !states.is_empty()) {
            vms.push(VmSelector::All);
        }
        if vms.is_empty() && hosts.is_empty() && !database && !all_hosts {
            vms.push(VmSelector::All);
        }
        let hosts = if all_hosts { Hosts::All } else { Hosts::Named(hosts) };
        let disks = DiskRules::parse(&args.exclude_disks, nobak)?;
        Ok(Self { vms, states, hosts, database, args, disks, typed })
    }

    /// Whether templates of the pool are to be among the VMs that [`Self::among`] is given.
    pub const fn wants_templates(&self) -> bool {
        self.args.include_templates || self.args.everything
    }

    /// Whether it chooses VMs, or may.
    pub fn wants_vms(&self) -> bool {
        !self.vms.is_empty()
    }

    /// Whether it chooses hosts, or may.
    pub fn wants_hosts(&self) -> bool {
        !matches!(&self.hosts, Hosts::Named(names) if names.is_empty())
    }

    /// Chooses among what a pool has.
    pub fn among(&self, mut vms: Vec<Vm>, hosts: Vec<HostRecord>) -> Chosen {
        vms.retain(|vm| self.wants_templates() || !vm.record.is_a_template);
        let mut missing = Vec::new();
        let mut clear = Vec::new();
        for selector in &self.vms {
            match selector.check(&vms) {
                Ok(()) => clear.push(selector),
                // A name that several VMs have chooses none of them.
                Err(unclear) => missing.push((selector.to_string(), unclear.failure(selector))),
            }
        }
        let is_chosen =
            |vm: &Vm| clear.iter().any(|selector| selector.chooses(vm)) && self.is_left_in(vm);
        let chosen: Vec<ChosenVm> =
            vms.into_iter().filter(is_chosen).map(|vm| self.with_disks(vm)).collect();
        if chosen.is_empty() && missing.is_empty() && self.wants_vms() {
            missing.push((self.vms_text(), self.nothing_left()));
        }
        let hosts = self.hosts_among(hosts, &mut missing);
        let part = if self.args.metadata_only { Part::Metadata } else { Part::Whole };
        Chosen { vms: chosen, part, database: self.database, hosts, missing }
    }

    fn is_left_in(&self, vm: &Vm) -> bool {
        let SelectionArgs { exclude_tags, exclude_vms, .. } = &self.args;
        let is_named =
            |text: &String| vm.record.name == *text || vm.record.uuid.eq_ignore_ascii_case(text);
        (self.states.is_empty() || self.states.contains(&vm.record.power_state))
            && !vm.record.tags.iter().any(|tag| exclude_tags.contains(tag))
            && !exclude_vms.iter().any(is_named)
    }

    fn with_disks(&self, vm: Vm) -> ChosenVm {
        let left_out = vm.disks.iter().map(|disk| self.disks.reason(disk)).collect();
        ChosenVm { vm, left_out }
    }

    fn hosts_among(
        &self,
        all: Vec<HostRecord>,
        missing: &mut Vec<(String, Failure)>,
    ) -> Vec<HostRecord> {
        let Hosts::Named(names) = &self.hosts else {
            return all;
        };
        let mut uuids = Vec::new();
        for name in names {
            match host(&all, name) {
                Ok(host) => uuids.push(host.uuid.clone()),
                Err(unclear) => {
                    let selector = format!("host:{name}");
                    let failure = unclear.host_failure(&selector, name);
                    missing.push((selector, failure));
                }
            }
        }
        all.into_iter().filter(|host| uuids.contains(&host.uuid)).collect()
    }

    fn vms_text(&self) -> String {
        self.vms.iter().map(VmSelector::to_string).collect::<Vec<_>>().join(" ")
    }

    fn nothing_left(&self) -> Failure {
        let SelectionArgs { exclude_tags, exclude_vms, .. } = &self.args;
        let states: Vec<&str> = self.states.iter().map(|state| power_name(*state)).collect();
        let mut what = "every VM that was chosen is left out again".to_owned();
        if !states.is_empty() {
            what += &format!(": none is {}", states.join(" or "));
        }
        if !exclude_tags.is_empty() {
            what += &format!(" without the tag {}", exclude_tags.join(" or "));
        }
        if !exclude_vms.is_empty() {
            what += &format!(" beside {}", exclude_vms.join(" and "));
        }
        no_vm(&self.vms_text(), what)
    }
}

impl ChosenVm {
    /// Uuids of the disks that are not read.
    pub fn left_out_uuids(&self) -> Vec<String> {
        let disks = self.vm.disks.iter().zip(&self.left_out);
        let left_out = disks.filter(|(_, reason)| reason.is_some());
        left_out.map(|(disk, _)| disk.record.uuid.clone()).collect()
    }
}

impl Unclear {
    fn failure(self, selector: &VmSelector) -> Failure {
        match (self, selector) {
            (Self::Nothing, VmSelector::One(text)) => {
                no_vm(&selector.to_string(), format!("the pool has no VM {text}"))
            }
            (Self::Nothing, _) => no_vm(&selector.to_string(), "no VM of the pool fits".to_owned()),
            (Self::Several(uuids), _) => several(
                &selector.to_string(),
                format!("{} VMs are called so: {}", uuids.len(), uuids.join(", ")),
            ),
        }
    }

    fn host_failure(self, selector: &str, name: &str) -> Failure {
        match self {
            Self::Nothing => Failure::refusal(
                format!("cannot back up {selector}"),
                format!("the pool has no host {name}"),
                "nothing is damaged; name a host as the pool does, or by its UUID",
            ),
            Self::Several(uuids) => several(
                selector,
                format!("{} hosts are called so: {}", uuids.len(), uuids.join(", ")),
            ),
        }
    }
}

fn several(selector: &str, what: String) -> Failure {
    Failure::refusal(
        format!("cannot back up {selector}"),
        what,
        "nothing is damaged; name the one that is meant by its UUID (name: takes all VMs of a name)",
    )
}

fn no_vm(selector: &str, what: String) -> Failure {
    Failure::refusal(
        format!("cannot back up {selector}"),
        what,
        "nothing is damaged; `xenith vms` lists the VMs that can be chosen (custom templates with \
         --include-templates; snapshots and control domains never)",
    )
}

#[cfg(test)]
mod tests;

//! One way to choose something of a pool, as it is typed.

use std::fmt;

use xen_source::xapi::{HostRecord, PowerState, Vm};

use crate::advice::{Failure, refused};
use crate::pattern::Pattern;
use crate::report::power_name;

/// What is typed to choose.
#[derive(Debug, Clone)]
pub enum Selector {
    /// VMs.
    Vms(VmSelector),
    /// Leaves only VMs in this state.
    Power(PowerState),
    /// The system of a host, by name or uuid.
    Host(String),
    /// The database of the pool.
    Database,
}

/// One way to choose VMs.
#[derive(Debug, Clone)]
pub enum VmSelector {
    /// Every one.
    All,
    /// By name or uuid: one.
    One(String),
    /// Those with a tag.
    Tag(String),
    /// Those whose names fit.
    Name(Pattern),
}

/// Why a selector that should choose one thing does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// There is nothing that fits.
    Nothing,
    /// Several things have the name; these are their uuids.
    Several(Vec<String>),
}

impl Selector {
    /// Reads a selector.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(pattern) = Pattern::parse(text)? {
            return Ok(Self::Vms(VmSelector::Name(pattern)));
        }
        Ok(match text.split_once(':') {
            None if text == "all" => Self::Vms(VmSelector::All),
            None if text == "pool-db" => Self::Database,
            Some(("vm", name)) => Self::Vms(VmSelector::One(name.to_owned())),
            Some(("tag", tag)) => Self::Vms(VmSelector::Tag(tag.to_owned())),
            Some(("host", name)) => Self::Host(name.to_owned()),
            Some(("power", state)) => Self::Power(power_state(state)?),
            _ => {
                return refused(
                    format!("cannot choose by {text}"),
                    "it is no selector",
                    "write vm:NAME, vm:UUID, tag:TAG, name:GLOB, name~REGEX, power:STATE, all, \
                     pool-db or host:NAME; files are backed up without --pool. Nothing was done",
                );
            }
        })
    }
}

impl VmSelector {
    /// Whether it chooses this one.
    pub fn chooses(&self, vm: &Vm) -> bool {
        let record = &vm.record;
        match self {
            Self::All => true,
            Self::One(text) => record.name == *text || record.uuid.eq_ignore_ascii_case(text),
            Self::Tag(tag) => record.tags.contains(tag),
            Self::Name(pattern) => pattern.fits(&record.name),
        }
    }

    /// Whether it chooses as many VMs as it should.
    pub fn check(&self, vms: &[Vm]) -> Result<(), Unclear> {
        let found: Vec<&Vm> = vms.iter().filter(|vm| self.chooses(vm)).collect();
        match (self, &*found) {
            (_, []) => Err(Unclear::Nothing),
            (Self::One(_), [_, _, ..]) => {
                let uuids = found.iter().map(|vm| vm.record.uuid.clone());
                Err(Unclear::Several(uuids.collect()))
            }
            _ => Ok(()),
        }
    }
}

/// The host that `text` names.
pub fn host<'h>(hosts: &'h [HostRecord], text: &str) -> Result<&'h HostRecord, Unclear> {
    let is_named = |host: &&HostRecord| host.name == text || host.uuid.eq_ignore_ascii_case(text);
    let found: Vec<&HostRecord> = hosts.iter().filter(is_named).collect();
    match &*found {
        [] => Err(Unclear::Nothing),
        [host] => Ok(host),
        several => Err(Unclear::Several(several.iter().map(|host| host.uuid.clone()).collect())),
    }
}

impl fmt::Display for VmSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One(text) => write!(f, "vm:{text}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Name(pattern) => pattern.fmt(f),
        }
    }
}

fn power_state(text: &str) -> Result<PowerState, Failure> {
    let states =
        [PowerState::Running, PowerState::Halted, PowerState::Paused, PowerState::Suspended];
    match states.into_iter().find(|state| power_name(*state) == text) {
        Some(state) => Ok(state),
        None => refused(
            format!("cannot choose VMs by power:{text}"),
            "it is no power state",
            "write running, halted, paused or suspended; nothing was done",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["web01", "power:on", "/srv/web01.xva", "name~(", "", "--exclude-tag=a"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        let selectors =
            ["all", "vm:a:b", "tag:prod", "name:web*", "name~^a:b", "power:running", "pool-db"];
        for text in selectors.into_iter().chain(["host:xs1"]) {
            assert!(Selector::parse(text).is_ok(), "{text}");
        }
    }
}

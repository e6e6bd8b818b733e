//! Which VMs of a pool are backed up.

use std::path::PathBuf;

use xen_source::xapi::{PowerState, Vm};

use crate::advice::{Failure, refused};
use crate::report::power_name;

/// What was typed to choose VMs.
#[derive(Debug)]
pub struct Choice {
    selectors: Vec<Selector>,
    states: Vec<PowerState>,
    exclude_tags: Vec<String>,
}

/// The VMs that were chosen, and what chose none.
pub struct Chosen {
    /// In the order of the pool.
    pub vms: Vec<Vm>,
    /// A selector that chose no VM, and why not.
    pub missing: Vec<(String, Failure)>,
}

/// One way to choose VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selector {
    All,
    Vm(String),
    Tag(String),
    Name(String),
}

impl Choice {
    /// Reads the selectors.
    pub fn parse(typed: &[PathBuf], exclude_tags: Vec<String>) -> Result<Self, Failure> {
        let mut choice = Self { selectors: Vec::new(), states: Vec::new(), exclude_tags };
        for text in typed.iter().map(|path| path.to_string_lossy()) {
            match text.split_once(':') {
                None if text == "all" => choice.selectors.push(Selector::All),
                Some(("vm", name)) => choice.selectors.push(Selector::Vm(name.to_owned())),
                Some(("tag", tag)) => choice.selectors.push(Selector::Tag(tag.to_owned())),
                Some(("name", glob)) => choice.selectors.push(Selector::Name(glob.to_owned())),
                Some(("power", state)) => choice.states.push(power_state(state)?),
                _ => {
                    return refused(
                        format!("cannot choose VMs by {text}"),
                        "it is no selector",
                        "write vm:NAME, vm:UUID, tag:TAG, name:GLOB, power:STATE or all; files are \
                         backed up without --pool. Nothing was done",
                    );
                }
            }
        }
        if choice.selectors.is_empty() {
            choice.selectors.push(Selector::All);
        }
        Ok(choice)
    }

    /// Chooses among the VMs of a pool.
    pub fn among(&self, vms: Vec<Vm>) -> Chosen {
        let mut missing = Vec::new();
        for selector in &self.selectors {
            if let Err(failure) = selector.check(&vms) {
                missing.push((selector.to_string(), failure));
            }
        }
        // A name that several VMs have chooses none of them.
        let unclear: Vec<String> = missing.iter().map(|(selector, _)| selector.clone()).collect();
        let clear: Vec<&Selector> =
            self.selectors.iter().filter(|it| !unclear.contains(&it.to_string())).collect();
        let chosen =
            |vm: &Vm| clear.iter().any(|selector| selector.chooses(vm)) && self.is_left_in(vm);
        let vms: Vec<Vm> = vms.into_iter().filter(chosen).collect();
        if vms.is_empty() && missing.is_empty() {
            missing.push((self.selectors_text(), self.nothing_left()));
        }
        Chosen { vms, missing }
    }

    fn is_left_in(&self, vm: &Vm) -> bool {
        (self.states.is_empty() || self.states.contains(&vm.record.power_state))
            && !vm.record.tags.iter().any(|tag| self.exclude_tags.contains(tag))
    }

    fn selectors_text(&self) -> String {
        self.selectors.iter().map(Selector::to_string).collect::<Vec<_>>().join(" ")
    }

    fn nothing_left(&self) -> Failure {
        let states: Vec<&str> = self.states.iter().map(|state| power_name(*state)).collect();
        let mut what = "every VM that was chosen is left out again".to_owned();
        if !states.is_empty() {
            what += &format!(": none is {}", states.join(" or "));
        }
        if !self.exclude_tags.is_empty() {
            what += &format!(" without the tag {}", self.exclude_tags.join(" or "));
        }
        nothing_chosen(&self.selectors_text(), what)
    }
}

impl Selector {
    fn chooses(&self, vm: &Vm) -> bool {
        let record = &vm.record;
        match self {
            Self::All => true,
            Self::Vm(text) => record.name == *text || record.uuid.eq_ignore_ascii_case(text),
            Self::Tag(tag) => record.tags.contains(tag),
            Self::Name(glob) => matches(glob, &record.name),
        }
    }

    /// Whether it chooses as many VMs as it should.
    fn check(&self, vms: &[Vm]) -> Result<(), Failure> {
        let found: Vec<&Vm> = vms.iter().filter(|vm| self.chooses(vm)).collect();
        match (self, &*found) {
            (Self::Vm(text), []) => {
                Err(nothing_chosen(&self.to_string(), format!("the pool has no VM {text}")))
            }
            (Self::Vm(text), [_, _, ..]) => {
                let uuids: Vec<&str> = found.iter().map(|vm| &*vm.record.uuid).collect();
                refused(
                    format!("cannot back up {self}"),
                    format!("{} VMs are called {text}: {}", found.len(), uuids.join(", ")),
                    "nothing is damaged; name the one that is meant by its UUID, or take all of \
                     them with name:",
                )
            }
            (_, []) => Err(nothing_chosen(&self.to_string(), "no VM of the pool fits".to_owned())),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Vm(text) => write!(f, "vm:{text}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Name(glob) => write!(f, "name:{glob}"),
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

fn nothing_chosen(selector: &str, what: String) -> Failure {
    Failure::refusal(
        format!("cannot back up {selector}"),
        what,
        "nothing is damaged; `xenith vms` lists the VMs that can be chosen (templates, snapshots \
         and control domains cannot)",
    )
}

/// Whether `name` is `glob`, where each `*` stands for anything.
fn matches(glob: &str, name: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else {
        return glob == name;
    };
    let Some(mut left) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match left.find(part) {
            Some(place) => left = &left[place + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(glob: &str, name: &str, expected: bool) {
        assert_eq!(matches(glob, name), expected, "{glob} {name}");
    }

    #[test]
    fn stars_stand_for_anything() {
        check("web01", "web01", true);
        check("web01", "web012", false);
        check("web*", "web", true);
        check("web*", "my web", false);
        check("*01", "web01", true);
        check("a*b*c", "a--b--c", true);
        check("a*b*c", "a--c--b", false);
        check("ab*ba", "aba", false);
        check("*", "", true);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let parse = |text: &str| Choice::parse(&[text.into()], Vec::new());
        for text in ["web01", "power:on", "/srv/web01.xva", "name~web", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["all", "vm:a:b", "tag:prod", "name:web*", "power:running"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}

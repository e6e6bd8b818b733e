//! Which VMs a fail-over is about, and which snapshot of each.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use repo_format::snapshot::{DiskRole, Snapshot};

use crate::advice::{Failure, refused};
use crate::commands::database;
use crate::pattern::Pattern;
use crate::report::subject;

/// What was typed to choose.
#[derive(Debug)]
pub struct Choice {
    selectors: Vec<Selector>,
    apps: Vec<String>,
}

/// One way to choose VMs.
#[derive(Debug)]
enum Selector {
    All,
    /// By name or uuid.
    One(String),
    Tag(String),
    Name(Pattern),
}

/// What is known of a VM to choose it by.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// Its tags, and those of its snapshot.
    pub tags: Vec<String>,
    /// Name and reference of its vApp.
    pub app: Option<(String, String)>,
}

/// A snapshot, and the place of the repository that has it.
pub type Stored<'s> = (usize, &'s Snapshot);

/// What snapshots are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// VMs. Records alone, and disks without a record, are none.
    Vm,
    /// Databases of pools.
    Database,
}

/// The snapshots of each VM or pool that are not newer than `at` (seconds since 1970), newest first; VMs and pools by
/// their names. `repositories` are what each has, oldest first. Of equal age, and of one snapshot that several have, the
/// one in the first repository comes first.
pub fn newest_first<'s>(
    repositories: &[&'s [Snapshot]],
    kind: Kind,
    at: Option<u64>,
) -> Vec<Vec<Stored<'s>>> {
    let mut subjects: BTreeMap<&str, Vec<Stored<'_>>> = BTreeMap::new();
    let is_meant = |it: &&Snapshot| kind.fits(it) && at.is_none_or(|at| it.time <= at);
    for (place, snapshots) in repositories.iter().enumerate() {
        for snapshot in snapshots.iter().rev().filter(is_meant) {
            let key = snapshot.origin.vm_uuid.as_deref().unwrap_or_else(|| subject(snapshot));
            subjects.entry(key).or_default().push((place, snapshot));
        }
    }
    let mut subjects: Vec<_> = subjects.into_values().collect();
    for stored in &mut subjects {
        stored.sort_by_key(|(place, snapshot)| (Reverse(snapshot.time), *place));
    }
    subjects.sort_by_key(|stored| stored.first().map(|(_, newest)| (subject(newest), newest.id)));
    subjects
}

/// The places of `count` things of `all` whose `turn` it is: after enough turns, one behind the
/// other, everything had its own.
pub fn sample(all: usize, count: usize, turn: u64) -> Vec<usize> {
    let first = match u64::try_from(all) {
        Ok(all @ 1..) => (turn % all).wrapping_mul(count as u64) % all,
        _ => return Vec::new(),
    };
    let mut places: Vec<usize> =
        (0..count.min(all)).map(|step| (first as usize + step) % all).collect();
    places.sort_unstable();
    places
}

impl Facts {
    /// What a snapshot tells without the record of its VM.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            name: subject(snapshot).to_owned(),
            uuid: snapshot.origin.vm_uuid.clone().unwrap_or_default(),
            tags: snapshot.tags.clone(),
            app: None,
        }
    }
}

impl Kind {
    fn fits(self, snapshot: &Snapshot) -> bool {
        let has_record = || snapshot.disks.iter().any(|disk| disk.role == DiskRole::Record);
        match self {
            Self::Vm => snapshot.origin.container == "xva" && has_record(),
            Self::Database => snapshot.origin.container == database::CONTAINER,
        }
    }
}

impl Choice {
    /// Reads selectors and names of vApps.
    ///
    /// # Errors
    ///
    /// If a text is no selector.
    pub fn parse(selectors: &[String], apps: &[String]) -> Result<Self, Failure> {
        let selectors = selectors.iter().map(|text| Selector::parse(text));
        Ok(Self { selectors: selectors.collect::<Result<_, _>>()?, apps: apps.to_vec() })
    }

    /// Whether a VM is meant.
    pub fn chooses(&self, vm: &Facts) -> bool {
        let is_of = |app: &String| is_app(app, vm);
        self.selects(vm) && (self.apps.is_empty() || self.apps.iter().any(is_of))
    }

    /// Whether a VM may be meant of which nobody knows the vApp.
    pub fn selects(&self, vm: &Facts) -> bool {
        self.selectors.is_empty() || self.selectors.iter().any(|it| it.chooses(vm))
    }

    /// The first thing that was typed and chooses none of `vms`, which are all that there are: a
    /// fail-over without it would not be what was meant.
    ///
    /// # Errors
    ///
    /// If there is one.
    pub fn check(&self, vms: &[Facts]) -> Result<(), Failure> {
        let selector = self.selectors.iter().find(|it| !vms.iter().any(|vm| it.chooses(vm)));
        if let Some(selector) = selector {
            return nothing(&selector.to_string(), "no VM in what was looked into fits");
        }
        match self.apps.iter().find(|app| !vms.iter().any(|vm| is_app(app, vm))) {
            Some(app) => nothing(
                &format!("--app {app}"),
                "no VM in what was looked into is known to be of that vApp",
            ),
            None => Ok(()),
        }
    }
}

fn is_app(typed: &str, vm: &Facts) -> bool {
    vm.app.as_ref().is_some_and(|(name, reference)| name == typed || reference == typed)
}

fn nothing<T>(typed: &str, what: &str) -> Result<T, Failure> {
    refused(
        format!("cannot choose by {typed}"),
        what,
        "nothing was done; `xenith snapshots --group-by vm` lists the VMs. Names of vApps are in \
         backups of the pool's database (`xenith backup pool-db`)",
    )
}

impl Selector {
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(pattern) = Pattern::parse(text)? {
            return Ok(Self::Name(pattern));
        }
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("vm", name)) => Ok(Self::One(name.to_owned())),
            Some(("tag", tag)) => Ok(Self::Tag(tag.to_owned())),
            _ => refused(
                format!("cannot choose by {text}"),
                "it is no selector",
                "write all, vm:NAME, vm:UUID, tag:TAG, name:GLOB or name~REGEX; nothing was done",
            ),
        }
    }

    fn chooses(&self, vm: &Facts) -> bool {
        match self {
            Self::All => true,
            Self::One(text) => vm.name == *text || vm.uuid.eq_ignore_ascii_case(text),
            Self::Tag(tag) => vm.tags.contains(tag),
            Self::Name(pattern) => pattern.fits(&vm.name),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One(text) => write!(f, "vm:{text}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Name(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
pub mod tests;

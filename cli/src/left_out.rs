//! Which disks of a VM are not backed up, and why.

use xen_source::xapi::Disk;
use xen_source::xva::ova::fresh::device_name;

use crate::advice::Failure;
use crate::pattern::Pattern;

/// In the name of a disk: it is not to be backed up. Xen Orchestra has the same mark.
const NOBAK: &str = "[NOBAK]";
/// Drives that are called by letters.
const DEVICES_MAX: usize = 4096;

/// What leaves out disks.
#[derive(Debug, Clone, Default)]
pub struct DiskRules {
    excluded: Vec<DiskSelector>,
    nobak: Nobak,
}

/// Whether the mark in names counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nobak {
    /// A disk that has it is left out.
    #[default]
    Honour,
    /// Such a disk is one like any other.
    Ignore,
}

/// Why a disk is not backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its name says so.
    Nobak,
    /// Somebody said so, with these words.
    Excluded(String),
}

/// One way to leave out disks.
#[derive(Debug, Clone)]
enum DiskSelector {
    Pattern(Pattern),
    /// Device, uuid or name.
    Named(String),
}

impl DiskRules {
    /// Leaves out what is `typed`: devices, uuids, names or patterns of names.
    pub fn parse(typed: &[String], nobak: Nobak) -> Result<Self, Failure> {
        let selector = |text: &String| {
            let pattern = Pattern::parse(text)?.map(DiskSelector::Pattern);
            Ok(pattern.unwrap_or_else(|| DiskSelector::Named(text.clone())))
        };
        let excluded = typed.iter().map(selector).collect::<Result<_, _>>()?;
        Ok(Self { excluded, nobak })
    }

    /// Why this disk is left out, if it is. What somebody said goes before what its name says.
    pub fn reason(&self, disk: &Disk) -> Option<Reason> {
        let excluded = self.excluded.iter().find(|selector| selector.chooses(disk));
        if let Some(selector) = excluded {
            return Some(Reason::Excluded(selector.text()));
        }
        let has_mark = || disk.record.name.to_ascii_uppercase().contains(NOBAK);
        (self.nobak == Nobak::Honour && has_mark()).then_some(Reason::Nobak)
    }
}

impl DiskSelector {
    fn chooses(&self, disk: &Disk) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.fits(&disk.record.name),
            Self::Named(text) => {
                device(disk) == *text
                    || disk.record.uuid.eq_ignore_ascii_case(text)
                    || disk.record.name == *text
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Pattern(pattern) => pattern.to_string(),
            Self::Named(text) => text.clone(),
        }
    }
}

impl Reason {
    /// For people.
    pub fn text(&self) -> String {
        match self {
            Self::Nobak => format!("{NOBAK} in its name"),
            Self::Excluded(text) => format!("--exclude-disk {text}"),
        }
    }

    /// For programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nobak => "nobak",
            Self::Excluded(_) => "excluded",
        }
    }
}

/// What the disk is called in snapshots, such as `xvda`; the number of its drive if that is odd.
pub fn device(disk: &Disk) -> String {
    let place = disk.userdevice.parse().ok().filter(|place| *place < DEVICES_MAX);
    place.map_or_else(|| disk.userdevice.clone(), device_name)
}

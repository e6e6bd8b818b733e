//! What a restore does, one after the other.

use std::fmt;

use super::Plan;
use crate::xapi::unfinished::of_trial;

/// A step of a restore. Its `Display` is words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The VM that is replaced is shut down.
    ShutDown {
        /// Its name.
        vm: String,
    },
    /// The VM comes with all its disks.
    Import {
        /// The name that it has meanwhile.
        name: String,
        /// The name of the SR.
        sr: String,
    },
    /// The VM comes without its disks.
    ImportRecord {
        /// The name that it has meanwhile.
        name: String,
    },
    /// A disk is made and filled.
    SendDisk {
        /// Its place in [`Plan::disks`](super::Plan::disks).
        number: usize,
        /// Its name.
        disk: String,
        /// The name of its SR.
        sr: String,
    },
    /// A network card is made.
    AddCard {
        /// Its place in [`Plan::cards`](super::Plan::cards).
        number: usize,
        /// Its place.
        device: String,
        /// The name of its network.
        network: String,
    },
    /// A disk is read back and compared.
    Verify {
        /// Its place in [`Plan::disks`](super::Plan::disks).
        number: usize,
        /// Its name.
        disk: String,
    },
    /// The VM gets its name.
    Rename {
        /// That.
        name: String,
    },
    /// The VM that is replaced gets another name, and the new one its own.
    Swap {
        /// The name of the new one.
        name: String,
        /// That of the old one.
        replaced: String,
    },
    /// The VM that was replaced goes, with its disks.
    DestroyReplaced {
        /// Its name.
        name: String,
    },
    /// The marks are taken away.
    Unmark,
    /// The VM is started.
    Start {
        /// Whether its processors stay stopped.
        is_paused: bool,
    },
}

impl Plan {
    /// The same for a VM that is only tried: it keeps its marks from the first moment to the last,
    /// so that all of it is found and removed whenever the trial ends.
    #[must_use]
    pub fn for_trial(mut self) -> Self {
        self.mark = of_trial(&self.mark);
        self.steps.retain(|step| *step != Step::Unmark);
        self
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShutDown { vm } => write!(f, "shut down {vm}"),
            Self::Import { name, sr } => write!(f, "import {name} with its disks into SR {sr}"),
            Self::ImportRecord { name } => write!(f, "import {name} without its disks"),
            Self::SendDisk { disk, sr, .. } => write!(f, "send disk {disk} to SR {sr}"),
            Self::AddCard { device, network, .. } => {
                write!(f, "add network card {device} on {network}")
            }
            Self::Verify { disk, .. } => write!(f, "read disk {disk} back and compare it"),
            Self::Rename { name } => write!(f, "call the new VM {name}"),
            Self::Swap { name, replaced } => {
                write!(f, "rename the old VM to {replaced}, and the new one to {name}")
            }
            Self::DestroyReplaced { name } => write!(f, "destroy {name} and its disks"),
            Self::Unmark => write!(f, "take away the marks"),
            Self::Start { is_paused: false } => write!(f, "start the VM"),
            Self::Start { is_paused: true } => write!(f, "start the VM, paused"),
        }
    }
}

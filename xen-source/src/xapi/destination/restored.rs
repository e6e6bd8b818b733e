//! How a restore ended.

use engine::source::ContentError;

use super::Step;
use crate::xapi::error::XapiError;

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
    /// Its place in [`Content::disks`](engine::source::Content::disks).
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
        step: Box<Step>,
        /// Why.
        source: XapiError,
    },
    /// The repository could not deliver what is to be sent.
    #[error("cannot {step}")]
    Content {
        /// Which.
        step: Box<Step>,
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
    /// A VM of the uuid that was to be kept has appeared since the plan was made.
    #[error("the pool has a VM of the uuid {uuid} by now")]
    Taken {
        /// The uuid.
        uuid: String,
    },
    /// The VM is whole, and does not start.
    #[error("VM {name} ({uuid}) is restored, and does not start")]
    NotStarted {
        /// Its name.
        name: String,
        /// Its uuid.
        uuid: String,
        /// Why.
        source: Box<XapiError>,
    },
}

/// Why a step failed.
pub enum Trouble {
    Pool(XapiError),
    Content(ContentError),
    Differs { disk: String, uuid: String, at_bytes: u64 },
    Taken { uuid: String },
}

impl From<XapiError> for Trouble {
    fn from(error: XapiError) -> Self {
        Self::Pool(error)
    }
}

impl From<ContentError> for Trouble {
    /// What could not be written to a pool, the pool knows best.
    fn from(error: ContentError) -> Self {
        error.of_output().map_or_else(Self::Content, Self::Pool)
    }
}

impl Trouble {
    /// The error of a restore in which `step` failed.
    pub fn of(self, step: &Step) -> RestoreError {
        let step = Box::new(step.clone());
        match self {
            Self::Pool(source) => RestoreError::Pool { step, source },
            Self::Content(source) => RestoreError::Content { step, source },
            Self::Differs { disk, uuid, at_bytes } => {
                RestoreError::Differs { disk, uuid, at_bytes }
            }
            Self::Taken { uuid } => RestoreError::Taken { uuid },
        }
    }
}

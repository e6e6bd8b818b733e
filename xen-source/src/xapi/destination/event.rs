//! What is told of a restore while it goes on.

use super::Step;
use crate::xapi::error::XapiError;

/// What happens during a restore.
#[derive(Debug)]
pub enum Event {
    /// A step begins.
    Begins {
        /// Its place in [`Plan::steps`](super::Plan::steps), from 0.
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
        /// Whether there is a VM: then a clean-up sees that it is whole, and takes the mark away. It takes disks of no VM
        /// for unfinished ones.
        of_vm: bool,
        /// Why.
        error: XapiError,
    },
    /// The VM that was to be replaced is not as it was before the restore that failed.
    NotBack {
        /// Its name before.
        name: String,
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

    /// Whether somebody wants it to end. Asked before each step, until the VM is whole; what was
    /// made goes again, and the error is that of an interrupted output.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _event: Event) {}
}

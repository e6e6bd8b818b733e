//! A pool as a destination: what it has, what a stored VM needs, a plan, and the restore that walks it.
//!
//! [`plan()`] is pure: all that can be known to go wrong is known before the first byte is sent, and a
//! dry run is a plan that nobody walks. [`restore`] marks whatever it makes, and takes away again
//! exactly that when it fails.

mod inventory;
mod objection;
mod plan;
mod stored_vm;
mod wish;

mod run;

pub use inventory::Inventory;
pub use objection::Objection;
pub use plan::{Card, DiskForm, Plan, Replaced, TargetDisk, TargetSr, Way, plan};
pub use run::{Event, Observer, RestoreError, Restored, RestoredDisk, Step, Unobserved, restore};
pub use stored_vm::{StoredCard, StoredVm, VmDisk};
pub use wish::{After, Overwrite, Scope, Wish, WishedForm};

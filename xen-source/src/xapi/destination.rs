//! A pool as a destination: what it has, what a stored VM needs, a plan, and the restore that walks it.
//!
//! [`plan()`] is pure: all that can be known to go wrong is known before the first byte is sent, and a
//! dry run is a plan that nobody walks. [`restore`] marks whatever it makes, and takes away again
//! exactly that when it fails.

mod inventory;
mod stored_vm;
mod wish;

mod objection;

mod step;

mod plan;

mod event;

mod restored;

mod made;

mod send;

mod verify;

mod devices;

mod run;

pub use event::{Event, Observer, Unobserved};
pub use inventory::Inventory;
pub use objection::Objection;
pub use plan::{Card, DiskForm, Plan, Replaced, TargetDisk, TargetSr, Way, plan};
pub use restored::{RestoreError, Restored, RestoredDisk};
pub use run::restore;
pub use step::Step;
pub use stored_vm::{StoredCard, StoredVm, VmDisk};
pub use wish::{After, Overwrite, Scope, Wish, WishedForm};

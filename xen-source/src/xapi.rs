//! A client of XenAPI: what a pool has, and its VMs as sources.
//!
//! ```no_run
//! use xen_source::xapi::{self, Address, Login, Password, Settings, Trust};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let login = Login {
//!     addresses: vec![Address::parse("xen1.example")?],
//!     user: "root".into(),
//!     password: Password::new("secret".into()),
//! };
//! let pool = xapi::connect(login, Settings::new(Trust::System))?;
//! for vm in pool.vms()? {
//!     println!("{} {}", vm.record.uuid, vm.record.name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! "Contract n" in the documentation of items is a section of the description of XenServer's side
//! that this client was written from. Modules are listed from the wire up; each uses those above.

pub mod limits;

pub mod value;

pub mod answer;

mod json;

mod xml;

pub mod rpc;

pub mod fingerprint;

pub mod host_map;

pub mod error;

pub mod trust;

pub mod address;

pub mod request;

pub mod upload;

pub mod transport;

mod looks;

pub mod retry;

pub mod objects;

pub mod session;

pub mod task;

mod route;

pub mod export;

pub mod import;

pub mod nbd;

pub mod time;

pub mod options;

pub mod snapshot;

pub mod power;

pub mod storage;

pub mod fail_over;

pub mod schedule;

mod unfinished;

pub mod isolated;

pub mod origin;

mod changed;

pub mod tracking;

pub mod leftovers;

mod kept;

mod exported;

mod transfer;

mod diskwise;

pub mod source;

pub mod pool;

pub mod metadata;

pub mod probe;

pub mod destination;

pub mod recovery;

pub mod vapp;

pub mod trial;

pub use address::Address;
pub use answer::ApiError;
pub use error::XapiError;
pub use export::{Compression, Download};
pub use fingerprint::Fingerprint;
pub use host_map::{HostMap, Unresolved};
pub use leftovers::{Fate, Kind, Leftover, Mercy};
pub use metadata::MetadataSource;
pub use objects::{HostRecord, PowerState, SrRecord, VdiRecord, VmRecord};
pub use options::{Changes, Event, Mode, Observer, SourceOptions, Tracking, Transfer, Unobserved};
pub use pool::{Disk, Pool, Vm, connect, connect_with};
pub use request::{DataChannel, Settings};
pub use session::{Login, Password, Session};
pub use source::PoolSource;
pub use trust::Trust;

#[cfg(test)]
mod tests;

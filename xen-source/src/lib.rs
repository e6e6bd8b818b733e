//! Xen in and out: disks come out of files that hold VMs, and go into such files again.
//!
//! | in ([`open`], [`open_disks`], [`open_chain`]) | out |
//! |---|---|
//! | an XVA, plain or inside gzip or zstd | [`write_xva`]: the same bytes, or a new XVA |
//! | raw disks: files with holes, devices, pipes | [`write_raw`] |
//! | VHD: fixed, dynamic, a chain | [`write_disk`]: dynamic |
//! | qcow2 | [`write_disk`]: version 3 |
//! | any other file, kept as it is | [`write_stream`] |
//!
//! A pool of hosts is another way in: [`xapi`], behind the feature of that name.
//!
//! Everything read here is checked before it is believed, and nothing is read into memory as a
//! whole but the VM record and the layout, which have limits.
//!
//! Inside the crate a module uses only those above it in this file; only [`source`], [`sink`] and
//! [`xapi::source`] know the engine, and of it only its border, `engine::source`.
#![forbid(unsafe_code)]

pub mod xva;

pub mod raw;

pub mod disk;

pub mod vhd;

pub mod qcow2;

pub mod source;

pub mod sink;

#[cfg(feature = "xapi")]
pub mod xapi;

pub use sink::{
    DiskForm, Form, Macs, RawOutput, XvaOptions, write_disk, write_raw, write_stream, write_xva,
};
pub use source::{Input, Kind, inspect_xva, is_disk, open, open_chain, open_disks};
pub use xva::checksum::ChecksumKind;
pub use xva::ova::OvaXml;
pub use xva::ova::objections::{Objection, Severity};

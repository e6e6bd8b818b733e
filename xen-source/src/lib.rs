//! Xen in and out: disks come out of files that hold VMs, and go into such files again.
//!
//! | in ([`open`], [`open_raw`]) | out |
//! |---|---|
//! | an XVA, plain or inside gzip or zstd | [`write_xva`]: the same bytes, or a new XVA |
//! | raw disks: files with holes, devices, pipes | [`write_raw`] |
//! | any other file, kept as it is | [`write_stream`] |
//!
//! Everything read here is checked before it is believed, and nothing is read into memory as a
//! whole but the VM record and the layout, which have limits.
//!
//! Inside the crate a module uses only those above it in this file; only [`source`] and [`sink`]
//! know the engine, and of it only its border, `engine::source`.
#![forbid(unsafe_code)]

pub mod xva;

pub mod raw;

pub mod source;

pub mod sink;

pub use sink::{Form, Macs, RawOutput, XvaOptions, write_raw, write_stream, write_xva};
pub use source::{Input, Kind, open, open_raw};
pub use xva::checksum::ChecksumKind;
pub use xva::ova::OvaXml;

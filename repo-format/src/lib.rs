//! The repository format: bytes to values and back. No I/O, no clock, no randomness, no threads.
//!
//! Every module is one part of SPEC.md:
//!
//! | SPEC | module |
//! |---|---|
//! | 2 data model | [`segment`] |
//! | 3 objects and names | [`object_name`], [`header`], [`void`] |
//! | 4 keys | [`keys`], [`slot`] |
//! | 5 sealing | [`seal`], [`padding`] |
//! | 6 chunker | [`chunker`] |
//! | 7 maps, nodes, disks | [`map`], [`node`], [`disk`] |
//! | 8 packs | [`frame`], [`pack`] |
//! | 9 CBOR objects | [`config`], [`snapshot`], [`session`], [`state`] |
//! | 11 index | [`index`] |
//! | 13 limits | [`limits`] |
//!
//! Inside the crate a module uses only those above it in `lib.rs`.
#![forbid(unsafe_code)]

pub mod limits;

pub mod error;

pub mod id;

pub mod wire;

pub mod cbor;

pub mod padding;

pub mod header;

pub mod keys;

pub mod seal;

pub mod object_name;

pub mod slot;

pub mod chunker;

pub mod segment;

pub mod print;

pub mod map;

pub mod node;

pub mod disk;

pub mod frame;

pub mod pack;

pub mod index;

pub mod config;

pub mod snapshot;

pub mod session;

pub mod state;

pub mod void;

pub use error::FormatError;

//! The engine: what one does with a repository. It has never heard of Xen, and never prints.
//!
//! A command is a file and a free function over [`repository::Repository`]: [`backup::backup`],
//! [`restore::SnapshotContent`], [`check::check`], [`diff::diff`], [`stats::stats`].
//! Inside the crate a module uses only those above it in this file.
#![forbid(unsafe_code)]

pub mod storage;

pub mod surroundings;

pub mod observer;

pub mod parallel;

pub mod source;

pub mod lookup;

pub mod repository;

pub mod key_slots;

pub mod catalog;

pub mod session;

pub mod entries;

pub mod reader;

pub mod window;

pub mod walk;

mod horizon;

pub mod snapshots;

pub mod reuse;

pub mod prints;

mod predecessor;

pub mod hints;

pub mod packer;

pub mod tree;

pub mod examine;

pub mod backup;

pub mod restore;

pub mod diff;

pub mod stats;

pub mod check;

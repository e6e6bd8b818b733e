//! What tests of XVAs share: archives made without the crate's writer, an importer made without
//! its reader, and disks in memory.

pub mod importer;
pub mod maker;
pub mod memory;
pub mod record;

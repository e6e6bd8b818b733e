//! The kit of the tests: fixed secrets, hostile bytes, a count of memory. Seeded, no sleeps, no network.
//!
//! | module | what a test asks it for |
//! |---|---|
//! | [`fixed`] | the same keys, ids and noise on every run |
//! | [`hostile`] | every flip, cut and addition to valid bytes, and a verdict on each |
//! | [`loose_cbor`] | every encoding of a CBOR value but the right one |
//! | [`sample`] | disks that are described, a source of them, and what their restore must give |
//! | [`faulty_storage`] | a storage whose N-th call goes wrong, and every call that was made |
//! | [`repo`] | a repository in memory that does the same on every run |
//! | [`dice`] | random choices that are the same on every run |
//! | [`memory`] | how much a parser wants to have at once |

pub mod fixed;

pub mod memory;

pub mod dice;

pub mod hostile;

pub mod loose_cbor;

pub mod sample;

pub mod faulty_storage;

pub mod repo;

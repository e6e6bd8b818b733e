//! The client against small hosts that answer what a test tells them to.

mod diskwise;
mod faults;
mod host;
mod leftovers;
mod lost_tasks;
mod metadata;
mod power_calls;
mod powers;
mod ranged;
mod recovery;
mod restores;
mod sessions;
mod sources;
mod tls;
mod transfer_calls;
mod transfers;
mod trial_calls;
mod trials;
mod world;

#[allow(dead_code, reason = "shared with the tests of XVAs, which use all of it")]
#[path = "../../tests/kit/maker.rs"]
mod maker;

#[allow(dead_code, reason = "as above")]
#[path = "../../tests/kit/memory.rs"]
mod memory;

#[allow(dead_code, reason = "as above")]
#[path = "../../tests/kit/record.rs"]
mod record;

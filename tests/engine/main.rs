//! What the engine promises, to whoever calls it: seen through its public functions, and through what it stores.
//!
//! | file | what it shows |
//! |---|---|
//! | `round_trip` | what goes in comes out, and costs nothing the second time |
//! | `every_call_fails` | any call to storage may fail, once, in any way |
//! | `order_of_writes` | a kill at any moment leaves what was there before, or the whole snapshot |
//! | `rules` | the protocol's rules by their numbers (SPEC 12.2) |
//! | `reader_rules` | the same for readers |
//! | `flips` | a flipped bit is found, and never restored |
//! | `findings` | what `check` says of each damage |
//! | `backup_role` | who may only write, and what storage sees |
//! | `windows` | a frame is opened once, whatever needs it |
//! | `runs` | backups that share packs stand alone nevertheless |
//! | `lanes`, `lane_orders` | backups at once that store nothing twice, and do not depend on each other |
//! | `reuse` | a changed segment costs its new blocks |
//! | `prints` | what finds them may be lost, damaged or forged |
//! | `trees`, `diffs` | clever structures against slow models |
//! | `sources` | a source that fails |
//! | `changes` | a source that delivers only what has changed |
//! | `keys` | passwords and key slots |
//! | `storage_promises` | what every storage must keep |

mod backup_role;
mod changes;
mod changing_disk;
mod diffs;
mod every_call_fails;
mod findings;
mod flips;
mod keys;
mod lane_orders;
mod lanes;
mod order_of_writes;
mod prints;
mod reader_rules;
mod reuse;
mod round_trip;
mod rules;
mod runs;
mod sources;
mod storage_promises;
mod trees;
mod windows;

//! The rows of the budget, a file for each group.

use crate::Scale;
use crate::table::Row;

mod absent;
mod changed;
mod exports;
pub mod index;
pub mod memory;
mod new_data;
pub mod nights;
mod one_block;
mod restore;
mod scattered;
mod unchanged;
mod workers;
mod xva;
mod zeros;

/// What went well, or any error: benches have nobody to explain errors to.
pub type Measured<T> = Result<T, Box<dyn std::error::Error>>;

/// Rows that are measured together.
pub struct Group {
    /// What one types.
    pub name: &'static str,
    /// Does it.
    pub measure: fn(Scale) -> Measured<Vec<Row>>,
}

/// All of them, in the order of SPEC 15.
pub static GROUPS: [Group; 14] = [
    Group { name: "unchanged", measure: unchanged::rows },
    Group { name: "new-data", measure: new_data::rows },
    Group { name: "changed", measure: changed::rows },
    Group { name: "restore", measure: restore::rows },
    Group { name: "workers", measure: workers::rows },
    Group { name: "xva", measure: xva::rows },
    Group { name: "zeros", measure: zeros::rows },
    Group { name: "index", measure: index::rows },
    Group { name: "nights", measure: nights::rows },
    Group { name: "scattered", measure: scattered::rows },
    Group { name: "one-block", measure: one_block::rows },
    Group { name: "exports", measure: exports::rows },
    Group { name: "memory", measure: memory::rows },
    Group { name: "absent", measure: absent::rows },
];

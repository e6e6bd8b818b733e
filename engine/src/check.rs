//! Check: finds what is wrong, and repairs nothing.
//!
//! [`hashes::check_hashes`] compares every object with its name or its final hash, and needs no key.
//! [`structure`] follows every snapshot down to the packs without reading data. [`content`] reads packs.
//! All of them return findings; nothing is printed and nothing stops at the first.

pub mod content;
pub mod finding;
pub mod hashes;
pub mod structure;

use crate::catalog::CatalogError;
use crate::observer::Observer;
use crate::parallel::Workers;
use crate::reader::Reader;
use crate::repository::Repository;

pub use content::Subset;
pub use finding::Finding;

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Objects that were read.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Snapshots that were followed.
    pub snapshots: u64,
    /// Packs that were read whole.
    pub packs: u64,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Checked,
}

impl Report {
    /// Whether a snapshot cannot be restored, or an object is damaged.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.findings.iter().any(Finding::is_damage)
    }
}

/// Checks a repository: small objects, structure, and the packs of `subset`.
pub fn check(
    repository: &Repository,
    workers: &Workers,
    subset: Option<Subset>,
    observer: &dyn Observer,
) -> Result<Report, CatalogError> {
    let mut report = Report::default();
    hashes::check_small_objects(&**repository.storage(), observer, &mut report)?;
    structure::check_objects(repository, &mut report)?;
    let reader = match Reader::open(repository) {
        Ok(reader) => reader,
        // The small objects have been checked: what is damaged has been found already.
        Err(_) if report.has_damage() => {
            report.findings.push(Finding::IndexUnusable);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let packs = structure::check_packs(&reader, &mut report)?;
    structure::check_snapshots(&reader, &packs, observer, &mut report)?;
    if let Some(subset) = subset {
        content::check_content(&reader, workers, subset, observer, &mut report)?;
    }
    Ok(report)
}

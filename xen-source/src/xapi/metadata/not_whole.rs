//! Why a file is refused.

/// A file that is not whole, or not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct NotWhole {
    /// What is wrong with it.
    pub what: String,
}

//! Notes: what was not as it should be, beside a result.

use serde::Serialize;

/// Something that people should know. `K` says what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note<K> {
    /// What it is about.
    pub kind: K,
    /// In words.
    pub message: String,
}

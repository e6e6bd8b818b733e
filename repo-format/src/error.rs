//! What can be wrong with bytes.

/// Why bytes were refused. Says what was read; which object it was is added by who knows its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the layout needs.
    #[error("{what} is too short: {found} bytes")]
    Truncated {
        /// The thing that was parsed.
        what: &'static str,
        /// Bytes that were there.
        found: usize,
    },
    /// A number is outside its limit (SPEC 13).
    #[error("{what} claims {claimed}, the limit is {limit}")]
    Limit {
        /// The field.
        what: &'static str,
        /// What the bytes say.
        claimed: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A field has a value that the format does not allow.
    #[error("{what} is not valid")]
    Invalid {
        /// The field.
        what: &'static str,
    },
    /// The object was written by a newer program.
    #[error("format version {found} is newer than this program")]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// Content does not match the hash or id that names it.
    #[error("{what} does not match its hash")]
    Hash {
        /// The thing that was hashed.
        what: &'static str,
    },
    /// Authentication failed: the bytes were changed, or the key is another one.
    #[error("{what} does not open: it was changed, or belongs to other keys")]
    Seal {
        /// The thing that was sealed.
        what: &'static str,
    },
    /// CBOR that cannot be read, or is not deterministic.
    #[error("{what} is not valid CBOR of its kind: {detail}")]
    Cbor {
        /// The object.
        what: &'static str,
        /// The decoder's words.
        detail: String,
    },
}

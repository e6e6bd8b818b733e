//! The engine: what one does with a repository. It has never heard of Xen.
pub mod source;

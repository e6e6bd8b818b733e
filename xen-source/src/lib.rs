//! Xen in and out.

//! The house rules that no compiler checks (style B21, B25): arrows, sizes, names, numbers of SPEC.md.

mod arrows;
mod numbers;
mod pages;
mod tree;

//! SPEC.md as tests: one file for each chapter, names begin with the section.

mod s02_data_model;
mod s03_names;
mod s04_keys;
mod s05_sealing;
mod s06_chunker;
mod s07_maps;
mod s07_prints;
mod s08_packs;
mod s09_cbor;
mod s11_index;
mod s13_limits;
mod s16_vectors;

//! Coverage-guided fuzzing of what Umi reads of foreign bytes, through the public API of `umi-core`.
//!
//! Each target is a function of bytes that panics where a promise is broken. `fuzz/run.py` drives them with libFuzzer;
//! `tests/replay.rs` runs the committed corpora and every input that once broke one, without libFuzzer.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a target says that a promise is broken")]

mod engine;
mod fields;
mod header;
mod metadata;
mod query;
mod stored;
mod word_piece;
mod xml;

pub use self::{
    header::header,
    metadata::metadata,
    query::query,
    stored::stored,
    word_piece::word_piece,
    xml::{core_xml, prompt_xml},
};

/// A target: it panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("core_xml", core_xml),
    ("header", header),
    ("metadata", metadata),
    ("prompt_xml", prompt_xml),
    ("query", query),
    ("stored", stored),
    ("word_piece", word_piece),
];

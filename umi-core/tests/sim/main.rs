#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![allow(clippy::unnecessary_wraps, reason = "every change of the model answers as its call does")]
//! The engine on a disk that fails, and seeded simulation: plans of operations and trouble run against the
//! production engine and against a simple model.
//!
//! `UMI_SIM_SEEDS` is the number of seeds (default 50) and `UMI_SIM_FROM` the first one (default 1). A seed that
//! fails is printed with its shortest failing plan, as a line for `seeds.txt`, which is replayed first.

mod act;
mod check;
mod dice;
mod embedder;
mod facts;
mod faults;
mod model;
mod plan;
mod run;
mod seeds;
mod shrink;
mod trouble;
mod working;

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
//! The engine on a disk that fails.

mod faults;

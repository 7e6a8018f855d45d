#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
//! The engine from outside: one binary, one module a theme.

mod background;
mod closing;
mod context;
mod deciding;
mod deep;
mod embedding;
mod examples;
mod extraction;
mod extraction_faults;
mod jobs;
mod overlap;
mod recall;
mod remember;
mod scopes;
mod store;
mod strange;
mod support;
mod time;

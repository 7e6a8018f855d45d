//! The orchestrator.

mod prompt;
mod tokens;

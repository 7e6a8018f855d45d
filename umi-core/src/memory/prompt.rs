//! stub
use super::*;
pub(super) struct PromptItem { pub(super) kind: crate::episode::Kind, pub(super) score: f64, pub(super) role: Option<String>, pub(super) speaker: Option<String>, pub(super) entity: crate::Entity }
impl From<Recalled> for PromptItem { fn from(_: Recalled) -> Self { todo!() } }
pub(super) fn render(_: &str, _: &[crate::ledger::WorkingEntry], _: Vec<PromptItem>, _: usize, _: &dyn Fn(&str) -> Result<usize>) -> Result<String> { todo!() }

//! stub
use super::*;
#[derive(Debug)]
pub(crate) struct RamIndex;
impl RamIndex {
    pub(crate) fn new(_: usize) -> Self {
        Self
    }
}
#[async_trait]
impl Index for RamIndex {
    async fn search(&self, _: &dyn Ledger, _: &SearchQuery) -> Result<Vec<Hit>> {
        todo!()
    }
    fn stats(&self) -> IndexStats {
        todo!()
    }
    fn clear(&self) {}
}

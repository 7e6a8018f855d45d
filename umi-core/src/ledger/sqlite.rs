//! The ledger in one SQLite file.
use super::*;
#[derive(Debug)]
pub(crate) struct SqliteLedger;
impl SqliteLedger {
    pub(crate) fn open(_: &Path) -> Result<Self> {
        Ok(Self)
    }
    pub(crate) fn in_memory() -> Result<Self> {
        Ok(Self)
    }
}
#[async_trait]
impl Ledger for SqliteLedger {
    fn path(&self) -> Option<&Path> {
        todo!()
    }
    async fn active_space(&self) -> Result<Option<EmbeddingSpace>> {
        todo!()
    }
    async fn claim_space(&self, _space: &EmbeddingSpace) -> Result<()> {
        todo!()
    }
    async fn owners_without_vectors(&self, _space: &EmbeddingSpace, _limit: usize) -> Result<Vec<OwnerText>> {
        todo!()
    }
    async fn count_without_vectors(&self, _space: &EmbeddingSpace) -> Result<u64> {
        todo!()
    }
    async fn put_vectors(&self, _space: &EmbeddingSpace, _vectors: Vec<OwnerVectors>) -> Result<()> {
        todo!()
    }
    async fn activate_space(&self, _space: &EmbeddingSpace) -> Result<bool> {
        todo!()
    }
    async fn append(&self, _space: &EmbeddingSpace, _episodes: Vec<NewEpisode>) -> Result<Vec<Appended>> {
        todo!()
    }
    async fn record(&self, _space: &EmbeddingSpace, _facts: Vec<NewFact>) -> Result<Vec<Recorded>> {
        todo!()
    }
    async fn update(&self, _space: &EmbeddingSpace, _scope: &Scope, _update: FactUpdate) -> Result<Recorded> {
        todo!()
    }
    async fn forget(&self, _scope: &Scope, _id: Uuid, _reach: ForgetReach, _now: Timestamp) -> Result<bool> {
        todo!()
    }
    async fn forget_scope(&self, _scope: &Scope, _now: Timestamp) -> Result<u64> {
        todo!()
    }
    async fn purge(&self) -> Result<()> {
        todo!()
    }
    async fn fact(&self, _scope: &Scope, _id: Uuid) -> Result<Option<Entity>> {
        todo!()
    }
    async fn episode(&self, _scope: &Scope, _id: Uuid) -> Result<Option<Episode>> {
        todo!()
    }
    async fn facts_by_id(&self, _scope: &Scope, _ids: &[Uuid]) -> Result<Vec<Entity>> {
        todo!()
    }
    async fn episodes_by_id(&self, _scope: &Scope, _ids: &[Uuid]) -> Result<Vec<Episode>> {
        todo!()
    }
    async fn history(&self, _scope: &Scope, _id: Uuid) -> Result<Vec<Entity>> {
        todo!()
    }
    async fn evolutions(&self, _scope: &Scope, _id: Uuid) -> Result<Vec<EvolutionRelation>> {
        todo!()
    }
    async fn facts(&self, _scope: &Scope, _filter: &FactFilter) -> Result<Vec<Entity>> {
        todo!()
    }
    async fn episodes(&self, _scope: &Scope, _page: EpisodePage) -> Result<Vec<Episode>> {
        todo!()
    }
    async fn count(&self, _scope: &Scope, _now: Timestamp) -> Result<u64> {
        todo!()
    }
    async fn has_jobs(&self) -> Result<bool> {
        todo!()
    }
    async fn pending(&self, _scope: &Scope) -> Result<Vec<Job>> {
        todo!()
    }
    async fn lease_jobs(&self, _limit: usize, _now: Timestamp, _until: Timestamp) -> Result<Vec<(Job, OwnerText)>> {
        todo!()
    }
    async fn finish_embed_job(&self, _space: &EmbeddingSpace, _job: Uuid, _vectors: OwnerVectors) -> Result<()> {
        todo!()
    }
    async fn fail_job(&self, _job: Uuid, _error: &Error) -> Result<()> {
        todo!()
    }
    fn head(&self) -> Result<i64> {
        todo!()
    }
    async fn changes(&self, _scope: &Scope, _after: i64, _limit: usize) -> Result<Changes> {
        todo!()
    }
    async fn core(&self, _scope: &Scope, _limits: CoreLimits) -> Result<CoreMemory> {
        todo!()
    }
    #[allow(clippy::too_many_arguments)]
    async fn set_block(
        &self,
        _scope: &Scope,
        _limits: CoreLimits,
        _block_type: BlockType,
        _content: &str,
        _label: Option<&str>,
        _importance: Option<f64>,
        _now: Timestamp,
    ) -> Result<Block> {
        todo!()
    }
    async fn remove_block(&self, _scope: &Scope, _block_type: BlockType, _now: Timestamp) -> Result<bool> {
        todo!()
    }
    async fn clear_core(&self, _scope: &Scope, _now: Timestamp) -> Result<()> {
        todo!()
    }
    async fn block_versions(&self, _scope: &Scope, _block_type: BlockType) -> Result<Vec<Block>> {
        todo!()
    }
    async fn restore_block(
        &self,
        _scope: &Scope,
        _limits: CoreLimits,
        _block_type: BlockType,
        _version: u64,
        _now: Timestamp,
    ) -> Result<Block> {
        todo!()
    }
    async fn working_get(&self, _scope: &Scope, _key: &str, _now: Timestamp) -> Result<Option<WorkingEntry>> {
        todo!()
    }
    async fn working_entries(&self, _scope: &Scope, _now: Timestamp) -> Result<Vec<WorkingEntry>> {
        todo!()
    }
    async fn working_usage(&self, _scope: &Scope, _now: Timestamp) -> Result<(usize, usize)> {
        todo!()
    }
    async fn working_change(
        &self,
        _scope: &Scope,
        _limits: WorkingLimits,
        _key: &str,
        _change: WorkingChange,
        _ttl: Option<crate::working_memory::TimeToLive>,
        _now: Timestamp,
    ) -> Result<Worked> {
        todo!()
    }
    async fn working_delete(&self, _scope: &Scope, _key: &str, _now: Timestamp) -> Result<bool> {
        todo!()
    }
    async fn working_cleanup(&self, _scope: &Scope, _now: Timestamp) -> Result<usize> {
        todo!()
    }
    async fn working_clear(&self, _scope: &Scope) -> Result<()> {
        todo!()
    }
    async fn stats(&self) -> Result<LedgerStats> {
        todo!()
    }
    async fn backup(&self, _to: &Path) -> Result<()> {
        todo!()
    }
    async fn check(&self) -> Result<CheckReport> {
        todo!()
    }
    async fn close(&self) -> Result<()> {
        todo!()
    }
}

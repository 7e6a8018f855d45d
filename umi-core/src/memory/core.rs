//! [`MemoryCore`]: the durable core memory of a handle's (user, agent).

use std::sync::Arc;

use super::Memory;
use crate::{
    core_memory::{Block, BlockType, CoreMemory},
    error::Result,
};

/// The durable core memory of a handle's (user, agent). Every edit is a version that can be listed and restored.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
///
/// use umi_core::BlockType;
/// let core = memory.core();
/// core.set_block(BlockType::Goals, "Open in April.", None, None).await?;
/// core.set_block(BlockType::Goals, "Open in May.", None, None).await?;
/// assert_eq!(core.versions(BlockType::Goals).await?.len(), 2);
/// assert_eq!(core.restore(BlockType::Goals, 1).await?.content, "Open in April.");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryCore {
    memory: Memory,
}

impl Memory {
    /// The durable core memory of this handle's (user, agent).
    pub fn core(&self) -> MemoryCore {
        MemoryCore { memory: self.clone() }
    }
}

impl MemoryCore {
    /// Replaces a block's text; a label or importance of none keeps the old one.
    ///
    /// # Errors
    /// `Capacity` when it does not fit, `InvalidInput` for a label or importance out of bounds; nothing is changed
    /// then.
    pub async fn set_block(
        &self,
        block_type: BlockType,
        content: &str,
        label: Option<&str>,
        importance: Option<f64>,
    ) -> Result<Block> {
        self.memory.check_open()?;
        let limits = self.memory.parts.config.core_limits();
        let now = self.memory.now();
        self.memory.ledger().set_block(self.memory.scope(), limits, block_type, content, label, importance, now).await
    }

    /// A block.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn get(&self, block_type: BlockType) -> Result<Option<Block>> {
        Ok(self.snapshot().await?.get_block(block_type).cloned())
    }

    /// The core memory as it is now, which renders itself.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn snapshot(&self) -> Result<CoreMemory> {
        self.memory.check_open()?;
        self.memory.ledger().core(self.memory.scope(), self.memory.parts.config.core_limits()).await
    }

    /// The core memory as it is now, as XML for a prompt: [`CoreMemory::render`], done once for each change.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn render(&self) -> Result<Arc<str>> {
        self.memory.check_open()?;
        self.memory.ledger().core_rendered(self.memory.scope(), self.memory.parts.config.core_limits()).await
    }

    /// Removes a block; its versions stay. Gives whether it was there.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn remove(&self, block_type: BlockType) -> Result<bool> {
        self.memory.check_open()?;
        self.memory.ledger().remove_block(self.memory.scope(), block_type, self.memory.now()).await
    }

    /// Removes every block; their versions stay.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn clear(&self) -> Result<()> {
        self.memory.check_open()?;
        self.memory.ledger().clear_core(self.memory.scope(), self.memory.now()).await
    }

    /// Every version of a block, oldest first.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn versions(&self, block_type: BlockType) -> Result<Vec<Block>> {
        self.memory.check_open()?;
        self.memory.ledger().block_versions(self.memory.scope(), block_type).await
    }

    /// Makes an old version's text, label and importance the newest version.
    ///
    /// # Errors
    /// `NotFound` for a version that is not there; `Capacity` when it does not fit any more.
    pub async fn restore(&self, block_type: BlockType, version: u64) -> Result<Block> {
        self.memory.check_open()?;
        let limits = self.memory.parts.config.core_limits();
        let now = self.memory.now();
        self.memory.ledger().restore_block(self.memory.scope(), limits, block_type, version, now).await
    }
}

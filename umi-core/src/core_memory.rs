//! Core memory: six typed blocks that are always in the prompt. Pure: no I/O, no clock.

use jiff::Timestamp;

use crate::error::Result;

/// The kinds of block, in the order of rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BlockType {
    /// How the assistant works.
    System,
    /// Who the assistant is.
    Persona,
    /// Who the user is.
    Human,
    /// What is known.
    Facts,
    /// What is wanted.
    Goals,
    /// Notes in passing.
    Scratch,
}

/// One block of core memory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Block {
    /// The kind.
    pub block_type: BlockType,
    /// A short title.
    pub label: Option<String>,
    /// The text.
    pub content: String,
    /// From 0 to 1; 0.5 unless it is set.
    pub importance: f64,
    /// 1 for the first text of this kind, then one more with every edit.
    pub version: u64,
    /// When it was last edited.
    pub updated_at: Timestamp,
}

/// How much fits into a core memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreLimits {
    /// Bytes of content in all.
    pub total_bytes: usize,
    /// Bytes of content of one block.
    pub block_bytes: usize,
}

/// Six typed blocks, rendered in a fixed order.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreMemory {
    limits: CoreLimits,
    blocks: Vec<Block>,
}

impl CoreMemory {
    /// An empty core memory.
    pub fn new(limits: CoreLimits) -> Self {
        Self { limits, blocks: Vec::new() }
    }
    /// A core memory of stored blocks.
    pub fn from_blocks(_limits: CoreLimits, _blocks: Vec<Block>) -> Self {
        todo!()
    }
    /// Replaces a block; a label or importance of none keeps the old one.
    pub fn set_block(
        &mut self,
        _block_type: BlockType,
        _content: &str,
        _label: Option<&str>,
        _importance: Option<f64>,
        _now: Timestamp,
    ) -> Result<Block> {
        todo!()
    }
}

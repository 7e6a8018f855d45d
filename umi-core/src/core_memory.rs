//! Core memory: six typed blocks that are always in the prompt. Pure: no I/O, no clock.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use jiff::Timestamp;

use crate::{
    entity::{check_bytes, check_unit},
    error::{Error, ErrorKind, Result},
    xml,
};

/// The longest label of a block, in bytes.
const LABEL_BYTES: usize = 64;
/// The smallest core memory that may be configured, in bytes.
const TOTAL_BYTES_MIN: usize = 4 * 1024;
/// The largest core memory that may be configured, in bytes.
const TOTAL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The content of a core memory unless it is configured, in bytes.
const TOTAL_BYTES_DEFAULT: usize = 32 * 1024;
/// The least that the default limit of a block allows, in bytes.
const BLOCK_BYTES_DEFAULT: usize = 16 * 1024;
/// The importance of a block that is given none.
const IMPORTANCE_DEFAULT: f64 = 0.5;
/// What one block's tags take, generously, in bytes.
const TAGS_BYTES: usize = 128;

/// The kinds of block, in the order of rendering.
///
/// # Example
/// ```
/// use umi_core::BlockType;
/// assert_eq!("Human".parse::<BlockType>()?, BlockType::Human);
/// assert_eq!(BlockType::ALL[0].as_str(), "system");
/// # Ok::<(), umi_core::Error>(())
/// ```
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

impl BlockType {
    /// Every kind, in the order of rendering.
    pub const ALL: [Self; 6] = [Self::System, Self::Persona, Self::Human, Self::Facts, Self::Goals, Self::Scratch];

    /// The kind's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Persona => "persona",
            Self::Human => "human",
            Self::Facts => "facts",
            Self::Goals => "goals",
            Self::Scratch => "scratch",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Persona => "Persona",
            Self::Human => "Human",
            Self::Facts => "Facts",
            Self::Goals => "Goals",
            Self::Scratch => "Scratch",
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BlockType {
    type Err = Error;

    /// Reads a name in any case.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid_input(format!("unknown block type `{shown}`"))
                .with_hint(format!("known types: {}", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
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

impl CoreLimits {
    /// Limits of `total_bytes` in all and `block_bytes` a block, by default 16 KiB or half of the total, whichever is
    /// more, and never more than the total.
    ///
    /// # Errors
    /// `InvalidInput` for a total outside of 4 KiB to 16 MiB, or a block limit outside of 1 to the total.
    ///
    /// # Example
    /// ```
    /// use umi_core::CoreLimits;
    /// assert_eq!(CoreLimits::new(128 * 1024, None)?.block_bytes, 64 * 1024);
    /// assert!(CoreLimits::new(100, None).is_err());
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn new(total_bytes: usize, block_bytes: Option<usize>) -> Result<Self> {
        if !(TOTAL_BYTES_MIN..=TOTAL_BYTES_MAX).contains(&total_bytes) {
            return Err(Error::invalid_input(format!("a core memory of `{total_bytes}` bytes is out of range"))
                .with_hint(format!("from {TOTAL_BYTES_MIN} to {TOTAL_BYTES_MAX} bytes are allowed")));
        }
        let block_bytes = block_bytes.unwrap_or_else(|| BLOCK_BYTES_DEFAULT.max(total_bytes / 2).min(total_bytes));
        if !(1..=total_bytes).contains(&block_bytes) {
            return Err(Error::invalid_input(format!("a core block limit of `{block_bytes}` bytes is out of range"))
                .with_hint(format!("from 1 byte to the whole core memory of {total_bytes} bytes are allowed")));
        }
        Ok(Self { total_bytes, block_bytes })
    }
}

impl Default for CoreLimits {
    /// 32 KiB in all, 16 KiB a block.
    fn default() -> Self {
        Self { total_bytes: TOTAL_BYTES_DEFAULT, block_bytes: BLOCK_BYTES_DEFAULT }
    }
}

/// Six typed blocks, rendered in a fixed order.
///
/// # Example
/// ```
/// use umi_core::{BlockType, CoreLimits, CoreMemory};
/// let mut core = CoreMemory::new(CoreLimits::default());
/// core.set_block(BlockType::Human, "Prefers concise answers.", None, None, jiff::Timestamp::UNIX_EPOCH)?;
/// assert_eq!(
///     core.render(),
///     "<core_memory>\n<block type=\"human\" importance=\"0.50\">\nPrefers concise answers.\n</block>\n</core_memory>"
/// );
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CoreMemory {
    limits: CoreLimits,
    /// At most one of each kind, in the order of rendering.
    blocks: Vec<Block>,
}

impl CoreMemory {
    /// An empty core memory.
    pub fn new(limits: CoreLimits) -> Self {
        Self { limits, blocks: Vec::new() }
    }

    /// A core memory of stored blocks, in any order; of several versions of one kind the newest counts.
    ///
    /// Blocks that were stored under larger limits are kept: only an edit is refused.
    pub fn from_blocks(limits: CoreLimits, mut blocks: Vec<Block>) -> Self {
        blocks.sort_by_key(|block| (block.block_type, std::cmp::Reverse(block.version)));
        blocks.dedup_by_key(|block| block.block_type);
        Self { limits, blocks }
    }

    /// Replaces a block's content and gives the new version; a label or importance of none keeps the old one, an
    /// empty label takes it away.
    ///
    /// # Errors
    /// `InvalidInput` for a label over 64 bytes or an importance outside of 0 to 1; `Capacity` when the block or the
    /// whole would be over its limit. Nothing has changed then.
    pub fn set_block(
        &mut self,
        block_type: BlockType,
        content: &str,
        label: Option<&str>,
        importance: Option<f64>,
        now: Timestamp,
    ) -> Result<Block> {
        if let Some(label) = label {
            check_bytes("a block's label", label, LABEL_BYTES)?;
        }
        if let Some(importance) = importance {
            check_unit("importance", importance)?;
        }
        let place = self.place(block_type);
        let old = place.ok().map(|index| &self.blocks[index]);
        self.check_room(block_type, old.map_or(0, |block| block.content.len()), content.len())?;
        let label = match label {
            Some(label) => Some(label.to_owned()).filter(|label| !label.is_empty()),
            None => old.and_then(|block| block.label.clone()),
        };
        let block = Block {
            block_type,
            label,
            content: content.to_owned(),
            // adding zero turns -0.0 into 0.0, which would be rendered with its sign
            importance: importance.or(old.map(|block| block.importance)).unwrap_or(IMPORTANCE_DEFAULT) + 0.0,
            version: old.map_or(0, |block| block.version).saturating_add(1),
            updated_at: now,
        };
        match place {
            Ok(index) => self.blocks[index] = block.clone(),
            Err(index) => self.blocks.insert(index, block.clone()),
        }
        Ok(block)
    }

    fn place(&self, block_type: BlockType) -> std::result::Result<usize, usize> {
        self.blocks.binary_search_by_key(&block_type, |block| block.block_type)
    }

    fn check_room(&self, block_type: BlockType, old_bytes: usize, new_bytes: usize) -> Result<()> {
        let CoreLimits { total_bytes, block_bytes } = self.limits;
        if new_bytes > block_bytes {
            return Err(Error::new(
                ErrorKind::Capacity,
                format!("the content of block `{block_type}` has {new_bytes} bytes, at most {block_bytes} fit"),
            )
            .with_sizes(block_bytes, new_bytes)
            .with_hint("shorten it, or raise `MemoryConfig(core_block_bytes=…)`"));
        }
        let total = self.used_bytes() - old_bytes + new_bytes;
        if total > total_bytes {
            return Err(Error::new(
                ErrorKind::Capacity,
                format!("core memory would hold {total} bytes with block `{block_type}`, at most {total_bytes} fit"),
            )
            .with_sizes(total_bytes, total)
            .with_hint("shorten or remove a block, or raise `MemoryConfig(core_memory_bytes=…)`"));
        }
        Ok(())
    }

    /// Removes a block. Gives whether it was there.
    pub fn remove_block(&mut self, block_type: BlockType) -> bool {
        let place = self.place(block_type);
        if let Ok(index) = place {
            self.blocks.remove(index);
        }
        place.is_ok()
    }

    /// A block, where there is one of the kind.
    pub fn get_block(&self, block_type: BlockType) -> Option<&Block> {
        self.place(block_type).ok().map(|index| &self.blocks[index])
    }

    /// Whether there is a block of the kind.
    pub fn has_block(&self, block_type: BlockType) -> bool {
        self.place(block_type).is_ok()
    }

    /// Removes every block.
    pub fn clear(&mut self) {
        self.blocks.clear();
    }

    /// The blocks, in the order of rendering.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The content's size in bytes; labels count for nothing.
    pub fn used_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.content.len()).sum()
    }

    /// The most content that fits, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.limits.total_bytes
    }

    /// The content that still fits, in bytes.
    pub fn available_bytes(&self) -> usize {
        self.max_bytes().saturating_sub(self.used_bytes())
    }

    /// How full it is: 0 for empty, 1 for full.
    pub fn utilization(&self) -> f64 {
        self.used_bytes() as f64 / self.max_bytes().max(1) as f64
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The XML for a prompt: newline-separated, without indentation or a trailing newline, every text escaped.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(self.used_bytes() + self.used_bytes() / 16 + TAGS_BYTES * 8);
        out.push_str("<core_memory>\n");
        for block in &self.blocks {
            out.push_str("<block");
            xml::push_attribute(&mut out, "type", block.block_type.as_str());
            if let Some(label) = &block.label {
                xml::push_attribute(&mut out, "label", label);
            }
            xml::push_attribute(&mut out, "importance", &format!("{:.2}", block.importance));
            out.push_str(">\n");
            xml::push_text(&mut out, &block.content);
            out.push_str("\n</block>\n");
        }
        out.push_str("</core_memory>");
        out
    }

    /// The blocks as Markdown for a person to read: a heading each, the content as it is.
    pub fn render_markdown(&self) -> String {
        let mut out = String::with_capacity(self.used_bytes() + TAGS_BYTES * 8);
        out.push_str("# Core Memory\n\n");
        for block in &self.blocks {
            out.push_str("## ");
            out.push_str(block.block_type.heading());
            if let Some(label) = &block.label {
                out.push_str(" - ");
                // a line break would end the heading
                out.extend(label.chars().map(|c| if c.is_control() { ' ' } else { c }));
            }
            let _infallible = write!(out, " (importance: {:.2})\n{}\n\n", block.importance, block.content);
        }
        out
    }
}

#[cfg(test)]
mod tests;

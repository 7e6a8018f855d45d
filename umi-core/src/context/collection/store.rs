//! The ordered store of a context: chunks of slots that snapshots share, and the slot of every ref.

use std::{collections::HashMap, sync::Arc};

use super::super::{
    items::Item,
    refs::{BuildRefHasher, RefId},
};

/// Slots of a chunk. What a snapshot shares is copied a chunk at a time, when it is written to.
const CHUNK_SLOTS: usize = 256;

/// Consecutive slots; an empty one is that of an item that was removed.
#[derive(Clone, Default)]
struct Chunk {
    slots: Vec<Option<Item>>,
}

/// Slots in the order of adding. Cloning it is one reference count.
#[derive(Clone, Default)]
pub(super) struct Slots {
    chunks: Arc<Vec<Arc<Chunk>>>,
    /// Slots in use and empty ones; every chunk but the last is full.
    length: usize,
}

impl Slots {
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.slots.iter().flatten())
    }

    #[inline]
    fn get(&self, slot: usize) -> Option<&Item> {
        self.chunks.get(slot / CHUNK_SLOTS)?.slots.get(slot % CHUNK_SLOTS)?.as_ref()
    }

    fn push(&mut self, item: Item) {
        let chunks = Arc::make_mut(&mut self.chunks);
        if self.length.is_multiple_of(CHUNK_SLOTS) {
            chunks.push(Arc::default());
        }
        if let Some(last) = chunks.last_mut() {
            Arc::make_mut(last).slots.push(Some(item));
            self.length += 1;
        }
    }

    fn take(&mut self, slot: usize) -> Option<Item> {
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(slot / CHUNK_SLOTS)?;
        Arc::make_mut(chunk).slots.get_mut(slot % CHUNK_SLOTS)?.take()
    }
}

/// The items of a context with the slot of every ref.
#[derive(Clone, Default)]
pub(super) struct Store {
    slots: Slots,
    slot_of: HashMap<RefId, u32, BuildRefHasher>,
}

impl Store {
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.slot_of.len()
    }

    #[inline]
    pub(super) fn get(&self, id: RefId) -> Option<&Item> {
        self.slots.get(*self.slot_of.get(&id)? as usize)
    }

    pub(super) fn contains(&self, id: RefId) -> bool {
        self.slot_of.contains_key(&id)
    }

    /// Puts an item, whose ref is in nobody's use, behind all others.
    pub(super) fn push(&mut self, item: Item) {
        self.slot_of.insert(item.ref_id(), self.slots.length as u32);
        self.slots.push(item);
    }

    /// Takes an item out. It is the caller's to drop, without a lock: an object may run code of its own then.
    pub(super) fn remove(&mut self, id: RefId) -> Option<Item> {
        let slot = self.slot_of.remove(&id)? as usize;
        let item = self.slots.take(slot);
        // Once in as many removals as there are items: the next of them are as cheap again.
        if self.slots.length > 2 * self.len() + CHUNK_SLOTS {
            self.close_gaps();
        }
        item
    }

    fn close_gaps(&mut self) {
        let mut closed = Slots::default();
        for item in self.slots.iter() {
            self.slot_of.insert(item.ref_id(), closed.length as u32);
            closed.push(item.clone());
        }
        self.slots = closed;
    }
}

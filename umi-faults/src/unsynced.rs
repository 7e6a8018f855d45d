//! What was done to a file since it was last synced, so that a power cut can take any part of it back.

use crate::random::Random;

/// A disk writes whole sectors of this many bytes, in any order.
const SECTOR: usize = 512;

/// What a chance is counted in.
pub(crate) const CHANCES: u64 = 20;

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    Everything,
    Nothing,
    /// Each change by chance: so many of [`CHANCES`] are kept, and of the others each second one is torn.
    Some(u64),
}

#[derive(Debug)]
enum What {
    Write { offset: usize, old: Vec<u8>, new: Vec<u8> },
    Truncate { length: usize, tail: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A sync that succeeds makes it durable.
    Waiting,
    /// A sync failed: a later one does not bring it back.
    InDoubt,
    Durable,
}

#[derive(Debug)]
struct Change {
    what: What,
    /// The file's length before it.
    length: usize,
    state: State,
}

/// The changes of one file, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<Change>);

impl Changes {
    /// Notes a write into a file of `length` bytes which replaces `old` by `new`.
    pub(crate) fn written(&mut self, length: usize, offset: usize, old: Vec<u8>, new: Vec<u8>) {
        self.0.push(Change { what: What::Write { offset, old, new }, length, state: State::Waiting });
    }

    /// Notes that a file now has `length` bytes and has lost `tail`.
    pub(crate) fn truncated(&mut self, before: usize, length: usize, tail: Vec<u8>) {
        self.0.push(Change { what: What::Truncate { length, tail }, length: before, state: State::Waiting });
    }

    /// A sync succeeded.
    pub(crate) fn synced(&mut self) {
        for change in &mut self.0 {
            if change.state == State::Waiting {
                change.state = State::Durable;
            }
        }
        // What came before the first change in doubt can never be taken back.
        let settled = self.0.iter().take_while(|change| change.state == State::Durable).count();
        self.0.drain(..settled);
    }

    /// A sync failed.
    pub(crate) fn sync_failed(&mut self) {
        for change in &mut self.0 {
            if change.state == State::Waiting {
                change.state = State::InDoubt;
            }
        }
    }

    /// Makes of the bytes as they are those that a power cut leaves.
    pub(crate) fn cut(&self, bytes: &mut Vec<u8>, luck: Luck, random: &mut Random) {
        for change in self.0.iter().rev() {
            match &change.what {
                What::Write { offset, old, .. } => overwrite(bytes, *offset, old),
                What::Truncate { length, tail } => overwrite(bytes, *length, tail),
            }
            bytes.resize(change.length, 0);
        }
        for change in &self.0 {
            let luck = if change.state == State::Durable { Luck::Everything } else { luck };
            let (is_kept, is_torn) = match luck {
                Luck::Nothing => (false, false),
                Luck::Everything => (true, false),
                Luck::Some(kept) => match random.below(CHANCES) {
                    drawn if drawn < kept => (true, false),
                    drawn => (false, drawn % 2 == 0),
                },
            };
            match &change.what {
                What::Truncate { length, .. } if is_kept || is_torn => bytes.resize(*length, 0),
                What::Write { offset, new, .. } if is_kept => overwrite(bytes, *offset, new),
                What::Write { offset, new, .. } if is_torn => tear(bytes, *offset, new, random),
                _ => {}
            }
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, with: &[u8]) {
    if with.is_empty() {
        return;
    }
    let end = offset + with.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(with);
}

/// Writes some of the sectors.
fn tear(bytes: &mut Vec<u8>, offset: usize, new: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < new.len() {
        let end = ((offset + at) / SECTOR * SECTOR + SECTOR - offset).min(new.len());
        if random.below(2) == 1 {
            overwrite(bytes, offset + at, &new[at..end]);
        }
        at = end;
    }
}

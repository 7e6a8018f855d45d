//! Trouble with the disk that a plan holds.

use umi_faults::{Failure, Fault, FileKind, Operation};

use crate::dice::Dice;

/// What goes wrong in a step, at a number of file operations into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) what: What,
    pub(crate) operation: Option<Operation>,
    pub(crate) file: Option<FileKind>,
    pub(crate) after: u64,
}

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// One operation fails.
    Fails,
    /// Every operation from there on fails, until the step is over.
    KeepsFailing,
    /// The disk is full for one write.
    Full,
    /// The disk is full until the step is over.
    StaysFull,
    /// A write is done in part, and then there is no space.
    Short,
    /// The power goes.
    Cut,
}

impl Trouble {
    pub(crate) fn draw(dice: &mut Dice, cuts: bool) -> Self {
        let what = if cuts && dice.one_in(2) {
            What::Cut
        } else {
            dice.pick(&[What::Fails, What::Fails, What::KeepsFailing, What::Full, What::StaysFull, What::Short])
        };
        let operation = match what {
            What::Full | What::StaysFull | What::Short => Some(Operation::Write),
            _ => {
                dice.maybe(2, &[Operation::Read, Operation::Write, Operation::Write, Operation::Sync, Operation::Sync])
            }
        };
        let file = dice.maybe(4, &[FileKind::Database, FileKind::Wal, FileKind::Wal]);
        let most = if dice.one_in(2) { 3 } else { 16 };
        Self { what, operation, file, after: dice.below(most) }
    }

    /// What the fault layer is to do.
    pub(crate) fn fault(self) -> Fault {
        let full = matches!(self.what, What::Full | What::StaysFull | What::Short);
        let lasts = matches!(self.what, What::KeepsFailing | What::StaysFull);
        Fault {
            failure: if full { Failure::Full } else { Failure::Io },
            operation: self.operation,
            file: self.file,
            after: self.after,
            count: if lasts { u64::MAX } else { 1 },
            short: self.what == What::Short,
            power_off: self.what == What::Cut,
        }
    }
}

//! Chance that is the same on every machine: a stream of numbers from a seed.

use umi_faults::Random;

/// What chooses steps.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Random);

impl Dice {
    /// The stream of a seed and a place: that of one place does not depend on any other.
    pub(crate) fn of(seed: u64, place: u64) -> Self {
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut dice = Self(Random::new(seed));
        dice.next();
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.0.below(count.max(1))
    }

    /// Whether one of `count` sides shows.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of some things.
    pub(crate) fn pick<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len() as u64) as usize].clone()
    }

    /// Perhaps one of some things.
    pub(crate) fn maybe<T: Clone>(&mut self, one_in: u64, things: &[T]) -> Option<T> {
        if self.one_in(one_in) { Some(self.pick(things)) } else { None }
    }
}

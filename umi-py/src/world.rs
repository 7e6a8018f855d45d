//! `ManualClock` and `uuid7`.

use pyo3::prelude::*;
use umi_core::{self as core, Clock, SystemClock};

use crate::{
    convert::{Delta, Time},
    error::IntoPyResult,
};

/// A clock that moves only when it is told to, for tests and simulations.
///
/// It is accepted by `WorkingMemory(clock=)` and by every way to open a `Memory`.
#[pyclass(frozen, module = "umi")]
pub(crate) struct ManualClock {
    pub(crate) inner: core::ManualClock,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new(start: Time) -> Self {
        Self { inner: core::ManualClock::new(start.0) }
    }

    /// The time that it stands at, in UTC.
    fn now(&self) -> Time {
        Time(self.inner.now())
    }

    /// Moves it forward by a timedelta.
    fn advance(&self, by: Delta) -> PyResult<()> {
        self.inner.advance(by.duration("the step of a clock")?).py()
    }

    /// Sets it to an aware datetime, backwards too.
    fn set(&self, now: Time) {
        self.inner.set(now.0);
    }

    fn __repr__(&self) -> String {
        format!("ManualClock({})", self.inner.now())
    }
}

/// A new UUID of version 7, as text: ids made later sort later.
#[pyfunction]
pub(crate) fn uuid7() -> String {
    core::new_id(SystemClock.now()).to_string()
}

/// Waits, without holding the interpreter, until no thread uses a store.
#[pyfunction]
pub(crate) fn _before_fork(py: Python<'_>) {
    py.detach(core::before_fork);
}

/// Lets the calls of other threads go on.
#[pyfunction]
pub(crate) fn _after_fork_in_parent() {
    core::after_fork_in_parent();
}

/// Draws a new seed for ids and lets go of what a forked child inherits.
#[pyfunction]
pub(crate) fn _after_fork_in_child() {
    core::after_fork_in_child();
}

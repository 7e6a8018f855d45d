//! An opening, which may still be under way: no event loop waits for a disk.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use pyo3::prelude::*;
use umi_core::{Error, Memory, MemoryBuilder, Result, Scope};

use crate::{
    error::{IntoPyResult, from_panic},
    runtime::{self, block_on},
};

/// How long an event loop waits for what a look at the store does not tell. A store that is there opens in less; making
/// a new one, or going through the log of one that was killed, takes longer.
const PATIENCE: Duration = Duration::from_millis(3);

/// A memory that is open, or that is being opened on the worker threads.
#[derive(Clone)]
pub(crate) enum Opening {
    Done(Memory),
    UnderWay(UnderWay),
}

#[derive(Clone)]
pub(crate) struct UnderWay {
    outcome: Shared<BoxFuture<'static, Result<Memory>>>,
    scope: Scope,
    is_scoped: bool,
}

impl Opening {
    /// Opens a memory and waits for it, without holding the interpreter.
    pub(crate) fn wait(py: Python<'_>, builder: MemoryBuilder) -> PyResult<Self> {
        block_on(py, None, builder.build()).map(Self::Done)
    }

    /// Opens a memory, and waits for it no longer than an event loop may stand still.
    ///
    /// What a look at the folder and at the header of the database tells fails here, however busy the machine is. What
    /// fails later is logged, and told to whoever uses the memory.
    pub(crate) fn begin(py: Python<'_>, builder: MemoryBuilder, scope: Scope) -> PyResult<Self> {
        let looked = py.detach(|| catch_unwind(AssertUnwindSafe(|| builder.look())));
        looked.unwrap_or_else(|panic| Err(from_panic(panic.as_ref()))).py()?;
        let (sender, receiver) = channel();
        let task = runtime::handle(py)?.spawn(async move {
            let outcome = builder.build().await;
            if sender.send(outcome.clone()).is_err()
                && let Err(error) = &outcome
            {
                tracing::warn!(target: "umi::memory", kind = ?error.kind(), "a store could not be opened; using it raises the reason");
            }
            outcome
        });
        match py.detach(move || receiver.recv_timeout(PATIENCE)) {
            Ok(outcome) => outcome.py().map(Self::Done),
            // without a sender it panicked, which the task's own outcome tells
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let ended = |joined: std::result::Result<_, tokio::task::JoinError>| {
                    joined.map_err(|error| Error::internal("the opening did not end").with_source(error)).flatten()
                };
                Ok(Self::UnderWay(UnderWay { outcome: task.map(ended).boxed().shared(), scope, is_scoped: false }))
            }
        }
    }

    /// What is known without waiting.
    pub(crate) fn known(&self) -> Option<Result<Memory>> {
        match self {
            Self::Done(memory) => Some(Ok(memory.clone())),
            Self::UnderWay(under_way) => under_way.outcome.clone().now_or_never(),
        }
    }

    /// The memory, once it is open.
    pub(crate) async fn memory(self) -> Result<Memory> {
        match self {
            Self::Done(memory) => Ok(memory),
            Self::UnderWay(under_way) => under_way.outcome.await,
        }
    }

    /// The scope of calls that name none.
    pub(crate) fn scope(&self) -> &Scope {
        match self {
            Self::Done(memory) => memory.scope(),
            Self::UnderWay(under_way) => &under_way.scope,
        }
    }

    /// A handle of another scope. Nothing but the opening can be wrong with that of a memory that pins no user, so it
    /// need not wait.
    pub(crate) fn scoped(&self, py: Python<'_>, scope: Scope) -> PyResult<Self> {
        match self {
            Self::UnderWay(under_way) if !under_way.is_scoped && self.known().is_none() => {
                let (opening, overlaid) = (self.clone(), under_way.scope.overlaid(&scope));
                let outcome = async move { opening.memory().await?.scoped(&scope) };
                Ok(Self::UnderWay(UnderWay { outcome: outcome.boxed().shared(), scope: overlaid, is_scoped: true }))
            }
            _ => {
                let opening = self.clone();
                block_on(py, None, async move { opening.memory().await?.scoped(&scope) }).map(Self::Done)
            }
        }
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(Ok(memory)) => memory.fmt(f),
            Some(Err(error)) => error.fmt(f),
            None => f.write_str("Memory { is being opened }"),
        }
    }
}

//! The one tokio runtime of a process, and how a future of the core becomes an awaitable or a blocking call.

use std::{
    any::Any,
    cell::OnceCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    time::Duration,
};

use futures::FutureExt;
use parking_lot::Mutex;
use pyo3::{
    exceptions::{PyRuntimeError, PyTimeoutError},
    prelude::*,
};
use pyo3_async_runtimes::{
    TaskLocals,
    generic::{self, ContextExt},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle, block_in_place},
};
use umi_core::{Error, ErrorKind};

use crate::{
    convert::Delta,
    error::{IntoPyResult, from_panic},
};

/// How often a blocked call looks whether it was interrupted from the keyboard.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);
/// How long the end of the interpreter waits for work that is under way.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// How many plain functions of callers run at once. Those beyond wait for a thread, and nobody else does: the engine's
/// own work is done by other threads.
const CALLERS_THREADS: usize = 512;

struct Entry {
    process: u32,
    runtime: Runtime,
    /// Never driven: the threads on which callers' plain functions run. They are kept from one call to the next, because
    /// such functions keep things by thread.
    callers: Runtime,
}

/// Locked only while attached to the interpreter, as is a fork: no child inherits it locked.
static RUNTIME: Mutex<Option<Entry>> = Mutex::new(None);

impl Entry {
    fn start(process: u32) -> std::io::Result<Self> {
        Ok(Self {
            process,
            runtime: Builder::new_multi_thread().worker_threads(2).thread_name("umi-worker").enable_time().build()?,
            callers: Builder::new_current_thread()
                .max_blocking_threads(CALLERS_THREADS)
                .thread_name("umi-caller")
                .build()?,
        })
    }
}

/// The runtime of this process, started on first use and again in a forked child.
pub(crate) fn handle(_py: Python<'_>) -> PyResult<Handle> {
    let mut slot = RUNTIME.lock();
    let process = std::process::id();
    if let Some(entry) = slot.as_ref().filter(|entry| entry.process == process) {
        return Ok(entry.runtime.handle().clone());
    }
    let entry = Entry::start(process)
        .map_err(|error| Error::new(ErrorKind::StoreIo, "cannot start the worker threads").with_source(error))
        .py()?;
    let handle = entry.runtime.handle().clone();
    if let Some(inherited) = slot.replace(entry) {
        // the threads of the parent are not here, so there is nobody to join
        std::mem::forget(inherited);
    }
    Ok(handle)
}

/// Runs a caller's plain function on a thread of its own. Where the call is given up, it is not begun, or its answer is
/// dropped.
pub(crate) async fn on_callers_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let callers = Python::attach(|_| RUNTIME.lock().as_ref().map(|entry| entry.callers.handle().clone()))
        .ok_or_else(|| Error::internal("a function was called where no thread is left"))?;
    let mut call = AbortOnDrop(callers.spawn_blocking(work));
    (&mut call.0).await.map_err(|error| Error::internal("a call of a function did not end").with_source(error))
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The runtime of this process, if there is one (none is left at the end of the interpreter).
pub(crate) fn existing(_py: Python<'_>) -> Option<Handle> {
    let slot = RUNTIME.lock();
    slot.as_ref().filter(|entry| entry.process == std::process::id()).map(|entry| entry.runtime.handle().clone())
}

/// Ends the runtime, at the end of the interpreter.
#[pyfunction]
pub(crate) fn _shutdown(py: Python<'_>) {
    let entry = RUNTIME.lock().take();
    match entry {
        Some(entry) if entry.process == std::process::id() => py.detach(|| {
            entry.runtime.shutdown_timeout(SHUTDOWN);
            entry.callers.shutdown_timeout(SHUTDOWN);
        }),
        Some(inherited) => std::mem::forget(inherited),
        None => {}
    }
}

/// Runs a future to its end without holding the interpreter; an interrupt from the keyboard drops it, as does the end
/// of `timeout`.
pub(crate) fn block_on<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    future: impl Future<Output = umi_core::Result<T>> + Send,
) -> PyResult<T> {
    let handle = handle(py)?;
    let mut left = timeout;
    let mut future = Box::pin(AssertUnwindSafe(future).catch_unwind());
    let outcome = loop {
        let future = &mut future;
        let step = py.detach(|| {
            catch_unwind(AssertUnwindSafe(|| {
                // A function of the caller that a worker has called, `progress` say, may block on a memory itself.
                block_in_place(|| handle.block_on(async { tokio::time::timeout(SIGNAL_CHECK, future.as_mut()).await }))
            }))
        });
        match step {
            Ok(Ok(outcome)) => break settled(outcome).py(),
            Ok(Err(_elapsed)) => {
                if let Err(interrupt) = py.check_signals() {
                    break Err(interrupt);
                }
                if let Some(time) = &mut left {
                    *time = time.saturating_sub(SIGNAL_CHECK);
                    if time.is_zero() {
                        break Err(PyTimeoutError::new_err("the operation did not end in time"));
                    }
                }
            }
            Err(panic) => break Err(from_panic(panic.as_ref())).py(),
        }
    };
    // What was given up may close a store, which waits for threads that may wait for the interpreter.
    py.detach(move || drop(future));
    outcome
}

fn settled<T>(outcome: Result<umi_core::Result<T>, Box<dyn Any + Send>>) -> umi_core::Result<T> {
    outcome.unwrap_or_else(|panic| Err(from_panic(panic.as_ref())))
}

/// Turns a value of the core into one of Python, while attached.
type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Work = Pin<Box<dyn Future<Output = umi_core::Result<Convert>> + Send>>;

/// A call of the engine that has not begun: `start()` gives an awaitable, `wait()` blocks. One of them, once.
#[pyclass(frozen, generic, module = "umi._umi")]
pub(crate) struct Operation {
    work: Mutex<Option<Work>>,
}

impl Operation {
    /// Joins a future of the core and the conversion of its value.
    pub(crate) fn new<T, F, C>(future: F, convert: C) -> Self
    where
        T: Send + 'static,
        F: Future<Output = umi_core::Result<T>> + Send + 'static,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let work =
            future.map(|outcome| outcome.map(|value| Box::new(move |py: Python<'_>| convert(py, value)) as Convert));
        Self { work: Mutex::new(Some(Box::pin(work))) }
    }

    fn take(&self) -> PyResult<Work> {
        self.work.lock().take().ok_or_else(|| PyRuntimeError::new_err("this operation has already begun"))
    }
}

#[pymethods]
impl Operation {
    /// Begins on the worker threads and gives a future of the running event loop; cancelling it drops the call.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let work = self.take()?;
        handle(py)?;
        generic::future_into_py::<Workers, _, Py<PyAny>>(py, async move {
            let outcome = settled(AssertUnwindSafe(work).catch_unwind().await);
            Python::attach(|py| outcome.py()?(py))
        })
    }

    /// The iterator of `start()`, for `await operation`.
    fn __await__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.start(py)?.call_method0(pyo3::intern!(py, "__await__"))
    }

    /// Blocks until it is done, without holding the interpreter; raises `TimeoutError` after `timeout`.
    #[pyo3(signature = (timeout=None))]
    pub(crate) fn wait(&self, py: Python<'_>, timeout: Option<Delta>) -> PyResult<Py<PyAny>> {
        let timeout = timeout.map(|timeout| timeout.duration("timeout")).transpose()?;
        let work = self.take()?;
        block_on(py, timeout, work)?(py)
    }
}

tokio::task_local! {
    static LOCALS: OnceCell<TaskLocals>;
}

/// The event loop on which the caller awaits the present task, if there is one.
pub(crate) fn awaiting_loop(py: Python<'_>) -> Option<Py<PyAny>> {
    Workers::get_task_locals().map(|locals| locals.event_loop(py).unbind())
}

/// [`RUNTIME`] as pyo3-async-runtimes wants it; its own one would hang in a forked child.
struct Workers;

impl generic::Runtime for Workers {
    type JoinError = JoinError;
    type JoinHandle = JoinHandle<()>;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Self::JoinHandle {
        current().spawn(future)
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(work: F) -> Self::JoinHandle {
        current().spawn_blocking(work)
    }
}

impl ContextExt for Workers {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(OnceCell::from(locals), future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(|locals| locals.get().cloned()).unwrap_or(None)
    }
}

/// Not `Handle::current()`, which on a thread of [`Entry::callers`] is that of a runtime that nobody drives.
#[expect(clippy::expect_used, reason = "the trait leaves no way to say that threads cannot be started")]
fn current() -> Handle {
    Python::attach(handle).expect("invariant: `start` has a runtime")
}

//! The one tokio runtime of a process, and how a future of the core becomes an awaitable or a blocking call.

use std::{
    any::Any,
    cell::OnceCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use futures::FutureExt;
use parking_lot::{Condvar, Mutex};
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

/// By how much the engine's threads give way to the caller's. The kernel lets a thread that wakes wait for one that
/// computes, several milliseconds where each has the same weight, and an event loop stands still as long.
#[cfg(target_os = "linux")]
const GIVING_WAY: i32 = 5;

struct Entry {
    process: u32,
    runtime: Runtime,
    /// Never driven: the threads on which callers' plain functions run. They are kept from one call to the next, because
    /// such functions keep things by thread.
    callers: Runtime,
    blocked: Arc<Blocked>,
}

/// The calls that block on futures of a runtime, which have to be given up before it ends.
#[derive(Default)]
struct Blocked {
    is_ending: AtomicBool,
    calls: Mutex<usize>,
    left: Condvar,
}

/// One of the calls.
struct Call(Arc<Blocked>);

impl Call {
    fn begin(blocked: Arc<Blocked>) -> Self {
        *blocked.calls.lock() += 1;
        Self(blocked)
    }

    fn is_given_up(&self) -> bool {
        self.0.is_ending.load(Ordering::SeqCst)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.calls.lock() -= 1;
        self.0.left.notify_all();
    }
}

impl Blocked {
    /// Gives all of them up and waits until they are gone.
    fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.left.wait_while_for(&mut self.calls.lock(), |calls| *calls > 0, SHUTDOWN);
    }
}

/// The process whose interpreter ends; none is 0.
static ENDED: AtomicU32 = AtomicU32::new(0);

/// Locked only while attached to the interpreter, as is a fork: no child inherits it locked.
static RUNTIME: Mutex<Option<Entry>> = Mutex::new(None);

impl Entry {
    fn start(process: u32) -> std::io::Result<Self> {
        let give_way = give_way();
        Ok(Self {
            process,
            runtime: Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("umi-worker")
                .on_thread_start(give_way)
                .enable_all()
                .build()?,
            callers: Builder::new_current_thread()
                .max_blocking_threads(CALLERS_THREADS)
                .thread_name("umi-caller")
                .build()?,
            blocked: Arc::default(),
        })
    }
}

/// What lowers the priority of a thread alone, which Linux can. A thread begins with the priority of the one that starts
/// it, which may have given way already: so they all go to one place below the caller's.
#[cfg(target_os = "linux")]
fn give_way() -> impl Fn() + Send + Sync + 'static {
    use rustix::process::{getpriority_process, setpriority_process};

    let lowered = getpriority_process(None).map(|priority| priority + GIVING_WAY);
    move || {
        if let Err(error) = lowered.and_then(|lowered| setpriority_process(None, lowered)) {
            tracing::debug!(%error, "a thread keeps its priority");
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() -> impl Fn() + Send + Sync + 'static {
    || {}
}

fn ending() -> Error {
    Error::new(ErrorKind::Closed, "the interpreter ends").with_hint("join threads that use a memory before the end")
}

/// The runtime of this process, started on first use and again in a forked child. There is none once the interpreter
/// ends.
pub(crate) fn handle(py: Python<'_>) -> PyResult<Handle> {
    entry(py).map(|(handle, _)| handle)
}

fn entry(py: Python<'_>) -> PyResult<(Handle, Arc<Blocked>)> {
    if ENDED.load(Ordering::SeqCst) == std::process::id() {
        return Err(ending()).py();
    }
    started(py)
}

fn started(_py: Python<'_>) -> PyResult<(Handle, Arc<Blocked>)> {
    let mut slot = RUNTIME.lock();
    let process = std::process::id();
    if let Some(entry) = slot.as_ref().filter(|entry| entry.process == process) {
        return Ok((entry.runtime.handle().clone(), entry.blocked.clone()));
    }
    let entry = Entry::start(process)
        .map_err(|error| Error::new(ErrorKind::StoreIo, "cannot start the worker threads").with_source(error))
        .py()?;
    let known = (entry.runtime.handle().clone(), entry.blocked.clone());
    if let Some(inherited) = slot.replace(entry) {
        // the threads of the parent are not here, so there is nobody to join
        std::mem::forget(inherited);
    }
    Ok(known)
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
    ENDED.store(std::process::id(), Ordering::SeqCst);
    let entry = RUNTIME.lock().take();
    match entry {
        Some(entry) if entry.process == std::process::id() => py.detach(|| {
            entry.blocked.end();
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
    let (handle, blocked) = entry(py)?;
    let call = Call::begin(blocked);
    let mut left = timeout;
    let mut future = Box::pin(AssertUnwindSafe(future).catch_unwind());
    let outcome = loop {
        let future = &mut future;
        let step = py.detach(|| {
            catch_unwind(AssertUnwindSafe(|| {
                // A function of the caller that a worker has called, `progress` say, may block on a memory itself.
                block_in_place(|| drive(&handle, future.as_mut()))
            }))
        });
        match step {
            Ok(Some(outcome)) => break settled(outcome).py(),
            Ok(None) if call.is_given_up() => break Err(ending()).py(),
            Ok(None) => {
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

/// Runs work on a thread of its own, without holding the interpreter. An interrupt from the keyboard ends the wait for
/// it; the work itself, whose decoders cannot be stopped, comes to its end unseen.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> umi_core::Result<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = mpsc::channel();
    let run = move || {
        // Nobody waits any more where it was interrupted.
        drop(sender.send(catch_unwind(AssertUnwindSafe(work))));
    };
    thread::Builder::new().name("umi-context".to_owned()).spawn(run)?;
    loop {
        let (outcome, waiting) = py.detach(move || (receiver.recv_timeout(SIGNAL_CHECK), receiver));
        receiver = waiting;
        match outcome {
            Ok(outcome) => return outcome.unwrap_or_else(|panic| Err(from_panic(panic.as_ref()))).py(),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("a thread ended without word")).py(),
        }
    }
}

/// Wakes the thread that drives a future.
struct Driver {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Drives a future on this thread until it is done, or until it is time to look whether it was interrupted. A timer of
/// the runtime would panic where the runtime ends meanwhile.
#[expect(clippy::disallowed_methods, reason = "when to look for a signal is no time of the engine")]
fn drive<F: Future>(handle: &Handle, mut future: Pin<&mut F>) -> Option<F::Output> {
    let _context = handle.enter();
    let driver = Arc::new(Driver { thread: thread::current(), is_woken: AtomicBool::new(true) });
    let waker = Waker::from(driver.clone());
    let until = Instant::now() + SIGNAL_CHECK;
    loop {
        if driver.is_woken.swap(false, Ordering::SeqCst)
            && let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return Some(outcome);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        if !driver.is_woken.load(Ordering::SeqCst) {
            thread::park_timeout(left);
        }
    }
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
    Python::attach(started).expect("invariant: `start` has a runtime").0
}

//! Functions of the caller, plain and async.

use std::fmt;

use parking_lot::Mutex;
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyCFunction, PyDict, PyTuple},
};
use tokio::sync::oneshot;

use crate::{
    error::IntoPyResult,
    runtime::{awaiting_loop, on_callers_thread},
};

/// A function of one argument: a plain one runs in a worker thread, an async one on an event loop.
pub(crate) struct Function {
    function: Py<PyAny>,
    is_async: bool,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("is_async", &self.is_async).finish_non_exhaustive()
    }
}

impl Function {
    /// Takes what can be called.
    pub(crate) fn new(function: &Bound<'_, PyAny>) -> PyResult<Self> {
        if !function.is_callable() {
            return Err(PyTypeError::new_err("fn is not callable"));
        }
        // here, because the workers that will need it should not import anything
        function.py().import(intern!(function.py(), "umi._loop"))?;
        Ok(Self { is_async: is_coroutine_function(function)?, function: function.clone().unbind() })
    }

    /// What the function gives, awaited.
    pub(crate) async fn call(
        &self,
        argument: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let (function, event_loop) = Python::attach(|py| (self.function.clone_ref(py), awaiting_loop(py)));
        if self.is_async {
            return run(function, argument, event_loop).await;
        }
        let call = move || Python::attach(|py| function.call1(py, (argument(py)?,)));
        let answer = on_callers_thread(call).await.py()??;
        let is_awaitable = Python::attach(|py| answer.bind(py).hasattr(intern!(py, "__await__")))?;
        if is_awaitable {
            let given = Python::attach(|py| {
                let give = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                    Python::attach(|py| answer.clone_ref(py))
                };
                Ok::<_, PyErr>(PyCFunction::new_closure(py, None, None, give)?.into_any().unbind())
            })?;
            return run(given, |py| Ok(py.None()), event_loop).await;
        }
        Ok(answer)
    }
}

fn is_coroutine_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = function.py();
    let test = py.import(intern!(py, "inspect"))?.getattr(intern!(py, "iscoroutinefunction"))?;
    Ok(test.call1((function,))?.extract::<bool>()?
        || test.call1((function.getattr(intern!(py, "__call__"))?,))?.extract::<bool>()?)
}

/// Calls an async function on an event loop: the caller's, else the private one.
async fn run(
    function: Py<PyAny>,
    argument: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>,
    event_loop: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let (sender, receiver) = oneshot::channel::<()>();
    let running = Python::attach(|py| -> PyResult<_> {
        let submit = py.import(intern!(py, "umi._loop"))?.getattr(intern!(py, "submit"))?;
        let future = submit.call1((function, argument(py)?, event_loop))?;
        let sender = Mutex::new(Some(sender));
        let wake = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            if let Some(sender) = sender.lock().take() {
                // nobody listens any more where the call was dropped
                let _ = sender.send(());
            }
        };
        future.call_method1(intern!(py, "add_done_callback"), (PyCFunction::new_closure(py, None, None, wake)?,))?;
        Ok(Running { future: future.unbind() })
    })?;
    // an error says that the callback was dropped uncalled; the future's own result tells why
    let _ = receiver.await;
    Python::attach(|py| running.future.call_method1(py, intern!(py, "result"), (0,)))
}

/// A future of `concurrent.futures`, cancelled when nobody waits for it any more.
struct Running {
    future: Py<PyAny>,
}

impl Drop for Running {
    fn drop(&mut self) {
        Python::attach(|py| {
            if let Err(error) = self.future.call_method0(py, intern!(py, "cancel")) {
                error.write_unraisable(py, None);
            }
        });
    }
}

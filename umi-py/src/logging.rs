//! The core's `tracing` events as records of Python's `logging`, below the logger `umi`.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

static BRIDGED: OnceLock<()> = OnceLock::new();

/// Starts the bridge, once. It is not part of the import, because that would import `logging`.
pub(crate) fn bridge(py: Python<'_>) -> PyResult<()> {
    if BRIDGED.get().is_some() {
        return Ok(());
    }
    let logging = py.import("logging")?;
    // As every library does: silent unless the application says otherwise.
    let silent = logging.call_method0("NullHandler")?;
    logging.call_method1("getLogger", ("umi",))?.call_method1("addHandler", (silent,))?;
    // An error means that another extension of this process has taken the one place of `log`: its choice stands.
    drop(Logger::new(py, Caching::LoggersAndLevels)?.install());
    BRIDGED.get_or_init(|| ());
    Ok(())
}

//! `BaseTable`: rows for every library that reads Arrow.

use std::sync::Arc;

use arrow_array::{RecordBatchIterator, ffi_stream::FFI_ArrowArrayStream};
use arrow_schema::ffi::FFI_ArrowSchema;
use parking_lot::Mutex;
use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyCapsule, PyDict, PyList, PyString},
};
use umi_core::{
    Error,
    context::{self as core, Cell},
};

use crate::{
    convert::Time,
    error::{IntoPyResult, guarded},
};

/// A column: its name, its type, whether a value is missing, and the values.
type Column<'py> = (String, String, bool, Bound<'py, PyList>);

/// Rows in the columns of Arrow. Use `umi.Table`.
#[pyclass(frozen, subclass, module = "umi._umi")]
pub(crate) struct BaseTable {
    inner: core::Table,
}

impl BaseTable {
    pub(super) fn of(inner: core::Table) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl BaseTable {
    #[new]
    fn new(table: &Bound<'_, Self>) -> Self {
        Self::of(table.get().inner.clone())
    }

    /// How many rows there are.
    #[getter]
    fn num_rows(&self) -> usize {
        self.inner.num_rows()
    }

    /// The names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<&str> {
        self.inner.column_names().collect()
    }

    /// The type of every column, as Arrow calls it.
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for field in self.inner.schema().fields() {
            dict.set_item(field.name(), field.data_type().to_string())?;
        }
        Ok(dict)
    }

    /// A dict for each row. Times are aware ones of UTC. Of columns with the same name the last is given.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let names: Vec<Bound<'py, PyString>> = self.inner.column_names().map(|name| PyString::new(py, name)).collect();
        let rows = PyList::empty(py);
        for row in self.inner.rows() {
            let dict = PyDict::new(py);
            for (name, cell) in names.iter().zip(row) {
                dict.set_item(name, to_object(py, cell)?)?;
            }
            rows.append(dict)?;
        }
        Ok(rows)
    }

    /// The columns for pandas: name, type, whether a value is missing, values. Times are microseconds since 1970.
    fn _columns<'py>(&self, py: Python<'py>) -> PyResult<Vec<Column<'py>>> {
        let mut columns: Vec<Column<'py>> = Vec::new();
        for field in self.inner.schema().fields() {
            columns.push((field.name().clone(), field.data_type().to_string(), false, PyList::empty(py)));
        }
        for row in self.inner.rows() {
            for ((_, _, is_missing, values), cell) in columns.iter_mut().zip(row) {
                *is_missing |= cell == Cell::Null;
                match cell {
                    Cell::Time(time) => values.append(time.as_microsecond())?,
                    other => values.append(to_object(py, other)?)?,
                }
            }
        }
        Ok(columns)
    }

    /// The rows as a capsule of an Arrow C stream.
    ///
    /// The schema that is asked for is not looked at, as the interface allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let stream = guarded(|| {
            let batches = self.inner.batches().to_vec().into_iter().map(Ok);
            let reader = RecordBatchIterator::new(batches, Arc::clone(self.inner.schema()));
            Ok(FFI_ArrowArrayStream::new(Box::new(reader)))
        })?;
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }

    /// The names and types of the columns as a capsule of an Arrow C schema.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.inner.schema().as_ref())
            .map_err(|error| Error::internal("a schema cannot be given to Arrow").with_source(error))
            .py()?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    fn __len__(&self) -> usize {
        self.inner.num_rows()
    }
}

fn to_object<'py>(py: Python<'py>, cell: Cell<'_>) -> PyResult<Bound<'py, PyAny>> {
    match cell {
        Cell::Text(text) => Ok(PyString::new(py, text).into_any()),
        Cell::Integer(number) => number.into_bound_py_any(py),
        Cell::Real(number) => number.into_bound_py_any(py),
        Cell::Truth(truth) => truth.into_bound_py_any(py),
        Cell::Time(time) => Time(time).into_bound_py_any(py),
        Cell::Bytes(bytes) => Ok(PyBytes::new(py, bytes).into_any()),
        _ => Ok(py.None().into_bound(py)),
    }
}

/// Whether a signal, such as that of Ctrl-C, came in while a query ran, with the exception that it raised.
#[derive(Clone, Default)]
pub(super) struct Interrupt(Arc<Mutex<Option<PyErr>>>);

impl Interrupt {
    /// Asks Python, and keeps what is raised.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
    pub(super) fn is_there(&self) -> bool {
        match Python::attach(|py| py.check_signals()) {
            Ok(()) => false,
            Err(raised) => {
                *self.0.lock() = Some(raised);
                true
            }
        }
    }

    pub(super) fn take(&self) -> Option<PyErr> {
        self.0.lock().take()
    }
}

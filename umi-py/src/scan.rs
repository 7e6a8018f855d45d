//! `DirectoryScan`, the native part of `umi.DirectoryContext`, and the files that it lists.

mod arguments;
mod table;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyDict, PyList, PyString},
};
use umi_core::context::{self as core, COLUMNS, GrepOptions, ScanOptions};

pub(crate) use self::table::BaseTable;
use self::{
    arguments::{Parameters, Size, Words, moment},
    table::Interrupt,
};
use crate::{
    context::BaseContext,
    convert::{Str, Text, Time, Whole, dict_of},
    error::{IntoPyResult, guarded, to_value},
};

/// The files below a folder. Use `umi.Context(root)`.
#[pyclass(frozen, module = "umi._umi")]
pub(crate) struct DirectoryScan {
    inner: Arc<core::Scan>,
}

impl DirectoryScan {
    fn file(&self, entry: &Arc<core::FileEntry>) -> FileEntry {
        FileEntry { scan: Arc::clone(&self.inner), entry: Arc::clone(entry) }
    }

    fn entry(&self, path: &Path) -> PyResult<&Arc<core::FileEntry>> {
        self.inner.entry(path).ok_or_else(|| {
            let shown: String = path.to_string_lossy().chars().take(64).collect();
            let error = umi_core::Error::invalid_input(format!("`{shown}` is not a file of this scan"))
                .with_hint("hidden and ignored files, and what a filter left out, are not");
            Python::attach(|py| crate::error::to_py(py, &error))
        })
    }
}

#[pymethods]
impl DirectoryScan {
    #[new]
    #[pyo3(signature = (root, *, session_id=None, n_threads=None, no_ignore=false))]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        session_id: Option<Str<'_>>,
        n_threads: Option<Whole>,
        no_ignore: bool,
    ) -> PyResult<Self> {
        let mut options = ScanOptions::new().with_no_ignore(no_ignore);
        if let Some(session_id) = session_id {
            options = options.with_session(session_id.0).py()?;
        }
        if let Some(threads) = n_threads {
            options = options.with_threads(threads.size("n_threads")?).py()?;
        }
        let inner = guarded(|| py.detach(|| core::Scan::open(root, &options)))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The folder or file that was scanned: absolute, without symbolic links.
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner.root().as_os_str().into_bound_py_any(py)
    }

    /// The id of the session.
    #[getter]
    fn session_id(&self) -> &str {
        self.inner.session_id()
    }

    /// How many symbolic links were not followed.
    #[getter]
    fn links(&self) -> usize {
        self.inner.links()
    }

    /// What could not be read, as exceptions.
    #[getter]
    fn errors<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.inner.errors().iter().map(|error| to_value(py, error)).collect()
    }

    /// The files, sorted by path.
    #[getter]
    fn files(&self) -> Vec<FileEntry> {
        self.inner.entries().iter().map(|entry| self.file(entry)).collect()
    }

    /// The files that fit everything that is asked for.
    #[pyo3(signature = (*, kind=None, ext=None, min_size=None, max_size=None, modified_after=None))]
    fn filter(
        &self,
        kind: Option<Words>,
        ext: Option<Words>,
        min_size: Option<Size>,
        max_size: Option<Size>,
        modified_after: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut filter = arguments::kinds_and_extensions(kind, ext)?;
        if let Some(size) = min_size {
            filter = filter.with_min_size(size.0);
        }
        if let Some(size) = max_size {
            filter = filter.with_max_size(size.0);
        }
        if let Some(time) = modified_after {
            filter = filter.with_modified_after(moment(time)?);
        }
        Ok(Self { inner: Arc::new(self.inner.filter(&filter)) })
    }

    /// The matches of a regular expression, and the errors of files that could not be searched.
    #[pyo3(signature = (pattern, *, kind=None, ext=None, ignore_case=false, limit=None))]
    fn grep<'py>(
        &self,
        py: Python<'py>,
        pattern: Str<'_>,
        kind: Option<Words>,
        ext: Option<Words>,
        ignore_case: bool,
        limit: Option<Whole>,
    ) -> PyResult<(Bound<'py, PyList>, Vec<Bound<'py, PyAny>>)> {
        let mut options = GrepOptions::new().with_ignore_case(ignore_case);
        if let Some(limit) = limit {
            options = options.with_limit(limit.size("limit")?);
        }
        let pattern = pattern.0.to_owned();
        let is_whole = kind.is_none() && ext.is_none();
        let filter = arguments::kinds_and_extensions(kind, ext)?;
        let found = guarded(|| {
            py.detach(|| {
                if is_whole {
                    self.inner.grep(&pattern, options)
                } else {
                    self.inner.filter(&filter).grep(&pattern, options)
                }
            })
        })?;
        let matches = PyList::empty(py);
        for found in found.matches {
            matches.append(dict_of!(py,
                "path" => found.entry.path().as_os_str(),
                "line_number" => found.line_number,
                "line" => found.line,
            ))?;
        }
        let errors = found.errors.iter().map(|error| to_value(py, error)).collect::<PyResult<_>>()?;
        Ok((matches, errors))
    }

    /// The text of a file.
    fn cat(&self, py: Python<'_>, path: PathBuf) -> PyResult<String> {
        guarded(|| py.detach(|| self.inner.text(&path)))
    }

    /// The first lines of a file.
    fn head(&self, py: Python<'_>, path: PathBuf, n: Whole) -> PyResult<String> {
        let lines = n.size("n")?;
        guarded(|| py.detach(|| self.inner.head(&path, lines)))
    }

    /// The last lines of a file.
    fn tail(&self, py: Python<'_>, path: PathBuf, n: Whole) -> PyResult<String> {
        let lines = n.size("n")?;
        guarded(|| py.detach(|| self.inner.tail(&path, lines)))
    }

    /// The file of a ref, or of a global ref of this session.
    fn get(&self, r#ref: Str<'_>) -> PyResult<FileEntry> {
        self.inner.get(r#ref.0).map(|entry| self.file(entry)).py()
    }

    /// The refs, in the order of the files.
    fn ref_ids(&self) -> Vec<String> {
        self.inner.entries().iter().map(|entry| entry.ref_id().to_string()).collect()
    }

    /// The global ref of every path.
    #[getter]
    fn refs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for entry in self.inner.entries() {
            dict.set_item(entry.path().as_os_str(), self.file(entry).global_ref())?;
        }
        Ok(dict)
    }

    /// The ref of a path.
    fn ref_for(&self, path: PathBuf) -> PyResult<String> {
        Ok(self.entry(&path)?.ref_id().to_string())
    }

    /// The global ref of a path.
    fn global_ref(&self, path: PathBuf) -> PyResult<String> {
        Ok(self.file(self.entry(&path)?).global_ref())
    }

    /// The files as a table.
    fn to_arrow(&self, py: Python<'_>, refs: bool) -> PyResult<BaseTable> {
        guarded(|| py.detach(|| self.inner.to_arrow(refs))).map(BaseTable::of)
    }

    /// The rows of a query over the table `files`.
    #[pyo3(signature = (query, parameters=None))]
    fn sql(&self, py: Python<'_>, query: Text, parameters: Option<Parameters>) -> PyResult<BaseTable> {
        let parameters = parameters.unwrap_or_default().0;
        let interrupt = Interrupt::default();
        let asked = interrupt.clone();
        let outcome = guarded(|| py.detach(|| self.inner.sql(&query.0, &parameters, move || asked.is_there())));
        // a signal is what ended the query, whatever that says
        interrupt.take().map_or(outcome, Err).map(BaseTable::of)
    }

    /// A Markdown table of the first files.
    fn show(&self, limit: Whole, columns: Option<Vec<Text>>, refs: bool) -> PyResult<String> {
        let limit = limit.size("limit")?;
        let columns: Option<Vec<&str>> = columns.as_ref().map(|all| all.iter().map(|name| name.0.as_str()).collect());
        guarded(|| self.inner.show(limit, columns.as_deref(), refs))
    }

    /// What was scanned in a few lines.
    fn info(&self) -> PyResult<String> {
        guarded(|| Ok(self.inner.info()))
    }

    /// Root, session and number of files in a line.
    fn header(&self) -> String {
        self.inner.header()
    }

    /// Puts the files into a context.
    fn add_to(&self, context: &Bound<'_, BaseContext>) -> PyResult<()> {
        guarded(|| self.inner.add_to(context.get().inner()))
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> bool {
        value.cast::<PyString>().is_ok_and(|text| text.to_str().is_ok_and(|text| self.inner.get(text).is_ok()))
    }
}

/// One file of a scan, as it was then. `open(file)` and `Path(file)` take it.
#[pyclass(frozen, module = "umi._umi")]
pub(crate) struct FileEntry {
    scan: Arc<core::Scan>,
    entry: Arc<core::FileEntry>,
}

/// A `str` of what may not be UTF-8, as `os.fsdecode` gives it.
type Decoded<'py> = PyResult<Bound<'py, PyAny>>;

#[pymethods]
impl FileEntry {
    /// The path from the root on.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> Decoded<'py> {
        self.entry.path().as_os_str().into_bound_py_any(py)
    }

    /// The last part of the path.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> Decoded<'py> {
        self.entry.path().file_name().unwrap_or_default().into_bound_py_any(py)
    }

    /// The name without its extension.
    #[getter]
    fn stem<'py>(&self, py: Python<'py>) -> Decoded<'py> {
        self.entry.path().file_stem().unwrap_or_default().into_bound_py_any(py)
    }

    /// The extension in lower case, with its period; empty where there is none.
    #[getter]
    fn ext(&self) -> String {
        self.entry.extension()
    }

    /// The size in bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.entry.size()
    }

    /// When the content was changed last, in UTC; None where the file system does not tell.
    #[getter]
    fn modified(&self) -> Option<Time> {
        self.entry.modified().map(Time)
    }

    /// When the file was made, in UTC; None where the file system does not tell.
    #[getter]
    fn created(&self) -> Option<Time> {
        self.entry.created().map(Time)
    }

    /// The media type.
    #[getter]
    fn mime(&self) -> &'static str {
        self.entry.format().media_type
    }

    /// The kind: `image`, `video`, `audio`, `document`, `code`, `data`, `config`, `text` or `other`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.entry.format().kind.as_str()
    }

    /// Whether it is of a kind that is not read as text.
    #[getter]
    fn is_binary(&self) -> bool {
        self.entry.is_binary()
    }

    /// The folders between the root and it.
    #[getter]
    fn depth(&self) -> u16 {
        self.entry.depth()
    }

    /// The folder from the root on; empty for the root itself.
    #[getter]
    fn parent<'py>(&self, py: Python<'py>) -> Decoded<'py> {
        self.entry.path().parent().map(Path::as_os_str).unwrap_or_default().into_bound_py_any(py)
    }

    /// The width of an image in pixels, else None.
    #[getter]
    fn width(&self) -> Option<u32> {
        self.entry.dimensions().map(|(width, _)| width)
    }

    /// The height of an image in pixels, else None.
    #[getter]
    fn height(&self) -> Option<u32> {
        self.entry.dimensions().map(|(_, height)| height)
    }

    /// The absolute path.
    #[getter]
    fn uri<'py>(&self, py: Python<'py>) -> Decoded<'py> {
        self.scan.absolute(&self.entry).as_os_str().into_bound_py_any(py)
    }

    /// The ref. It follows from session and absolute path, so that another scan gives the same.
    #[getter]
    fn ref_id(&self) -> String {
        self.entry.ref_id().to_string()
    }

    /// The id of the session.
    #[getter]
    fn session_id(&self) -> &str {
        self.scan.session_id()
    }

    /// The session's id, a slash and the ref.
    #[getter]
    fn global_ref(&self) -> String {
        format!("{}/{}", self.scan.session_id(), self.entry.ref_id())
    }

    /// The columns of the table with their values.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let this = Self { scan: Arc::clone(&self.scan), entry: Arc::clone(&self.entry) }.into_bound_py_any(py)?;
        for name in COLUMNS {
            dict.set_item(name, this.getattr(name)?)?;
        }
        Ok(dict)
    }

    fn __fspath__<'py>(&self, py: Python<'py>) -> Decoded<'py> {
        self.uri(py)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.entry == other.entry && self.scan.absolute(&self.entry) == other.scan.absolute(&other.entry)
        })
    }

    fn __hash__(&self) -> u64 {
        crate::convert::hash_of(&self.scan.absolute(&self.entry))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path(py)?.call_method1(intern!(py, "__repr__"), ())?.extract::<String>()?;
        Ok(format!("FileEntry({path}, kind='{}', size={})", self.kind(), self.size()))
    }
}

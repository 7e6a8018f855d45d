//! `BaseContext`, the native part of `umi.Context`.

mod adding;
mod image;
mod json;
pub(crate) mod messages;
mod refs;
pub(crate) mod saved;

use std::sync::Arc;

use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    pybacked::{PyBackedBytes, PyBackedStr},
    sync::PyOnceLock,
    types::{PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple, PyType},
};
use umi_core::{
    Metadata,
    context::{self as core, Item, ItemSource, Layout, NewItem, RefId},
};

pub(crate) use self::refs::{GlobalRef, MissingRef, Url};
use self::{image::Image, json::JsonObject};
use crate::{
    convert::{Str, dict_of, wrong_type},
    encoders::registry,
    error::{IntoPyResult, guarded},
    metadata::from_json,
    models::LanguageModelProvider,
    runtime::{Operation, interruptible},
};

/// What the items of a pickled context are: ref, role, kind of source, source, media type, metadata as JSON.
type Row<'py> = (Bound<'py, PyString>, &'static str, &'static str, Bound<'py, PyAny>, Option<String>, Option<String>);

/// An ordered list of texts, files, images, bytes and addresses, each behind a short ref. Use `umi.Context`.
#[pyclass(frozen, subclass, module = "umi._umi")]
pub(crate) struct BaseContext {
    inner: core::Context,
}

/// What a lookup found, taken out from under the lock: nothing there may run code of Python.
enum Found {
    Object(Py<PyAny>),
    Source(ItemSource),
}

impl Found {
    #[inline]
    fn of(py: Python<'_>, item: &Item) -> Self {
        match held(py, item.source()) {
            Some(object) => Self::Object(object),
            None => Self::Source(item.source().clone()),
        }
    }
}

/// The object of Python that a source keeps alive, where it is one.
#[inline]
fn held(py: Python<'_>, source: &ItemSource) -> Option<Py<PyAny>> {
    fn of<T: 'static>(any: &dyn std::any::Any) -> Option<&T> {
        any.downcast_ref()
    }
    match source {
        ItemSource::Text(text) => of::<PyBackedStr>(&**text).map(|text| text.as_py_str().clone_ref(py).into_any()),
        ItemSource::Bytes(bytes) => of::<Kept>(bytes.held()).map(|kept| kept.object.clone_ref(py).into_any()),
        ItemSource::Object(object) => of::<Image>(&**object).map(|image| image.object.clone_ref(py)),
        _ => None,
    }
}

/// A `bytes` object with a view of what is in it.
pub(crate) struct Kept {
    object: Py<PyBytes>,
    view: PyBackedBytes,
}

impl Kept {
    pub(crate) fn new(bytes: &Bound<'_, PyBytes>) -> Self {
        Self { object: bytes.clone().unbind(), view: bytes.clone().into() }
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.view
    }
}

/// The content of a source as an object of Python.
fn to_object<'py>(py: Python<'py>, source: &ItemSource) -> PyResult<Bound<'py, PyAny>> {
    if let Some(object) = held(py, source) {
        return Ok(object.into_bound(py));
    }
    match source {
        ItemSource::Path(path) => adding::path_class(py)?.call1((path.as_os_str(),)),
        ItemSource::Url(url) => Url::new(url).into_bound_py_any(py),
        ItemSource::Bytes(bytes) => Ok(PyBytes::new(py, bytes.as_slice()).into_any()),
        other => Ok(PyString::new(py, &other.description()).into_any()),
    }
}

fn ref_text(py: Python<'_>, ref_id: RefId) -> Bound<'_, PyString> {
    PyString::new(py, &ref_id.text())
}

impl BaseContext {
    /// The items as they are now.
    pub(crate) fn snapshot(&self) -> core::Snapshot {
        self.inner.snapshot()
    }

    pub(crate) fn from_core(inner: core::Context) -> Self {
        Self { inner }
    }

    /// The context of the core.
    pub(crate) fn inner(&self) -> &core::Context {
        &self.inner
    }

    fn missing(&self, py: Python<'_>, reference: &str) -> PyErr {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        // Its view of the items is kept as it is: `__init__` takes a message that is a text.
        let raised = CLASS.import(py, "umi.exceptions", "RefNotFoundError").and_then(|class| {
            let view = MissingRef::new(self.inner.not_found(reference));
            class.call_method1(intern!(py, "__new__"), (class, view))
        });
        raised.map_or_else(|failure| failure, PyErr::from_value)
    }

    fn find<'py>(&self, py: Python<'py>, reference: Str<'_>) -> PyResult<Bound<'py, PyAny>> {
        match self.inner.read(reference.0, |item| Found::of(py, item)).py()? {
            Some(Found::Object(object)) => Ok(object.into_bound(py)),
            Some(Found::Source(source)) => to_object(py, &source),
            None => Err(self.missing(py, reference.0)),
        }
    }
}

#[pymethods]
impl BaseContext {
    #[new]
    #[pyo3(signature = (*, session_id=None))]
    fn new(session_id: Option<Str<'_>>) -> PyResult<Self> {
        let inner = match session_id {
            Some(session_id) => core::Context::with_session(session_id.0).py()?,
            None => core::Context::new(),
        };
        Ok(Self { inner })
    }

    /// The id of the session.
    #[getter]
    fn session_id(&self) -> &str {
        self.inner.session_id()
    }

    /// Puts an item behind all others and gives its new ref.
    ///
    /// Takes a `str` (free text; paths and addresses in it are not followed), a `pathlib.Path` of an existing file, a
    /// `PIL.Image.Image`, a NumPy array with the pixels of an image, `bytes` with their `media_type`, or an `umi.Url`, which
    /// is passed on and never fetched. `role` is `system`, `developer` or `user`; only a text may have another than `user`.
    /// `metadata` is a dict of JSON values, kept as it is now. `media_type` is for bytes and addresses.
    ///
    /// Raises `TypeError` for other objects and for bytes without a media type; `FileNotFoundError`, `IsADirectoryError`
    /// and other `OSError`s for files; `ValueError` for an unknown role, for a role that the object may not have and for
    /// metadata that is not JSON. Nothing has been added then.
    #[pyo3(signature = (obj, *, role=Str("user"), metadata=None, media_type=None), text_signature = "($self, obj, *, role='user', metadata=None, media_type=None)")]
    fn add<'py>(
        &self,
        py: Python<'py>,
        obj: &Bound<'py, PyAny>,
        role: Str<'_>,
        metadata: Option<&Bound<'py, PyAny>>,
        media_type: Option<Str<'_>>,
    ) -> PyResult<Bound<'py, PyString>> {
        let role = role.0.parse().py()?;
        let item = adding::new_item(obj, media_type.map(|text| text.0))?.with_role(role).py()?;
        let item = match metadata {
            Some(metadata) => item.with_metadata(metadata.extract::<JsonObject>()?.0),
            None => item,
        };
        Ok(ref_text(py, self.inner.add(item).py()?))
    }

    /// The content of an item: the same `str`, `bytes` or image that was added, a new `pathlib.Path`, or an `umi.Url`.
    ///
    /// Takes a ref, or a global ref of this session. Raises `RefNotFoundError`, which names the refs that there are, and
    /// `ValueError` for a global ref of another session.
    #[pyo3(signature = (r#ref, /))]
    fn get<'py>(&self, py: Python<'py>, r#ref: Str<'_>) -> PyResult<Bound<'py, PyAny>> {
        self.find(py, r#ref)
    }

    /// Takes an item out. Takes and raises what `get` does.
    #[pyo3(signature = (r#ref, /))]
    fn remove(&self, py: Python<'_>, r#ref: Str<'_>) -> PyResult<()> {
        match self.inner.take(r#ref.0).py()? {
            Some(_) => Ok(()),
            None => Err(self.missing(py, r#ref.0)),
        }
    }

    /// The items as dicts, in the order in which they were added.
    ///
    /// The keys are `ref_id`, `role`, `kind`, `source_kind` (`path`, `url` or `in_memory`), `source_value` (the path, the
    /// address or the media type; `image/pil` and `image/numpy` for objects), `byte_len` (of what is in memory, else None), `desc` and `metadata`.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let items = self.inner.snapshot();
        let list = PyList::empty(py);
        for item in items.iter() {
            list.append(to_dict(py, item)?)?;
        }
        Ok(list)
    }

    /// The refs, in the order in which the items were added.
    fn ref_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let items = self.inner.snapshot();
        let refs: Vec<_> = items.iter().map(|item| ref_text(py, item.ref_id())).collect();
        PyList::new(py, refs)
    }

    /// The global ref of every ref: the session's id, a slash and the ref.
    #[getter]
    fn refs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let mut global = format!("{}/", self.inner.session_id());
        let start = global.len();
        for item in self.inner.snapshot().iter() {
            let text = item.ref_id().text();
            global.truncate(start);
            global.push_str(&text);
            dict.set_item(PyString::new(py, &text), PyString::new(py, &global))?;
        }
        Ok(dict)
    }

    /// A tree of text. The layouts are `insertion`, `paths`, `kind`, `flat` and `hybrid`.
    ///
    /// Raises `ValueError` for an unknown layout.
    #[pyo3(signature = (layout=Str("insertion")), text_signature = "($self, layout='insertion')")]
    fn tree(&self, layout: Str<'_>) -> PyResult<String> {
        let layout: Layout = layout.0.parse().py()?;
        guarded(|| Ok(self.inner.snapshot().tree(layout)))
    }

    /// A Markdown table of the items.
    fn _table(&self) -> PyResult<String> {
        guarded(|| Ok(self.inner.snapshot().table()))
    }

    /// A Markdown table of the items with what can be told of them without a model.
    fn _to_md(slf: &Bound<'_, Self>, is_fast: bool) -> PyResult<String> {
        let context = slf.clone().unbind();
        interruptible(slf.py(), move || {
            let inner = &context.get().inner;
            Ok(if is_fast { inner.to_md_fast() } else { inner.to_md() })
        })
    }

    /// A Markdown table of the items with what a language model tells of them. To be awaited, or waited for.
    fn _to_md_accurate(&self, llm: &LanguageModelProvider) -> Operation {
        let (items, model, registry) = (self.inner.snapshot(), Arc::clone(&llm.inner), Arc::clone(registry()));
        let work = async move { Ok(items.to_md_accurate(&*model, &registry).await) };
        Operation::new(work, |py, table: String| Ok(PyString::new(py, &table).into_any().unbind()))
    }

    /// A table in HTML, for notebooks.
    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let items = self.inner.snapshot();
        interruptible(py, move || items.html(registry()))
    }

    fn __repr__(&self) -> PyResult<String> {
        guarded(|| Ok(self.inner.snapshot().summary()))
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> bool {
        value.cast::<PyString>().is_ok_and(|text| text.to_str().is_ok_and(|text| self.inner.contains(text)))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.ref_ids(py)?.try_iter()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, r#ref: Str<'_>) -> PyResult<Bound<'py, PyAny>> {
        self.find(py, r#ref)
    }

    #[expect(clippy::type_complexity, reason = "what pickle takes: what makes it again, and of what")]
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String, Bound<'py, PyList>))> {
        let (py, inner) = (slf.py(), &slf.get().inner);
        let rows = PyList::empty(py);
        for item in inner.snapshot().iter() {
            rows.append(row(py, item)?)?;
        }
        let restore = slf.get_type().getattr(intern!(py, "_restore"))?;
        Ok((restore, (inner.session_id().to_owned(), rows)))
    }

    /// Makes a context again of what `__reduce__` gave.
    #[classmethod]
    fn _restore<'py>(
        cls: &Bound<'py, PyType>,
        session_id: &Bound<'py, PyString>,
        rows: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = PyDict::new(cls.py());
        options.set_item(intern!(cls.py(), "session_id"), session_id)?;
        let made = cls.call((), Some(&options))?;
        let context = made.cast::<Self>()?.get();
        for row in rows.iter() {
            let (ref_id, item) = from_row(row.cast::<PyTuple>()?)?;
            context.inner.insert(ref_id, item).py()?;
        }
        Ok(made)
    }
}

fn to_dict<'py>(py: Python<'py>, item: &Item) -> PyResult<Bound<'py, PyDict>> {
    let source = item.source();
    let (value, bytes) = match source {
        ItemSource::Text(text) => {
            let text: &str = (**text).as_ref();
            (intern!(py, "text/plain").clone(), Some(text.len() as u64))
        }
        ItemSource::Bytes(bytes) => (PyString::new(py, bytes.media_type()), Some(bytes.as_slice().len() as u64)),
        ItemSource::Object(object) => (PyString::intern(py, Image::media_type(&**object)), object.bytes()),
        other => (PyString::new(py, &other.description()), None),
    };
    let description = match source {
        ItemSource::Text(_) => to_object(py, source)?,
        ItemSource::Path(_) | ItemSource::Url(_) => value.clone().into_any(),
        other => PyString::new(py, &other.description()).into_any(),
    };
    let metadata = match item.metadata() {
        Some(metadata) => from_json(py, metadata.as_str())?,
        None => PyDict::new(py).into_any(),
    };
    Ok(dict_of!(py,
        "ref_id" => ref_text(py, item.ref_id()),
        "role" => PyString::intern(py, item.role().as_str()),
        "kind" => PyString::intern(py, item.kind().as_str()),
        "source_kind" => PyString::intern(py, source.kind_name()),
        "source_value" => value,
        "byte_len" => bytes,
        "desc" => description,
        "metadata" => metadata,
    ))
}

fn row<'py>(py: Python<'py>, item: &Item) -> PyResult<Row<'py>> {
    let (kind, value, media_type) = match item.source() {
        ItemSource::Path(path) => ("path", path.as_os_str().into_bound_py_any(py)?, None),
        ItemSource::Bytes(bytes) => ("bytes", to_object(py, item.source())?, Some(bytes.media_type().to_owned())),
        ItemSource::Url(url) => {
            ("url", PyString::new(py, url.as_str()).into_any(), url.media_type().map(str::to_owned))
        }
        ItemSource::Object(_) => ("image", to_object(py, item.source())?, None),
        other => ("text", to_object(py, other)?, None),
    };
    let metadata = item.metadata().map(|metadata| metadata.as_str().to_owned());
    Ok((ref_text(py, item.ref_id()), item.role().as_str(), kind, value, media_type, metadata))
}

fn from_row(row: &Bound<'_, PyTuple>) -> PyResult<(RefId, NewItem)> {
    let text = |place| row.get_item(place)?.extract::<PyBackedStr>();
    let optional = |place| row.get_item(place)?.extract::<Option<PyBackedStr>>();
    let ref_id: RefId = text(0)?.parse().py()?;
    let (value, media_type) = (row.get_item(3)?, optional(4)?);
    let item = match &*text(2)? {
        "path" => NewItem::known_file(value.extract()?, ref_id.kind()),
        "url" => NewItem::url(core::Url::new(&value.extract::<PyBackedStr>()?, media_type.as_deref()).py()?),
        "text" | "bytes" | "image" => adding::new_item(&value, media_type.as_deref())?,
        other => return Err(wrong_type(&format!("a source, not `{other}`"), &value)),
    };
    let item = item.with_role(text(1)?.parse().py()?).py()?;
    Ok((
        ref_id,
        match optional(5)? {
            Some(metadata) => item.with_metadata(Metadata::parse(&metadata).py()?),
            None => item,
        },
    ))
}

//! What `Context.add` takes, by the class of the object. Classes of other packages are looked up where they are loaded,
//! and nothing is imported for their sake.

use std::path::PathBuf;

use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    pybacked::PyBackedStr,
    sync::PyOnceLock,
    types::{PyBytes, PyDict, PyString, PyType},
};
use umi_core::context::{self as core, NewItem};

use super::{Kept, Url, image::Image};
use crate::{
    convert::{Str, wrong_type},
    error::IntoPyResult,
};

/// Makes an item of an object.
pub(super) fn new_item(object: &Bound<'_, PyAny>, media_type: Option<&str>) -> PyResult<NewItem> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        let media_type = media_type.ok_or_else(|| {
            PyTypeError::new_err("add() needs the media type of bytes, as in add(data, media_type=\"image/png\")")
        })?;
        return NewItem::bytes(Kept::new(bytes), media_type).py();
    }
    if let Ok(url) = object.cast::<Url>() {
        let url = &url.get().inner;
        return match media_type {
            Some(_) => Ok(NewItem::url(core::Url::new(url.as_str(), media_type).py()?)),
            None => Ok(NewItem::url(url.clone())),
        };
    }
    if media_type.is_some() {
        return Err(PyTypeError::new_err(format!(
            "media_type is for bytes and Url, not for {}",
            object.get_type().name()?
        )));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return match PyBackedStr::try_from(text.clone()) {
            Ok(text) => Ok(NewItem::text(text)),
            Err(_) => Err(object.extract::<Str<'_>>().err().unwrap_or_else(|| wrong_type("str", object))),
        };
    }
    let py = object.py();
    if is_a(object, loaded(py, &PATH, intern!(py, "pathlib"), intern!(py, "Path"))?)? {
        return NewItem::file(object.extract::<PathBuf>()?).py();
    }
    if is_a(object, loaded(py, &PIL_IMAGE, intern!(py, "PIL.Image"), intern!(py, "Image"))?)? {
        return Ok(NewItem::object(Image::of_pil(object)));
    }
    if is_a(object, loaded(py, &NUMPY_ARRAY, intern!(py, "numpy"), intern!(py, "ndarray"))?)? {
        return Ok(NewItem::object(Image::of_array(object)?));
    }
    Err(PyTypeError::new_err(format!(
        "add() does not accept {}; it takes str, pathlib.Path, PIL.Image.Image, a NumPy array, bytes with media_type=, or \
         umi.Url",
        object.get_type().name()?
    )))
}

static PATH: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PIL_IMAGE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static NUMPY_ARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The class `pathlib.Path`.
pub(super) fn path_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    PATH.import(py, "pathlib", "Path")
}

/// A class of a module, where that is loaded: without it there are no objects of the class.
fn loaded<'py>(
    py: Python<'py>,
    class: &'static PyOnceLock<Py<PyType>>,
    module: &Bound<'py, PyString>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<&'py Bound<'py, PyType>>> {
    if let Some(class) = class.get(py) {
        return Ok(Some(class.bind(py)));
    }
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?.cast_into::<PyDict>()?;
    // a module that is being imported may lack it yet
    let Some(found) = modules.get_item(module)?.and_then(|module| module.getattr_opt(name).ok().flatten()) else {
        return Ok(None);
    };
    let found = found.cast_into::<PyType>()?.unbind();
    Ok(Some(class.get_or_init(py, || found).bind(py)))
}

fn is_a(object: &Bound<'_, PyAny>, class: Option<&Bound<'_, PyType>>) -> PyResult<bool> {
    class.map_or(Ok(false), |class| object.is_instance(class))
}

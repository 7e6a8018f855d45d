//! The encoders of the process: those of the core, those of users, and the readers that need packages of Python.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use pyo3::{
    exceptions::{PyException, PyImportError, PyMemoryError, PyOSError},
    intern,
    prelude::*,
    types::{PyBytes, PyDict},
};
use umi_core::{
    Error, ErrorKind, Result,
    context::{
        Channels, Content, EncodeOptions, Encoder, EncoderRegistry, FILM_FORMATS, FILM_TIME, Ffmpeg, ImageReader, Kind,
        Media, Part, Pixels, Source, VideoFacts, VideoReader,
    },
};

use crate::{
    convert::{Str, Whole, wrong_type},
    error::{IntoPyResult, PythonError},
    metadata::from_json,
};

static REGISTRY: LazyLock<Arc<EncoderRegistry>> = LazyLock::new(|| {
    let registry = EncoderRegistry::default();
    registry.read_images_with(Arc::new(Pillow));
    registry.read_video_with(Arc::new(PyAv { ffmpeg: Ffmpeg::default() }));
    Arc::new(registry)
});

/// The encoders of this process.
pub(crate) fn registry() -> &'static Arc<EncoderRegistry> {
    &REGISTRY
}

/// Adds an object with `name`, `kind` and `encode` to the encoders.
#[pyfunction]
pub(crate) fn _register(encoder: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = encoder.py();
    let name = encoder.getattr(intern!(py, "name"))?;
    let name = name.extract::<Str<'_>>()?.0.to_owned();
    let kind = encoder.getattr(intern!(py, "kind"))?;
    let kind: Kind = kind.extract::<Str<'_>>()?.0.parse().py()?;
    if name.is_empty() || !encoder.getattr(intern!(py, "encode"))?.is_callable() {
        return Err(wrong_type("an encoder with a name and a method `encode`", encoder));
    }
    let encoder = Arc::new(Custom { object: encoder.clone().unbind(), name, kind });
    py.detach(|| registry().register(encoder));
    Ok(())
}

/// The kinds and names of the encoders; the default of each kind comes first.
#[pyfunction]
#[pyo3(signature = (kind=None))]
pub(crate) fn _list_encoders(kind: Option<Str<'_>>) -> PyResult<Vec<(&'static str, String)>> {
    let kind = kind.map(|kind| kind.0.parse::<Kind>()).transpose().py()?;
    Ok(registry().list(kind).into_iter().map(|(kind, name)| (kind.as_str(), name)).collect())
}

/// The bytes of encoded media that are kept, and how many may be.
#[pyfunction]
pub(crate) fn _cache_bytes() -> (usize, usize) {
    registry().cache_bytes()
}

/// Keeps at most so many bytes of encoded media.
#[pyfunction]
pub(crate) fn _set_cache_bytes(py: Python<'_>, limit: Whole) -> PyResult<()> {
    let limit = usize::try_from(limit.0)
        .map_err(|_| Error::invalid_input(format!("the cache cannot have {} bytes", limit.0)))
        .py()?;
    py.detach(|| registry().set_cache_bytes(limit));
    Ok(())
}

fn media_module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "umi._media"))
}

/// What Python raised, as an error of the core.
fn failed(py: Python<'_>, what: &str, cause: PyErr) -> Error {
    let hint = cause.value(py).getattr(intern!(py, "hint")).and_then(|hint| hint.extract::<String>()).ok();
    let said = cause.value(py).to_string();
    // Umi's own exceptions say their hint, which is said again with this error.
    let said = hint.as_ref().and_then(|hint| said.strip_suffix(&format!(" ({hint})"))).unwrap_or(&said);
    let mut told: String = said.chars().take(200).collect();
    let class = cause.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
    if told.is_empty() {
        told.clone_from(&class);
    }
    let kind = if !cause.is_instance_of::<PyException>(py) {
        // Ctrl-C, or the end of the program: it is not the item's fault, and ends the call.
        ErrorKind::Closed
    } else if cause.is_instance_of::<PyImportError>(py) {
        ErrorKind::FeatureNotBuilt
    } else if cause.is_instance_of::<PyMemoryError>(py) || class == "CapacityError" {
        ErrorKind::Capacity
    } else if cause.is_instance_of::<PyOSError>(py) {
        ErrorKind::File
    } else {
        ErrorKind::InvalidInput
    };
    let error = Error::new(kind, format!("{what}: {told}")).with_source(PythonError::new(cause));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The content of a source: a path, bytes, or an image of PIL.
fn content<'py>(py: Python<'py>, source: &Source<'_>) -> PyResult<Bound<'py, PyAny>> {
    match source.content {
        Content::Path(path) => {
            py.import(intern!(py, "pathlib"))?.getattr(intern!(py, "Path"))?.call1((path.as_os_str(),))
        }
        Content::Bytes(bytes) => Ok(PyBytes::new(py, bytes).into_any()),
        Content::Pixels(pixels) => {
            let channels = pixels.channels() as u8;
            let size = (pixels.width(), pixels.height());
            media_module(py)?.call_method1(intern!(py, "image_of"), (size, channels, PyBytes::new(py, pixels.data())))
        }
        _ => Err(wrong_type("a path, bytes or pixels", py.None().bind(py))),
    }
}

type Row = (u32, u32, u8, Vec<u8>);

fn pixels_of((width, height, channels, data): Row) -> Result<Pixels> {
    let channels = match channels {
        1 => Channels::Gray,
        2 => Channels::GrayAlpha,
        3 => Channels::Rgb,
        _ => Channels::Rgba,
    };
    Pixels::new(width, height, channels, data)
}

/// An encoder of a user's.
struct Custom {
    object: Py<PyAny>,
    name: String,
    kind: Kind,
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Encoder for Custom {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn options(&self) -> Option<&[&str]> {
        None
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        Python::attach(|py| {
            let encode = || -> PyResult<Vec<Bound<'_, PyAny>>> {
                let options = from_json(py, &options.to_json())?.cast_into::<PyDict>()?;
                let made =
                    self.object.bind(py).call_method(intern!(py, "encode"), (content(py, source)?,), Some(&options))?;
                media_module(py)?.call_method1(intern!(py, "parts_of"), (made,))?.extract()
            };
            let what = format!("encoder `{}` failed", self.name);
            let parts = encode().map_err(|cause| failed(py, &what, cause))?;
            parts.iter().map(|made| part_of(made).map_err(|cause| failed(py, &what, cause))?).collect()
        })
    }
}

/// A part of what `umi._media.parts_of` gives: a text; a media type, bytes and a name; or pixels.
fn part_of(made: &Bound<'_, PyAny>) -> PyResult<Result<Part>> {
    if let Ok(text) = made.extract::<String>() {
        return Ok(Ok(Part::text(text)));
    }
    if let Ok((media_type, bytes, name)) = made.extract::<(String, Vec<u8>, Option<String>)>() {
        let media = Media::new(media_type, bytes);
        return Ok(Ok(Part::media(match name {
            Some(name) => media.with_name(name),
            None => media,
        })));
    }
    let pixels: Row = made.extract()?;
    Ok(pixels_of(pixels).and_then(|pixels| pixels.to_png()).map(Part::media))
}

/// Pillow, for the formats of images that the core does not read.
#[derive(Debug)]
struct Pillow;

impl ImageReader for Pillow {
    fn pixels(&self, bytes: &[u8], limit: u64) -> Result<Pixels> {
        Python::attach(|py| {
            let decode = || -> PyResult<Row> {
                let arguments = (PyBytes::new(py, bytes), limit);
                media_module(py)?.call_method1(intern!(py, "decode_image"), arguments)?.extract()
            };
            let row: Row = decode().map_err(|cause| failed(py, "an image cannot be decoded", cause))?;
            pixels_of(row)
        })
    }
}

/// `PyAV`, for films; where it is not installed, the program ffmpeg.
#[derive(Debug)]
struct PyAv {
    ffmpeg: Ffmpeg,
}

impl PyAv {
    fn call<T>(
        source: &Source<'_>,
        call: impl FnOnce(&Bound<'_, PyModule>, Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Option<Result<T>> {
        Python::attach(|py| {
            let work = || -> PyResult<Option<T>> {
                let module = media_module(py)?;
                let is_there: bool = module.call_method0(intern!(py, "has_av"))?.extract()?;
                if is_there { call(&module, content(py, source)?).map(Some) } else { Ok(None) }
            };
            work().map_err(|cause| failed(py, "a film cannot be decoded", cause)).transpose()
        })
    }
}

impl VideoReader for PyAv {
    fn facts(&self, source: &Source<'_>) -> Result<VideoFacts> {
        let told = Self::call(source, |module, film| {
            let arguments = (film, FILM_FORMATS);
            module
                .call_method1(intern!(module.py(), "film_facts"), arguments)?
                .extract::<(f64, u32, u32, Option<f64>)>()
        });
        match told {
            Some(told) => {
                let (seconds, width, height, rate) = told?;
                Ok(VideoFacts::new(seconds, width, height).with_frames_per_second(rate))
            }
            None => self.ffmpeg.facts(source),
        }
    }

    fn frames(&self, source: &Source<'_>, times: &[f64], sides: u32) -> Result<Vec<Pixels>> {
        let frames = Self::call(source, |module, film| {
            let arguments = (film, FILM_FORMATS, times.to_vec(), sides, FILM_TIME.as_secs_f64());
            module.call_method1(intern!(module.py(), "film_frames"), arguments)?.extract::<Vec<Row>>()
        });
        match frames {
            Some(frames) => frames?.into_iter().map(pixels_of).collect(),
            None => self.ffmpeg.frames(source, times, sides),
        }
    }
}

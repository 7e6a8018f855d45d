//! The messages of a context as objects of Python.

use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString},
};
use umi_core::{
    Error,
    context::{EncodeOptions, Kind, Media, MessageOptions, Node, Provider, Rendering},
};

use super::{BaseContext, json::JsonObject};
use crate::{
    convert::{Str, Whole, wrong_type},
    encoders::registry,
    error::{IntoPyResult, guarded},
    runtime::interruptible,
};

/// The forms of encoded bytes that are kept beside them, all of them immutable.
const BASE64: usize = 0;
const DATA_URL: usize = 1;
const BYTES: usize = 2;

/// What to make of a context: `messages`, `request` or `tokens`.
#[pyfunction]
#[pyo3(signature = (context, what, format, encoders, encoder_kwargs, budget_tokens, on_error))]
#[expect(clippy::too_many_arguments, reason = "umi.Context calls it with all of them")]
pub(crate) fn _render<'py>(
    py: Python<'py>,
    context: &Bound<'py, BaseContext>,
    what: Str<'_>,
    format: Str<'_>,
    encoders: Option<&Bound<'py, PyAny>>,
    encoder_kwargs: Option<&Bound<'py, PyAny>>,
    budget_tokens: Option<Whole>,
    on_error: Str<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    let provider: Provider = format.0.parse().py()?;
    let mut options = MessageOptions::default().with_on_error(on_error.0.parse().py()?);
    if let Some(tokens) = budget_tokens {
        let tokens = usize::try_from(tokens.0)
            .map_err(|_| Error::invalid_input(format!("budget_tokens cannot be `{}`", tokens.0)))
            .py()?;
        options = options.with_budget_tokens(tokens);
    }
    for (kind, name) in pairs(encoders, "encoders")? {
        let name = name.cast::<PyString>().map_err(|_| wrong_type("the name of an encoder as a str", &name))?;
        options = options.with_encoder(kind, name.to_str()?);
    }
    for (kind, given) in pairs(encoder_kwargs, "encoder_kwargs")? {
        let given = EncodeOptions::parse(given.extract::<JsonObject>()?.0.as_str()).py()?;
        options = options.with_encoder_options(kind, given);
    }
    let items = context.get().inner.snapshot();
    let rendering = guarded(|| py.detach(|| items.rendering(provider, registry(), options)))?;
    match what.0 {
        "tokens" => finish(py, rendering, Rendering::tokens)?.into_bound_py_any(py),
        "request" => Words::default().objects_of(py, &finish(py, rendering, Rendering::request)?),
        _ => Words::default().objects_of(py, &finish(py, rendering, Rendering::messages)?),
    }
}

/// What a rendering gives; where something is left to be encoded, on a thread for which the wait can be interrupted.
fn finish<T: Send + 'static>(
    py: Python<'_>,
    rendering: Rendering<'static>,
    what: fn(Rendering<'static>) -> umi_core::Result<T>,
) -> PyResult<T> {
    if rendering.is_ready() {
        return guarded(|| py.detach(|| what(rendering)));
    }
    interruptible(py, move || what(rendering))
}

/// The entries of a mapping from kinds.
fn pairs<'py>(given: Option<&Bound<'py, PyAny>>, name: &str) -> PyResult<Vec<(Kind, Bound<'py, PyAny>)>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let dict = given.cast::<PyDict>().map_err(|_| wrong_type(&format!("{name} as a dict"), given))?;
    dict.iter().map(|(kind, value)| Ok((kind.extract::<Str<'_>>()?.0.parse().py()?, value))).collect()
}

/// The words of the protocol that a message has had so far: few, and each of them many times.
#[derive(Default)]
struct Words<'py>(Vec<(&'static str, Bound<'py, PyString>)>);

impl<'py> Words<'py> {
    fn word(&mut self, py: Python<'py>, word: &'static str) -> Bound<'py, PyString> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| std::ptr::eq(*known, word)) {
            return known.clone();
        }
        let made = PyString::intern(py, word);
        self.0.push((word, made.clone()));
        made
    }

    /// A message as lists, dicts, texts and bytes that are the caller's own.
    fn objects_of(&mut self, py: Python<'py>, node: &Node) -> PyResult<Bound<'py, PyAny>> {
        Ok(match node {
            Node::Word(word) => self.word(py, word).into_any(),
            Node::Text(text) => PyString::new(py, text).into_any(),
            Node::Base64(media) => text_of(py, media, BASE64),
            Node::DataUrl(media) => text_of(py, media, DATA_URL),
            Node::Bytes(media) => {
                let bytes: Option<&Py<PyBytes>> = media.memo(BYTES, || PyBytes::new(py, &media.bytes).unbind());
                bytes.map_or_else(|| PyBytes::new(py, &media.bytes), |bytes| bytes.bind(py).clone()).into_any()
            }
            Node::List(nodes) => {
                let list = PyList::empty(py);
                for node in nodes {
                    list.append(self.objects_of(py, node)?)?;
                }
                list.into_any()
            }
            Node::Object(fields) => {
                let dict = PyDict::new(py);
                for (key, value) in fields {
                    dict.set_item(self.word(py, key), self.objects_of(py, value)?)?;
                }
                dict.into_any()
            }
            other => {
                return Err(wrong_type(&format!("a part of a message, not {other:?}"), intern!(py, "").as_any()));
            }
        })
    }
}

/// Bytes in base 64, as a `str` that is made once: nobody can change it.
fn text_of<'py>(py: Python<'py>, media: &Media, form: usize) -> Bound<'py, PyAny> {
    let make = || {
        let text = py.detach(|| if form == BASE64 { media.base64() } else { media.data_url() });
        PyString::new(py, &text).unbind()
    };
    let text: Option<&Py<PyString>> = media.memo(form, make);
    text.map_or_else(|| make().into_bound(py), |text| text.bind(py).clone()).into_any()
}

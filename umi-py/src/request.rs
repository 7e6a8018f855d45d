//! What is remembered: a text or a conversation, with who said it and when.

use parking_lot::Mutex;
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyList, PyString},
};
use umi_core::{self as core, RememberRequest, Turn};

use crate::{
    convert::{Fields, Text, Time},
    metadata::Meta,
    remember_options::RememberOptions,
    results::metadata_or_empty,
    scope::{ScopeArgs, scope},
};

/// The keywords of `remember`, which are the keys of an item of `remember_many`.
const ITEM: [&str; 11] =
    ["text", "options", "role", "name", "at", "metadata", "source", "key", "user", "agent", "session"];

/// What a call says of all its turns.
#[derive(Default)]
pub(crate) struct Common {
    pub(crate) role: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) at: Option<Time>,
    pub(crate) metadata: Option<Meta>,
    pub(crate) source: Option<String>,
}

impl Common {
    fn turn(&self, text: Text) -> Turn {
        let mut turn = Turn::new(text.0);
        turn.role.clone_from(&self.role);
        turn.name.clone_from(&self.name);
        turn.at = self.at.map(|at| at.0);
        turn.metadata = metadata_or_empty(self.metadata.clone());
        turn.source.clone_from(&self.source);
        turn
    }

    fn inherited(&self) -> Self {
        Self {
            role: self.role.clone(),
            name: self.name.clone(),
            at: self.at,
            metadata: self.metadata.clone(),
            source: self.source.clone(),
        }
    }
}

/// The turns of a text, or of a conversation: a list of `{"role", "content", "name"}`, the name optional.
pub(crate) fn turns(text: &Bound<'_, PyAny>, common: &Common) -> PyResult<Vec<Turn>> {
    if text.is_instance_of::<PyString>() {
        return Ok(vec![common.turn(text.extract()?)]);
    }
    if text.is_instance_of::<PyDict>() || text.try_iter().is_err() {
        let got = text.get_type().name()?;
        return Err(PyTypeError::new_err(format!("expected str or a list of turns, got {got}")));
    }
    text.try_iter()?
        .map(|turn| {
            let turn = turn?;
            let fields = turn.cast::<PyDict>().map_err(|_| PyTypeError::new_err("a turn must be a dict"))?;
            let fields = Fields::new("a turn", fields, &["role", "content", "name"])?;
            let mut own = common.inherited();
            own.role = Some(fields.text("role")?);
            own.name = fields.optional_text("name")?.or(own.name);
            Ok(own.turn(Text(fields.text("content")?)))
        })
        .collect()
}

/// The items of one transaction of `remember_many`, read a few at a time so that an event loop can turn between them.
#[pyclass(frozen, module = "umi._umi")]
pub(crate) struct Batch {
    options: Option<core::RememberOptions>,
    scope: core::Scope,
    requests: Mutex<Vec<RememberRequest>>,
}

impl Batch {
    /// What was read.
    pub(crate) fn take(&self) -> Vec<RememberRequest> {
        std::mem::take(&mut self.requests.lock())
    }
}

#[pymethods]
impl Batch {
    #[new]
    fn new(options: Option<PyRef<'_, RememberOptions>>, scope: ScopeArgs) -> Self {
        Self { options: options.map(|options| options.inner.clone()), scope: scope.0, requests: Mutex::default() }
    }

    fn __len__(&self) -> usize {
        self.requests.lock().len()
    }

    /// Reads more items. Where one of them is malformed, none of these is added.
    fn extend(&self, items: &Bound<'_, PyList>) -> PyResult<()> {
        let read: Vec<RememberRequest> =
            items.iter().map(|item| request(&item, self.options.as_ref(), &self.scope)).collect::<PyResult<_>>()?;
        self.requests.lock().extend(read);
        Ok(())
    }
}

/// A request of one item of `remember_many`: a text, or a dictionary of the keywords of `remember`.
fn request(
    item: &Bound<'_, PyAny>,
    options: Option<&core::RememberOptions>,
    call: &core::Scope,
) -> PyResult<RememberRequest> {
    let mut own = options.cloned();
    let (mut common, mut key, mut content) = (Common::default(), None, item.clone());
    let (mut user, mut agent, mut session) = (None, None, None);
    if let Ok(fields) = item.cast::<PyDict>() {
        let fields = Fields::new("an item", fields, &ITEM)?;
        content = fields.get("text")?;
        if let Some(options) = fields.optional("options")? {
            own = Some(options.extract::<PyRef<'_, RememberOptions>>()?.inner.clone());
        }
        common = Common {
            role: fields.optional_text("role")?,
            name: fields.optional_text("name")?,
            at: fields.optional("at")?.map(|at| at.extract()).transpose()?,
            metadata: fields.optional("metadata")?.map(|metadata| metadata.extract()).transpose()?,
            source: fields.optional_text("source")?,
        };
        key = fields.optional_text("key")?;
        let part = |name| Ok::<_, PyErr>(fields.optional_text(name)?.map(Text));
        (user, agent, session) = (part("user")?, part("agent")?, part("session")?);
    }
    let mut request = RememberRequest::conversation(turns(&content, &common)?)
        .with_scope(call.overlaid(&scope(user, agent, session)?));
    if let Some(options) = own {
        request = request.with_options(options);
    }
    Ok(match key {
        Some(key) => request.with_key(key),
        None => request,
    })
}

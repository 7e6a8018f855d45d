//! What is remembered: a text or a conversation, with who said it and when.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};
use umi_core::{RememberRequest, Turn};

use crate::{
    convert::{Meta, Text, Time},
    remember_options::RememberOptions,
    results::metadata_or_empty,
    scope::scope,
};

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

    /// Takes the fields that a dictionary names.
    fn read(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if value.is_none() && matches!(name, "role" | "name" | "at" | "metadata" | "source") {
            return Ok(true);
        }
        let text = || Ok::<_, PyErr>(value.extract::<Text>()?.0);
        match name {
            "role" => self.role = Some(text()?),
            "name" => self.name = Some(text()?),
            "at" => self.at = Some(value.extract()?),
            "metadata" => self.metadata = Some(value.extract()?),
            "source" => self.source = Some(text()?),
            _ => return Ok(false),
        }
        Ok(true)
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

/// The turns of a text, or of a conversation: a list of `{"role", "content", "name", …}`.
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
            let (mut own, mut content) = (common.inherited(), None);
            for (name, value) in fields.iter() {
                let name = name.extract::<Text>()?.0;
                match name.as_str() {
                    "content" | "text" => content = Some(value.extract::<Text>()?),
                    other if own.read(other, &value)? => {}
                    other => return Err(unexpected("a turn", other)),
                }
            }
            let content = content.ok_or_else(|| PyTypeError::new_err("a turn lacks its `content`"))?;
            Ok(own.turn(content))
        })
        .collect()
}

fn unexpected(what: &str, name: &str) -> PyErr {
    let shown: String = name.chars().take(64).collect();
    PyTypeError::new_err(format!("{what} has an unexpected key `{shown}`"))
}

/// A request of one item of `remember_many`: a text, or a dictionary of the keywords of `remember`.
pub(crate) fn item(
    item: &Bound<'_, PyAny>,
    options: Option<&RememberOptions>,
    call: &umi_core::Scope,
) -> PyResult<RememberRequest> {
    let mut own = options.map(|options| options.inner.clone());
    let (mut common, mut key, mut content) = (Common::default(), None, None);
    let (mut user, mut agent, mut session) = (None, None, None);
    if let Ok(fields) = item.cast::<PyDict>() {
        for (name, value) in fields.iter() {
            let name = name.extract::<Text>()?.0;
            match name.as_str() {
                "text" => content = Some(value),
                "options" => {
                    let options = value.extract::<Option<PyRef<'_, RememberOptions>>>()?;
                    own = options.map(|options| options.inner.clone()).or(own);
                }
                "key" => key = value.extract::<Option<Text>>()?,
                "user" => user = value.extract()?,
                "agent" => agent = value.extract()?,
                "session" => session = value.extract()?,
                other if common.read(other, &value)? => {}
                other => return Err(unexpected("an item", other)),
            }
        }
    } else {
        content = Some(item.clone());
    }
    let content = content.ok_or_else(|| PyTypeError::new_err("an item lacks its `text`"))?;
    let mut request = RememberRequest::conversation(turns(&content, &common)?)
        .with_scope(call.overlaid(&scope(user, agent, session)?));
    if let Some(options) = own {
        request = request.with_options(options);
    }
    Ok(match key {
        Some(key) => request.with_key(key.0),
        None => request,
    })
}

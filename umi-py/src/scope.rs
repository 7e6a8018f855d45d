//! `Scope`.

use pyo3::{prelude::*, types::PyDict};
use umi_core as core;

use crate::{
    convert::{Fields, Reduced, Text, dict_of, hash_of, reduced, shown_or_none},
    error::IntoPyResult,
};

/// The scope of one call, as the Python layer passes it: (user, agent, session).
pub(crate) struct ScopeArgs(pub(crate) core::Scope);

impl<'py> FromPyObject<'_, 'py> for ScopeArgs {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (user, agent, session) = value.extract::<(Option<Text>, Option<Text>, Option<Text>)>()?;
        scope(user, agent, session).map(Self)
    }
}

pub(crate) fn scope(user: Option<Text>, agent: Option<Text>, session: Option<Text>) -> PyResult<core::Scope> {
    let plain = |text: Option<Text>| text.map(|text| text.0);
    core::Scope::from_parts(plain(user), plain(agent), plain(session)).py()
}

/// Whose memory: `user` is the tenant, `agent` and `session` narrow a read. An immutable value.
///
/// No user is a tenant of its own, never "all".
#[pyclass(frozen, module = "umi")]
pub(crate) struct Scope {
    pub(crate) inner: core::Scope,
}

#[pymethods]
impl Scope {
    #[new]
    #[pyo3(signature = (user=None, agent=None, session=None))]
    fn new(user: Option<Text>, agent: Option<Text>, session: Option<Text>) -> PyResult<Self> {
        Ok(Self { inner: scope(user, agent, session)? })
    }

    /// The tenant, or None.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.inner.user()
    }

    /// The agent, or None.
    #[getter]
    fn agent(&self) -> Option<&str> {
        self.inner.agent()
    }

    /// The session, or None.
    #[getter]
    fn session(&self) -> Option<&str> {
        self.inner.session()
    }

    /// The same scope of another user.
    fn with_user(&self, user: Text) -> PyResult<Self> {
        Ok(Self { inner: self.inner.clone().with_user(user.0).py()? })
    }

    /// The same scope of another agent.
    fn with_agent(&self, agent: Text) -> PyResult<Self> {
        Ok(Self { inner: self.inner.clone().with_agent(agent.0).py()? })
    }

    /// The same scope of another session.
    fn with_session(&self, session: Text) -> PyResult<Self> {
        Ok(Self { inner: self.inner.clone().with_session(session.0).py()? })
    }

    /// Its three parts as plain values.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py, "user" => self.user(), "agent" => self.agent(), "session" => self.session()))
    }

    /// Makes a scope from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("a scope", fields, &["user", "agent", "session"])?;
        let text = |name| Ok::<_, PyErr>(fields.optional_text(name)?.map(Text));
        Self::new(text("user")?, text("agent")?, text("session")?)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.inner)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self) -> String {
        format!(
            "Scope(user={}, agent={}, session={})",
            shown_or_none(self.user()),
            shown_or_none(self.agent()),
            shown_or_none(self.session())
        )
    }
}
